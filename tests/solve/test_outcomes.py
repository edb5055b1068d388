"""Every fate of a lane."""

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import FORMULAS, FormulaFlow

import jaxdyn as jd
from jaxdyn.solve import LossBelow, Outcome


def fate_of(name, start=(1.0, 0.5), t1=1e3, **settings):
    return jd.solve(FormulaFlow(name), {"y": jnp.asarray(start)}, t1=t1, record=20, **settings)


@pytest.mark.parametrize(("name", "blow_up"), [("square", 1.0), ("cube", 0.5), ("pole", 1 / 8)])
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_finite_time_blow_up_is_divergence_at_its_time(name, blow_up, rtol):
    sol = fate_of(name, rtol=rtol)
    assert sol.fate is Outcome.diverged
    np.testing.assert_allclose(sol.t, blow_up, rtol=20 * rtol)
    n = int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps)
    assert n < 5000
    assert np.isfinite(sol.params["y"]).all()
    assert np.isnan(sol.ts[-1])


def test_few_steps_are_lost_on_a_blow_up():
    """Steps from |y| = 1e3 on, of all steps of y' = y^2: the collapse is seen long before max_steps."""
    whole = fate_of("square")
    before = fate_of("square", t1=1.0 - 1e-3)
    total = [int(s.certificate.num_accepted_steps + s.certificate.num_rejected_steps) for s in (whole, before)]
    assert before.fate is Outcome.t1_reached
    assert total[0] - total[1] < 500


def test_exponential_growth_ends_at_the_norm_bound():
    sol = fate_of("growth", start=(3.0, 4.0), norm_bound=1e4)
    assert sol.fate is Outcome.diverged
    assert 6e4 < np.linalg.norm(sol.params["y"]) < 6e5
    assert np.log(6e4 / 5) <= float(sol.t) < np.log(6e5 / 5)
    assert int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps) < 200


def test_too_long_constant_steps_diverge():
    """Euler's method with h = 3 on y' = -y multiplies by -2 each step."""
    sol = fate_of("decay", solver=dfx.Euler(), controller=dfx.ConstantStepSize(), dt0=3.0)
    assert sol.fate is Outcome.diverged
    n = int(sol.certificate.num_accepted_steps)
    assert 2**n > 1e8 > 2 ** (n - 3)


@pytest.mark.parametrize(("name", "time"), [("sign", 0.5), ("inverse", 0.125)])
def test_singular_and_chattering_fields_stop_with_too_small_steps(name, time):
    """-sign(y) chatters once the smaller entry is 0; -1/y ends at t = y0^2/2, where no solution goes on."""
    sol = fate_of(name, atol=0.0)
    assert sol.fate is Outcome.step_too_small
    np.testing.assert_allclose(sol.t, time, atol=1e-4)
    assert int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps) < 5000


def test_a_field_that_is_nan_beyond_a_border_is_met_with_smaller_steps():
    """sqrt(y - 1) is NaN for trial stages below 1; the exact solution (1 + t/2 + ...)^2 stays above."""
    sol = fate_of("root", start=(1.0001, 2.0), t1=3.0, rtol=1e-8, dt0=1.0)
    exact = 1 + (np.sqrt(np.asarray([0.0001, 1.0])) + 1.5) ** 2
    assert sol.fate is Outcome.t1_reached
    np.testing.assert_allclose(sol.params["y"], exact, rtol=1e-6)


def test_nan_stages_are_rejections_that_shrink_the_step():
    """-1/y with a first step across the pole: the trial lands in NaN or far away, the lane recovers and ends right."""
    sol = fate_of("inverse", start=(1.0, 2.0), t1=0.3, rtol=1e-8, dt0=0.29999)
    assert sol.fate is Outcome.t1_reached
    np.testing.assert_allclose(sol.params["y"], np.sqrt(np.asarray([1.0, 4.0]) - 0.6), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "start"), [("nan", (1.0, 1.0)), ("decay", (np.nan, 1.0)), ("decay", (np.inf, 1.0)), ("inverse", (0.0, 1.0))]
)
def test_not_finite_at_start(name, start):
    sol = fate_of(name, start=start)
    assert sol.fate is Outcome.not_finite_at_start
    assert (int(sol.certificate.num_accepted_steps), float(sol.t)) == (0, 0.0)
    assert np.isnan(sol.ts).all()


def test_a_failed_root_find_is_no_divergence():
    """Newton's method fails across the jump of -sign(y), at norms that do not grow; a blow-up is one under implicit solvers too."""
    sol = fate_of("sign", solver=dfx.Kvaerno3())
    assert sol.fate is Outcome.root_find_failed
    np.testing.assert_allclose(sol.t, 0.5, atol=1e-3)
    assert np.linalg.norm(sol.params["y"]) < 1.2
    with pytest.raises(ValueError, match="root_find_failed and cannot go on"):
        jd.solve(FormulaFlow("sign"), sol, t1=2e3, solver=dfx.Kvaerno3())
    blow_up = fate_of("square", solver=dfx.Kvaerno3())
    assert blow_up.fate is Outcome.diverged
    np.testing.assert_allclose(blow_up.t, 1.0, rtol=1e-4)


@pytest.mark.parametrize("n", [1, 7])
def test_max_steps(n):
    sol = fate_of("clock", max_steps=n)
    assert sol.fate is Outcome.max_steps
    assert int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps) == n
    assert 0 <= float(sol.t) < 1e3


def test_the_step_that_reaches_the_end_is_the_end():
    """Neither max_steps nor a rule met on the last step hides that t1 was reached."""
    steps = {"controller": dfx.ConstantStepSize(), "dt0": 0.25, "t1": 1.0}
    assert fate_of("decay", max_steps=4, **steps).fate is Outcome.t1_reached
    assert fate_of("decay", max_steps=3, **steps).fate is Outcome.max_steps
    assert fate_of("decay", stop=LossBelow(1e-9), **steps).fate is Outcome.t1_reached


def test_every_outcome_has_a_sentence():
    for outcome in Outcome:
        assert outcome.message.endswith(".")
    assert len({outcome.message for outcome in Outcome}) == len(Outcome) == 12
    assert set(FORMULAS) >= {"square", "cube", "growth", "sign", "inverse"}


def test_the_print_says_how_it_went():
    text = repr(fate_of("square", rtol=1e-6))
    for word in ("diverged at t = 1", "steps accepted", "loss", "blow-up"):
        assert word in text
