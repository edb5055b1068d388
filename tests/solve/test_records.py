"""Record times, states and observables along the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import FormulaFlow

import jaxdyn as jd
from jaxdyn.solve import LossBelow, observables, record_times

START = {"y": jnp.asarray([2.0, -1.0])}
Y0 = np.asarray(START["y"])


def norm(flow, t, y):
    return jnp.linalg.norm(y["y"])


def moved(flow, t, y, start):
    return y["y"] - start["y"]


def positive(flow, t, y):
    return y["y"] > 0


WATCH = {"norm": norm, "moved": moved, "positive": positive, "t": lambda flow, t, y: t}


@pytest.mark.parametrize("k", [2, 3, 50])
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (0.1, 0.7), (-3.0, 1e5), (1 / 3, 2 / 3), (1.1, 3.3)])
def test_log_grid(k, t0, t1):
    ts = np.asarray(record_times(k, t0, t1))
    assert (ts[0], ts[-1], ts.size) == (t0, t1, k)
    assert (np.diff(ts) > 0).all()
    np.testing.assert_allclose(
        ts[1:] - t0, (t1 - t0) * 10 ** np.linspace(-6, 0, k - 1) if k > 2 else t1 - t0, rtol=1e-9, atol=1e-15 * abs(t1)
    )


@pytest.mark.parametrize(("t0", "t1"), [(0.1, 0.7), (1 / 3, 2 / 3), (0.3, 1.3), (0.7, 1.9)])
def test_every_time_of_the_grid_is_recorded(t0, t1):
    sol = jd.solve(FormulaFlow("decay"), START, t0=t0, t1=t1, rtol=1e-10, record=7, observe=WATCH)
    assert sol.t == t1
    np.testing.assert_allclose(sol.states["y"], Y0 * np.exp(-(np.asarray(sol.ts)[:, None] - t0)), rtol=1e-8)
    np.testing.assert_array_equal(sol.states["y"][-1], sol.params["y"])
    np.testing.assert_array_equal(sol.observed["t"], sol.ts)


def test_given_times_several_within_a_step_and_repeated():
    ts = [0.0, 0.001, 0.002, 0.5, 0.5, 0.5000001, 0.9]
    sol = jd.solve(FormulaFlow("decay"), START, t1=1.0, rtol=1e-10, record=ts, observe=WATCH)
    exact = Y0 * np.exp(-np.asarray(ts))[:, None]
    np.testing.assert_array_equal(sol.ts, ts)
    np.testing.assert_allclose(sol.states["y"], exact, rtol=1e-8)
    np.testing.assert_allclose(sol.observed["norm"], np.linalg.norm(exact, axis=1), rtol=1e-8)
    np.testing.assert_allclose(sol.observed["moved"], exact - Y0, rtol=1e-7, atol=1e-14)
    np.testing.assert_array_equal(sol.observed["positive"], np.broadcast_to([1.0, 0.0], (7, 2)))
    assert sol.t == 1.0


def test_every_step():
    sol = jd.solve(FormulaFlow("decay"), START, t1=3.0, rtol=1e-8, record="steps", max_steps=300, observe=WATCH)
    n = int(sol.certificate.num_accepted_steps)
    ts = np.asarray(sol.ts)
    assert ts.shape == (301,)
    assert (ts[0], ts[n]) == (0.0, 3.0)
    assert (np.diff(ts[: n + 1]) > 0).all()
    np.testing.assert_allclose(sol.states["y"][: n + 1], Y0 * np.exp(-ts[: n + 1, None]), rtol=1e-6)
    for leaf in [sol.ts, sol.states["y"], *sol.observed.values()]:
        assert np.isfinite(leaf[: n + 1]).all()
        assert np.isnan(leaf[n + 1 :]).all()


def test_records_end_where_the_lane_ends():
    """What a rule ends at t = 1 is recorded up to there, whole, and is NaN after it."""
    threshold = 0.5 * float(Y0 @ Y0) * np.exp(-2.0)
    ts = np.linspace(0.0, 3.0, 31)
    sol = jd.solve(FormulaFlow("decay"), START, t1=3.0, rtol=1e-8, record=ts, stop=LossBelow(threshold), observe=WATCH)
    assert sol.fate.name == "stopped"
    reached = ts <= float(sol.t)
    assert 0.9 < float(sol.t) < 2.0
    for leaf in [sol.ts, sol.states["y"], *sol.observed.values()]:
        np.testing.assert_array_equal(np.isfinite(np.asarray(leaf)).reshape(31, -1).all(1), reached)
        np.testing.assert_array_equal(np.isnan(np.asarray(leaf)).reshape(31, -1).all(1), ~reached)
    np.testing.assert_allclose(sol.states["y"][reached], Y0 * np.exp(-ts[reached])[:, None], rtol=1e-6)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (1, "too few"),
        (0, "too few"),
        (True, "is not known"),
        ("all", "is not known"),
        ([], "list of finite numbers"),
        ([[0.0, 1.0]], "list of finite numbers"),
        ([0.0, np.nan], "list of finite numbers"),
        ([0.5, 0.2], "must not decrease"),
        ([-0.1, 0.5], "must lie between"),
        ([0.0, 1.5], "must lie between"),
        (None, "is not known"),
    ],
)
def test_record_requests_that_make_no_sense(record, sentence):
    with pytest.raises(ValueError, match=sentence):
        jd.solve(FormulaFlow("decay"), START, t1=1.0, record=record)


@pytest.mark.parametrize(
    ("observe", "sentence"),
    [
        ("loss", "dictionary"),
        ([norm], "dictionary"),
        ({"loss": 3}, "'loss' is not a function but a int"),
        ({"loss": lambda y: y}, "takes 1 arguments"),
        ({"loss": lambda a, b, c, d, e: a}, "takes 5 arguments"),
    ],
)
def test_observables_that_make_no_sense(observe, sentence):
    with pytest.raises(ValueError, match=sentence):
        observables(observe)


def test_observables_of_the_protocol():
    assert observables(None) == {}
    optional = {"chosen": lambda flow, t, y, power=2: y}
    assert observables(optional) == optional


def test_a_list_of_record_times_may_be_a_jax_array():
    with jax.ensure_compile_time_eval():
        np.testing.assert_array_equal(record_times(jnp.asarray([0.0, 0.5]), 0.0, 1.0), [0.0, 0.5])
