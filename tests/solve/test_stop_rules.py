"""Each stop rule by itself, and several together."""

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import FormulaFlow

import jaxdyn as jd
from jaxdyn.solve import GradientNormBelow, LossBelow, Outcome, SteadyDirection, StopWhen

START = {"y": jnp.asarray([3.0, -4.0])}  # of norm 5
DECAY, SMALL_STEPS = FormulaFlow("decay"), {"controller": dfx.ConstantStepSize(), "dt0": 1e-3}


def late(flow, t, y):
    return t >= 0.5


def small(flow, t, y):
    return flow.loss(y) < 1.0


@pytest.mark.parametrize(
    ("rule", "time", "outcome"),
    [
        ([LossBelow(12.5 * np.exp(-2.0)), GradientNormBelow(0.0)], 1.0, "stopped"),
        ([LossBelow(0.0), GradientNormBelow(5 * np.exp(-1.5))], 1.5, "converged"),
        (late, 0.5, "stopped"),
        (StopWhen(small), 0.5 * np.log(12.5), "stopped"),
    ],
    ids=["loss", "gradient", "time", "function"],
)
def test_a_rule_ends_the_lane_after_the_step_that_meets_it(rule, time, outcome):
    """With steps of 1e-3 the lane ends within one step of the exact time."""
    sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=rule, **SMALL_STEPS)
    assert sol.fate.name == outcome
    assert time - 1e-9 <= float(sol.t) <= time + 1.0001e-3
    np.testing.assert_allclose(np.linalg.norm(sol.params["y"]), 5 * np.exp(-float(sol.t)), rtol=1e-9)


def test_gradient_norm_with_a_solver_that_does_not_keep_its_last_stage():
    sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=GradientNormBelow(5 * np.exp(-1.5)), solver=dfx.Heun(), **SMALL_STEPS)
    assert sol.fate is Outcome.converged
    assert 1.5 - 1e-5 <= float(sol.t) <= 1.5 + 1.01e-3


def test_steady_direction():
    """Decay along a ray is steady from the start, a rotation never is."""
    ray = jd.solve(DECAY, START, t1=3.0, record=2, stop=SteadyDirection(1e-6), **SMALL_STEPS)
    assert (ray.fate, int(ray.certificate.num_accepted_steps)) == (Outcome.converged, 1)
    turning = jd.solve(FormulaFlow("rotation"), START, t1=3.0, record=2, stop=SteadyDirection(1.0), **SMALL_STEPS)
    assert turning.fate is Outcome.t1_reached  # unit angular speed: never steady, not even in the last instants


def test_the_first_of_several_rules_wins():
    both = [LossBelow(12.5 * np.exp(-2.0)), GradientNormBelow(5 * np.exp(-1.0))]
    for rules, outcome in [(both, Outcome.stopped), (both[::-1], Outcome.converged)]:
        sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=rules, **SMALL_STEPS)
        assert sol.fate is outcome
        assert abs(float(sol.t) - 1.0) < 1.01e-3


def test_a_rule_that_is_never_met_changes_nothing():
    sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=[LossBelow(0.0), GradientNormBelow(0.0)], **SMALL_STEPS)
    assert sol.fate is Outcome.t1_reached


@pytest.mark.parametrize("stop", [3, "loss", [LossBelow(1.0), 4]])
def test_what_is_no_rule_is_refused(stop):
    with pytest.raises(ValueError, match="stop takes rules such as"):
        jd.solve(DECAY, START, t1=1.0, stop=stop)
