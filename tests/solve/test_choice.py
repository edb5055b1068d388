"""The solver of a call that names none: by how many steps Tsit5 would take, always what that solver gives when it is named."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import LinearFlow

import jaxdyn as jd
from jaxdyn.solve import choice
from jaxdyn.solve.choice import DENSE, FIRST_STEPS, KERNEL_STEPS, TooSlow, TooStiff, passed_on, steps_left
from jaxdyn.solve.rules import Moment, Pace
from jaxdyn.solve.work import has_constant_curvature, step_ratio

pytestmark = [pytest.mark.ci_slow, pytest.mark.usefixtures("optimised")]

FLOW = jd.flows.GradientFlow(jd.models.TwoLayer(16, activation="tanh", init_scale=2.0), jd.losses.square, jd.data.sinusoid(5))
START = FLOW.init(jr.key(0))
LONG, SHORT = 1e5, 0.3
HOW = {"rtol": 1e-6, "record": 5, "observe": {"loss": jd.measure.loss}}


@pytest.fixture(scope="module")
def stiff():
    return jd.solve(FLOW, START, LONG, **HOW)


def assert_same(one, two):
    """To the last bit, but for what says why the solver was chosen."""
    assert one.method == two.method
    why = lambda s: (s.certificate.projected_steps, s.state.certificate.projected_steps, s.state.pace)  # noqa: E731
    one, two = (eqx.tree_at(why, sol, (0.0, 0.0, 0.0)) for sol in (one, two))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_stiff_lane_is_that_of_the_kernel_solver(stiff):
    named = jd.solve(FLOW, START, LONG, solver=jd.KernelExponential(), **HOW)
    assert stiff.method.startswith("KernelExponential,") and stiff.fate is jd.Outcome.t1_reached
    assert_same(stiff, named)
    assert "KernelExponential" in repr(stiff)


def test_a_short_lane_is_that_of_tsit5():
    assert_same(jd.solve(FLOW, START, SHORT, **HOW), jd.solve(FLOW, START, SHORT, solver=dfx.Tsit5(), **HOW))


def test_it_switches_where_tsit5_would_take_more_steps_than_documented():
    """On either side of the threshold; the number of steps that Tsit5 takes says where that is, though it is foreseen from the first."""
    found, most = [], KERNEL_STEPS[True] * step_ratio((FLOW, START))
    for t1 in (2.0, 10.0, 50.0, 200.0, 1000.0, 5000.0):
        plain = jd.solve(FLOW, START, t1, solver=dfx.Tsit5(), **HOW)
        steps = int(plain.certificate.num_accepted_steps + plain.certificate.num_rejected_steps)
        chosen = jd.solve(FLOW, START, t1, **HOW).method.split(",")[0]
        if steps < most / 2:
            assert chosen == "Tsit5", (t1, steps, most)
        if steps > 1.5 * most + FIRST_STEPS:
            assert chosen == "KernelExponential", (t1, steps, most)
        found.append(chosen)
    assert {*found} == {"Tsit5", "KernelExponential"}


def test_all_steps_and_a_later_start():
    for how in ({"record": "steps"}, {"t0": 3.0, "record": [3.0, 10.0, LONG]}):
        assert_same(jd.solve(FLOW, START, LONG, **how), jd.solve(FLOW, START, LONG, solver=jd.KernelExponential(), **how))


def test_a_rule_that_is_met_first_ends_the_lane():
    sol = jd.solve(FLOW, START, LONG, stop=jd.LossBelow(0.9 * float(FLOW.loss(START))), **HOW)
    assert sol.fate is jd.Outcome.stopped and sol.method.startswith("Tsit5,")


def test_going_on_keeps_the_solver(stiff, tmp_path):
    stiff.save(tmp_path / "lane.npz")
    read = jd.load_solution(tmp_path / "lane.npz", FLOW, observe={"loss": jd.measure.loss})
    assert_same(read, stiff)
    on = jd.solve(FLOW, read, 2 * LONG, **HOW)
    assert on.method == stiff.method and on.fate is jd.Outcome.t1_reached and float(on.t) == 2 * LONG
    short = jd.solve(FLOW, START, SHORT, **HOW)
    assert jd.solve(FLOW, short, 2 * SHORT, **HOW).method == short.method
    with pytest.raises(ValueError, match="KernelExponential"):
        jd.solve(FLOW, stiff, 2 * LONG, solver=dfx.Tsit5(), **HOW)


def test_limits_are_the_kernel_solvers():
    assert jd.solve(FLOW, START, jnp.inf).method.startswith("KernelExponential,")
    assert jax.eval_shape(lambda y: jd.solve(FLOW, y, jnp.inf), START).method.startswith("KernelExponential,")


def test_what_is_transformed_is_not_asked():
    """Nothing is known yet of lanes that are traced."""
    assert jax.eval_shape(lambda y: jd.solve(FLOW, y, LONG), START).method.startswith("Tsit5,")
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), START)
    sols = jax.vmap(lambda y: jd.solve(FLOW, y, LONG, max_steps=100))(several)
    assert sols.method.startswith("Tsit5,") and np.all(sols.outcome == int(jd.Outcome.max_steps))
    # nor where only a constant is in sight of the trace
    assert np.all(jax.jit(lambda: jd.solve(FLOW, START, LONG, max_steps=100).outcome)() == int(jd.Outcome.max_steps))
    tangent = jax.jvp(lambda t1: jd.solve(FLOW, START, t1, max_steps=100).params["c"], (LONG,), (1.0,))
    assert all(np.all(np.isfinite(part)) for part in tangent)


@pytest.mark.slow
def test_where_kinks_are_stepped_over_it_is_tsit5():
    """The chatter of a slide looks stiff; located, the same lane is one for KernelExponential."""
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(16, init_scale=2.0), jd.losses.square, jd.data.sinusoid(5))
    start = flow.init(jr.key(0))
    over = jd.solve(flow, start, LONG, locate_kinks=False, max_steps=3000)
    assert over.method.startswith("Tsit5") and over.fate is jd.Outcome.max_steps
    assert jd.solve(flow, start, LONG).method.startswith("KernelExponential")


def test_other_flows_and_named_controllers_stay_with_tsit5():
    linear = LinearFlow(jnp.asarray([[1.0, 0.0], [0.0, 1000.0]]))
    sol = jd.solve(linear, jnp.asarray([1.0, 1.0]), 10.0, rtol=1e-5)
    assert sol.method.startswith("Tsit5,") and int(sol.certificate.num_accepted_steps) > 1000
    sol = jd.solve(FLOW, START, LONG, controller=dfx.PIDController(rtol=1e-5, atol=1e-7), max_steps=200)
    assert sol.method.startswith("Tsit5,") and sol.fate is jd.Outcome.max_steps


SADDLE = jd.flows.GradientFlow(jd.models.TwoLayer(10, activation="tanh", init_scale=1e-8), jd.losses.square, jd.data.sinusoid(6))
"""Asked after 32 steps already, its long steps near the saddle let Tsit5 expect 2500, of which there are 21 000."""


@pytest.fixture
def asked_at_once(monkeypatch):
    """Tsit5 is asked after `FIRST_STEPS` steps, so that some lanes are given up twice."""
    monkeypatch.setattr(choice, "FIRST_SHARES", (0.0, 0.0))


def test_a_lane_that_leaves_a_saddle_is_given_up_twice(asked_at_once):
    chosen = jd.solve(SADDLE, SADDLE.init(jr.fold_in(jr.key(1), 2)), 3000.0, record=3)
    assert np.isinf(chosen.certificate.projected_steps) and chosen.method.startswith("KernelExponential,")
    assert int(chosen.certificate.num_accepted_steps) < 1000 and float(chosen.certificate.loss_end) < 1e-25


@pytest.mark.slow
def test_lanes_that_leave_a_saddle_are_given_up_twice_in_sweeps(asked_at_once):
    ds = jd.sweep(SADDLE, [1, 2], t1=3000.0, key=jr.key(1), record=3, progress=False)
    assert np.all(ds["switched"].values) and list(np.isinf(ds["projected_steps"].values)) == [False, True]
    named = jd.solve(SADDLE, SADDLE.init(jr.fold_in(jr.key(1), 2)), 3000.0, record=3, solver=jd.KernelExponential())
    np.testing.assert_allclose(ds["params"].values[1], jax.flatten_util.ravel_pytree(named.params)[0], rtol=1e-6)
    np.testing.assert_array_equal(ds["num_accepted_steps"].values[1], named.certificate.num_accepted_steps)


def moment_of(t1, num_kinks):
    """After 64 equal steps to t = 1."""
    numbers = {"t": 1.0, "t1": t1, "loss": 1.0, "step_size": 1 / 64, "num_steps": 64, "num_kinks": num_kinks, "stiffness": np.nan}
    pace = Pace(jnp.asarray(0.0), jnp.asarray(0), jnp.asarray(0.25), jnp.asarray(0.5))
    values = {name: jnp.asarray(value) for name, value in numbers.items()}
    return Moment(flow=FLOW, params=START, y=jnp.zeros(1), velocity=lambda: jnp.zeros(1), pace=pace, **values)


def test_no_lane_is_given_up_without_end():
    """What is passed on after a failure, or the second time, is infinite, and with that nobody gives up."""
    assert np.isinf(passed_on(int(jd.Outcome.step_too_small), 7.0)) and float(passed_on(int(jd.Outcome.too_stiff), 7.0)) == 7.0
    moment = moment_of(1e3, 0)
    assert float(steps_left(moment)) == pytest.approx(64 * 999, rel=1e-4)
    for rule in (TooStiff(30.0, 60.0, 0.0), TooSlow(30.0)):
        for projected, expected in ((jnp.nan, isinstance(rule, TooStiff)), (1e3, True), (1e7, False), (jnp.inf, False)):
            given_up, handed = rule(moment, jnp.asarray(projected))
            assert bool(given_up) == expected, (rule, projected)
            assert np.isinf(handed) == (isinstance(rule, TooStiff) and not np.isnan(projected))


@pytest.mark.parametrize(
    ("num_kinks", "most"),
    [
        (0, 60 * 30),
        (6, (60 + 3) * 30),
        (100, DENSE * (60 + 50) * 30),  # at rtol 1e-4 noise locates more than one in each step
        (-1, np.inf),  # stepped over
    ],
)
def test_dense_kinks_ask_for_more_steps_that_are_left(num_kinks, most):
    for left in (most * 0.9, most * 1.1):
        moment = moment_of(1 + min(left, 1e9) / 64, num_kinks)
        assert bool(TooStiff(30.0, 60.0, 0.0)(moment, jnp.asarray(jnp.nan))[0]) == (left > most)


@pytest.mark.parametrize(
    ("loss", "constant"),
    [
        (jd.losses.square, True),
        (jd.losses.mean_square, True),
        (lambda f, y: jnp.sum((f - y) ** 2 * jnp.abs(y)), True),
        (lambda f, y: -jnp.sum(f * y), True),
        (jd.losses.logistic, False),
        (jd.losses.exponential, False),
        (lambda f, y: jnp.sum((f - y) ** 4), False),
    ],
)
def test_curvature_that_stays(loss, constant):
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(3, activation="tanh"), loss, jd.data.points([-1.0, 1.0], [1.0, -1.0]))
    assert has_constant_curvature((flow, flow.init(jr.key(0)))) == constant


def test_the_tail_of_a_loss_is_left_to_tsit5():
    """After 32 steps, 64 and 128 its steps grow too slowly to tell that 1300 are left to t = 1e6."""
    x = jr.normal(jr.key(1), (200, 10)) / np.sqrt(10)
    flow = jd.flows.GradientFlow(
        jd.models.TwoLayer(32, 10, activation="tanh"), jd.losses.logistic, jd.data.points(x, jnp.sign(jnp.sin(3 * x[:, 0])))
    )
    sol = jd.solve(flow, flow.init(jr.key(0)), 1e6, record=2)
    assert sol.method.startswith("Tsit5,") and np.isnan(sol.certificate.projected_steps)


@pytest.mark.slow
def test_kinks_that_are_noise_do_not_keep_a_stiff_lane():
    """Tsit5 at rtol 1e-4 located more of them than steps: it went on for 53 000 steps where KernelExponential takes 209."""
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(128, init_scale=1.5, output_multiplier=3.0), jd.losses.square, jd.data.sinusoid(20))
    sol = jd.solve(flow, flow.init(jr.key(0)), 1e5, rtol=1e-4, record=2)
    assert sol.method.startswith("KernelExponential,") and int(sol.certificate.num_accepted_steps) < 500
    assert float(sol.certificate.projected_steps) > 1e6
