"""What is recorded along the way and at the end, against `solve`."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ensemble_flows import ONE, ROOT, Decay, assert_lane_is, net_flow, solved

import jaxdyn as jd

pytestmark = pytest.mark.ci_slow


def moved(flow, t, params, start):
    return jnp.stack([jnp.sum((params[name] - start[name]) ** 2) for name in ("a", "c")])


moved.dims = ("layer",)


def table(flow, t, params):
    return jnp.outer(params["a"], params["c"])


def count(flow, t, params):
    return jnp.sum(params["a"] > 0)


HELD_OUT = jd.measure.HeldOutLoss(jd.data.square_wave(n=8, periods=2))
WATCH = {"loss": jd.measure.loss, "moved": moved, "table": table, "count": count, "held_out": HELD_OUT}
STOP = (jd.LossBelow(0.01), jd.GradientNormBelow(0.05))


@pytest.fixture(scope="module")
def ds():
    return jd.sweep(net_flow(), 12, t1=30.0, record=8, observe=WATCH, stop=STOP, width=4, devices=ONE, progress=False)


def test_lanes_that_stop_early_are_those_of_solve(ds):
    """Some lanes reach the loss, some come to rest, some do neither; each is recorded up to its own end."""
    counts = jd.outcome_counts(ds)
    assert counts.keys() == {"stopped", "converged", "t1_reached"}, counts
    for seed in range(12):
        sol = solved(net_flow(), seed, 30.0, record=8, observe=WATCH, stop=STOP)
        # step sizes follow the rounding of error estimates, and where a rule is met follows them, and whether it is looked for once more
        whole = sol.fate == jd.Outcome.t1_reached
        sharp = 1e-12 if whole else 1e-6
        assert_lane_is(ds.sel(seed=seed), sol, WATCH, sharp, sharp, retries=0 if whole else 1)
    late = ds["time"].values > ds["t_end"].values[:, None]
    assert late.any()
    for name in WATCH:
        missing = np.isnan(ds[name].values).reshape(*late.shape, -1)
        assert np.array_equal(missing.all(axis=-1), late) and np.array_equal(missing.any(axis=-1), late)


def test_the_end_is_observed_too(ds):
    flow = net_flow()
    for seed in range(12):
        params, start = jd.final_params(ds, flow, seed), flow.init(jr.fold_in(ROOT, seed))
        t = float(ds["t_end"].sel(seed=seed))
        for name, function in WATCH.items():
            expected = function(flow, t, params, start) if name == "moved" else function(flow, t, params)
            np.testing.assert_allclose(ds[f"{name}_end"].sel(seed=seed), expected, rtol=1e-12, atol=1e-12)


def test_dims_and_dtypes(ds):
    assert ds["moved"].dims == ("seed", "time", "layer") and ds["moved_end"].dims == ("seed", "layer")
    assert ds["table"].dims == ("seed", "time", "table_0", "table_1")
    assert ds["count"].dtype == float, "counts need NaN after a lane's end"
    assert ds["params"].dims == ("seed", "param") and ds["param"].values[:2].tolist() == ["a[0]", "a[1]"]
    assert "gates" not in ds


def test_held_out_loss_by_hand(ds):
    params = jd.final_params(ds, net_flow(), 3)
    x, y = np.asarray(HELD_OUT.samples.x)[:, 0], np.asarray(HELD_OUT.samples.y)
    f = np.tanh(np.outer(x, params["a"])) @ np.asarray(params["c"])
    np.testing.assert_allclose(ds["held_out_end"].sel(seed=3), 0.5 * np.sum((f - y) ** 2), rtol=1e-12)


class Gated(Decay):
    """A decay with two units that are on above 1.5, at two samples."""

    def preactivations(self, y):
        return jnp.stack([y, -y]) - 1.5


def test_gates_and_times_of_ones_own():
    """Gates are those at the end; record times are given, also one twice."""
    flow, times = Gated(jnp.asarray(0.1), jnp.zeros(2)), [0.0, 0.3, 0.3, 2.0]
    how = {"record": times, "observe": {"loss": jd.measure.loss}}
    ds = jd.sweep(flow, 12, t1=2.5, width=4, devices=ONE, progress=False, **how)
    assert ds["gates"].dims == ("seed", "sample", "hidden") and ds["time"].values.tolist() == times
    on = ds["params"].values > 1.5
    np.testing.assert_array_equal(ds["gates"], np.stack([on, np.zeros_like(on)], axis=1))
    assert on.any() and not on.all()
    assert_lane_is(ds.sel(seed=2), solved(flow, 2, 2.5, **how), ["loss"])
