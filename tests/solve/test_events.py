"""Zeros of stop rules inside steps: their time, the state there, and their derivatives."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import FormulaFlow

import jaxdyn as jd
from jaxdyn.flows import AbstractFlow
from jaxdyn.solve import GradientNormBelow, LossBelow, Outcome, StopWhen

DECAY, GROWTH = FormulaFlow("decay"), FormulaFlow("growth")


def to_e(flow, t, y):
    return jnp.e - y["y"][0]


@pytest.mark.parametrize("solver", [None, pytest.param(dfx.Kvaerno5(), marks=pytest.mark.ci_slow)], ids=["Tsit5", "Kvaerno5"])
def test_growth_is_stopped_at_e_at_time_one(solver):
    """The records and the steps end with the event, and the lane goes on from there."""
    sol = jd.solve(GROWTH, {"y": jnp.ones(1)}, t1=5.0, record=[0.0, 0.5, 3.0], stop=StopWhen(value=to_e), rtol=1e-8, solver=solver)
    assert sol.fate is Outcome.stopped
    np.testing.assert_allclose([sol.t, sol.params["y"][0]], [1.0, np.e], rtol=1e-7)
    np.testing.assert_allclose(sol.states["y"][:2, 0], np.exp([0.0, 0.5]), rtol=1e-7)
    assert np.isnan(sol.ts[2]) and sol.certificate.loss_end == GROWTH.loss(sol.params)
    after = jd.solve(GROWTH, sol, t1=2.0, record=2, rtol=1e-8, solver=solver)
    np.testing.assert_allclose(after.params["y"], np.exp(2.0), rtol=1e-7)


def test_the_last_recorded_step_is_the_event():
    sol = jd.solve(GROWTH, {"y": jnp.ones(1)}, t1=5.0, record="steps", max_steps=50, stop=StopWhen(value=to_e))
    n = int(sol.certificate.num_accepted_steps)
    assert sol.ts[n] == sol.t and np.isnan(sol.ts[n + 1])
    np.testing.assert_array_equal(sol.states["y"][n], sol.params["y"])


@pytest.mark.ci_slow
def test_the_end_time_has_the_derivatives_of_the_zero():
    """Y' = -y from s is at y^2 / 2 = c at t = log(s / sqrt(2 c)): dt/ds = 1/s, dt/dc = -1/(2 c), dy/ds = 0, dy/dc = 1/y."""

    def end(s, c, checkpoints=None):
        sol = jd.solve(DECAY, {"y": s[None]}, t1=9.0, record=2, stop=LossBelow(c), checkpoints=checkpoints)
        return sol.t, sol.params["y"][0]

    at = jnp.asarray(2.0), jnp.asarray(0.1)
    expected = np.asarray([[1 / 2.0, -5.0], [0.0, 1 / np.sqrt(0.2)]])
    np.testing.assert_allclose(jax.jacfwd(end, (0, 1))(*at), expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(jax.jacrev(lambda s, c: end(s, c, 8), (0, 1))(*at), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("checkpoints", [None, 4])
def test_a_rule_that_is_met_at_the_start_takes_no_step(checkpoints):
    sol = jd.solve(DECAY, {"y": jnp.ones(1)}, t1=9.0, t0=1.0, record=[1.0, 2.0], dt0=1.0, stop=LossBelow(0.5), checkpoints=checkpoints)
    assert (sol.fate, float(sol.t), int(sol.certificate.num_accepted_steps)) == (Outcome.stopped, 1.0, 0)
    np.testing.assert_array_equal(sol.states["y"][:, 0], [1.0, np.nan])
    again = jd.solve(DECAY, sol, t1=9.0, record=2, dt0=1.0, stop=LossBelow(0.5))
    assert (again.fate, float(again.t)) == (Outcome.stopped, 1.0)


def test_a_value_that_jumps_through_zero_ends_the_lane_at_the_jump():
    rule = StopWhen(value=lambda flow, t, y: jnp.where(t < 0.7, 1.0, -1.0))
    sol = jd.solve(DECAY, {"y": jnp.ones(1)}, t1=9.0, record=2, stop=rule)
    assert sol.fate is Outcome.stopped and int(sol.certificate.num_accepted_steps) < 40
    np.testing.assert_allclose([sol.t, sol.params["y"][0]], [0.7, np.exp(-0.7)], rtol=1e-6)


def test_an_event_in_the_last_step_comes_before_the_end():
    steps = {"controller": dfx.ConstantStepSize(), "dt0": 0.25, "solver": dfx.Dopri8()}
    before = jd.solve(GROWTH, {"y": jnp.ones(1)}, t1=1.01, record=2, stop=StopWhen(value=to_e), max_steps=5, **steps)
    assert before.fate is Outcome.stopped
    np.testing.assert_allclose(before.t, 1.0, rtol=1e-6)
    after = jd.solve(GROWTH, {"y": jnp.ones(1)}, t1=0.99, record=2, stop=StopWhen(value=to_e), **steps)
    assert after.fate is Outcome.t1_reached


def test_what_is_no_value_is_refused():
    with pytest.raises(ValueError, match="StopWhen takes a condition"):
        StopWhen()
    with pytest.raises(ValueError, match=r"a stop rule must be a function \(flow, t, params\), not 3"):
        StopWhen(value=3)
    with pytest.raises(ValueError, match="must be one real float"):
        jd.solve(DECAY, {"y": jnp.ones(2)}, t1=1.0, stop=StopWhen(value=lambda flow, t, y: y["y"]))


class Towards(AbstractFlow):
    """y' = -k (y - 1)^power: exponential decay to 1, or decay like a power of time."""

    rates: jax.Array
    power: int

    def vector_field(self, t, y, args=None):
        return -self.rates * (y - 1.0) ** self.power

    def loss(self, y):
        return jnp.sum(self.rates * (y - 1.0) ** (self.power + 1)) / (self.power + 1)

    def init(self, key):
        return jnp.full_like(self.rates, 2.0)


@pytest.mark.parametrize(("threshold", "outcome"), [(1e-6, "converged"), (1e-18, "tolerance_reached")])
def test_a_gradient_norm_beneath_the_error_of_the_solver_is_said(threshold, outcome):
    """An explicit solver at its limit of stability keeps an error of about the tolerance times the largest rate, here 1e-4."""
    sol = jd.solve(
        Towards(jnp.asarray([1.0, 1e3]), 1),
        jnp.full(2, 2.0),
        t1=1e6,
        rtol=1e-9,
        record=2,
        stop=GradientNormBelow(threshold),
        solver=dfx.Tsit5(),
    )
    assert sol.fate.name == outcome
    assert float(sol.t) < 100.0
    # the deviation is at most the gradient norm over the smallest rate, which is 1
    np.testing.assert_allclose(sol.params, 1.0, atol=max(threshold, 1e-7))


def test_slow_decay_is_no_error_of_the_solver():
    """Y' = -(y - 1)^3 falls like t^(-3/2): the threshold is met at its time, after more steps than are compared."""
    how = {"rtol": 1e-8, "atol": 1e-10, "record": 2, "solver": dfx.Tsit5()}
    sol = jd.solve(Towards(jnp.ones(1), 3), jnp.full(1, 2.0), t1=1e12, stop=GradientNormBelow(1e-12), **how)
    assert sol.fate is Outcome.converged
    np.testing.assert_allclose(sol.t, (1e8 - 1) / 2, rtol=1e-3)
    wide = jd.solve(Towards(jnp.asarray([1e3, 0.0]), 1), jnp.full(2, 2.0), t1=20.0, stop=GradientNormBelow(1e-30), **how)
    assert wide.fate is Outcome.tolerance_reached


@pytest.fixture(scope="module")
def relu():
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(6), jd.losses.square, jd.data.sinusoid(6))
    return flow, flow.init(jax.random.key(4))


@pytest.mark.ci_slow
def test_an_event_behind_kinks_has_the_kinks_before_it(relu):
    """Gates and counts are those of a lane that is solved to the time of the event, and it continues like one that is never stopped."""
    flow, start = relu
    threshold = 0.5 * float(flow.loss(jd.solve(flow, start, t1=1.0, record=2).params))
    sol = jd.solve(flow, start, t1=500.0, record=2, stop=LossBelow(threshold), rtol=1e-8)
    assert sol.fate is Outcome.stopped and int(sol.certificate.num_kinks) > 0
    np.testing.assert_allclose(sol.certificate.loss_end, threshold, rtol=1e-8)
    plain = jd.solve(flow, start, t1=sol.t, record=2, rtol=1e-8)
    assert sol.certificate.num_kinks == plain.certificate.num_kinks
    assert sol.certificate.last_kink <= sol.t
    np.testing.assert_allclose(sol.params["a"], plain.params["a"], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(sol.state.kinks.gates, plain.state.kinks.gates)
    on, straight = (jd.solve(flow, begin, t1=2 * sol.t, record=2, rtol=1e-8) for begin in (sol, start))
    np.testing.assert_allclose(on.params["a"], straight.params["a"], rtol=1e-6, atol=1e-7)


@pytest.mark.ci_slow
def test_sweeps_end_at_the_event():
    """Each lane at its own threshold, one of them met at the start."""
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(5, activation="tanh"), jd.losses.square, jd.data.sinusoid(6))
    ds = jd.sweep(flow, 3, t1=500.0, stop=LossBelow(2.0), observe={"loss": jd.measure.loss}, record=3, progress=False)
    at_start = np.asarray([float(flow.loss(flow.init(jax.random.fold_in(jax.random.key(0), s)))) for s in range(3)])
    np.testing.assert_allclose(ds["loss_end"], np.minimum(at_start, 2.0), rtol=1e-5)
    assert np.all((ds["t_end"].values == 0) == (at_start <= 2.0))
    assert set(ds["outcome"].values) == {int(Outcome.stopped)}
    np.testing.assert_allclose(ds["loss"].isel(time=0), at_start, rtol=1e-12)


@pytest.mark.ci_slow
def test_a_loss_on_the_way_to_the_limit_is_met_before_it():
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(10, activation="tanh"), jd.losses.square, jd.data.sinusoid(6))
    sol = jd.solve(flow, flow.init(jax.random.key(0)), t1=jnp.inf, stop=LossBelow(1e-20))
    assert sol.fate is Outcome.stopped and np.isfinite(sol.t)
    np.testing.assert_allclose(sol.certificate.loss_end, 1e-20, rtol=1e-2)
