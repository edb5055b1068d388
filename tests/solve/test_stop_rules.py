"""Each stop rule by itself, and several together."""

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import FormulaFlow

import jaxdyn as jd
from jaxdyn.solve import AbstractStopRule, GradientNormBelow, LossBelow, Outcome, SteadyDirection, StopWhen

START = {"y": jnp.asarray([3.0, -4.0])}  # of norm 5
DECAY, SMALL_STEPS = FormulaFlow("decay"), {"controller": dfx.ConstantStepSize(), "dt0": 1e-3}


CONSTANT = {"controller": dfx.ConstantStepSize()}


class AtTime(AbstractStopRule):
    """Converged at a time."""

    time: float

    @property
    def outcome(self):
        return Outcome.converged

    def value(self, moment):
        return self.time - moment.t

    def __call__(self, moment):
        return self.value(moment) <= 0


def log_small(flow, t, y):
    """Zero where the loss is 12.5 / 16; NaN beyond a loss of 12, as a logarithm may be."""
    loss = flow.loss(y)
    return jnp.where(loss > 12.0, jnp.nan, jnp.log(loss / (12.5 / 16)))


def late(flow, t, y):
    return t >= 0.5


def small(flow, t, y):
    return flow.loss(y) < 1.0


@pytest.mark.parametrize(
    ("rule", "time", "outcome"),
    [(late, 0.5, "stopped"), (StopWhen(small), 0.5 * np.log(12.5), "stopped")],
    ids=["time", "function"],
)
def test_a_condition_ends_the_lane_after_the_step_that_meets_it(rule, time, outcome):
    """With steps of 1e-3 the lane ends within one step of the exact time."""
    sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=rule, **SMALL_STEPS)
    assert sol.fate.name == outcome
    assert time - 1e-9 <= float(sol.t) <= time + 1.0001e-3
    np.testing.assert_allclose(np.linalg.norm(sol.params["y"]), 5 * np.exp(-float(sol.t)), rtol=1e-9)


@pytest.mark.parametrize("how", [{"rtol": 1e-9}, {"dt0": 1e-2, "solver": dfx.Heun(), **CONSTANT}], ids=["Tsit5", "Heun"])
@pytest.mark.parametrize(
    ("rule", "time", "outcome"),
    [
        ([LossBelow(12.5 * np.exp(-2.0)), GradientNormBelow(0.0)], 1.0, "stopped"),
        ([LossBelow(0.0), GradientNormBelow(5 * np.exp(-1.5))], 1.5, "converged"),
        (StopWhen(value=lambda flow, t, y: 1.0 - t), 1.0, "stopped"),
        ([StopWhen(value=log_small), LossBelow(0.5)], np.log(4.0), "stopped"),
    ],
    ids=["loss", "gradient", "time", "value"],
)
def test_the_zero_of_a_rule_is_located(rule, time, outcome, how):
    """Y' = -y from |y| = 5, in steps much longer than the tolerance of the time."""
    tolerance = 3e-5 if "dt0" in how else 3e-9
    sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=rule, **how)
    assert sol.fate.name == outcome
    np.testing.assert_allclose(sol.t, time, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(sol.params["y"]), 5 * np.exp(-time), rtol=10 * tolerance)


def test_steady_direction():
    """Decay along a ray is steady from the start, a rotation never is."""
    ray = jd.solve(DECAY, START, t1=3.0, record=2, stop=SteadyDirection(1e-6), **SMALL_STEPS)
    assert (ray.fate, int(ray.certificate.num_accepted_steps), float(ray.t)) == (Outcome.converged, 0, 0.0)
    turning = jd.solve(FormulaFlow("rotation"), START, t1=3.0, record=2, stop=SteadyDirection(1.0), **SMALL_STEPS)
    assert turning.fate is Outcome.t1_reached  # unit angular speed: never steady, not even in the last instants


@pytest.mark.ci_slow
@pytest.mark.parametrize(("norm", "winner"), [(5 * np.exp(-1.1), 0), (5 * np.exp(-0.9), 1)])
def test_the_first_of_several_rules_wins(norm, winner):
    """Whatever their order, and although both are met within one step."""
    both = [LossBelow(12.5 * np.exp(-2.0)), GradientNormBelow(norm)]
    for rules in (both, both[::-1]):
        sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=rules, dt0=0.5, **CONSTANT)
        assert sol.fate is (Outcome.stopped, Outcome.converged)[winner]
        np.testing.assert_allclose(sol.t, (1.0, 0.9)[winner], atol=1e-4)


def test_of_rules_that_are_met_at_one_time_the_first_wins():
    twice = [StopWhen(value=lambda flow, t, y: 0.5 - t), AtTime(0.5)]
    for rules, outcome in [(twice, Outcome.stopped), (twice[::-1], Outcome.converged)]:
        sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=rules, rtol=1e-9)
        assert sol.fate is outcome and sol.t == 0.5


def test_a_rule_that_is_never_met_changes_nothing():
    sol = jd.solve(DECAY, START, t1=3.0, record=2, stop=[LossBelow(0.0), GradientNormBelow(0.0)], **SMALL_STEPS)
    assert sol.fate is Outcome.t1_reached


@pytest.mark.parametrize("stop", [3, "loss", [LossBelow(1.0), 4]])
def test_what_is_no_rule_is_refused(stop):
    with pytest.raises(ValueError, match="stop takes rules such as"):
        jd.solve(DECAY, START, t1=1.0, stop=stop)
