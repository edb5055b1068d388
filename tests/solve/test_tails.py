"""Exponential tails: fields of 1e20 to 1e300 at the start, against closed forms, by every solver and by default."""

import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.solve.first_step import first_step

LINE = jd.flows.GradientFlow(lambda p, x: p["w"] * x[:, 0], jd.losses.exponential, jd.data.points([[1.0]], [1.0]))
SOLVERS = {"default": None, "KernelExponential": jd.KernelExponential(), "Tsit5": dfx.Tsit5(), "Dopri8": dfx.Dopri8()}


@pytest.mark.ci_slow
@pytest.mark.parametrize("name", SOLVERS)
def test_one_weight_from_far_down_the_tail(name):
    """W' = exp(-w), so w = log(t + exp(w0)): the first time unit is 1e-300 long."""
    for start in (-45.0, -50.0, -100.0, -350.0, -700.0):
        sol = jd.solve(LINE, {"w": jnp.asarray(start)}, 1.0, solver=SOLVERS[name], record=[0.0, 1e-30, 1e-10, 0.5, 1.0])
        assert sol.fate is jd.Outcome.t1_reached
        exact = np.logaddexp(np.log(np.maximum(sol.ts, 1e-320)), start)
        np.testing.assert_allclose(sol.states["w"], exact, rtol=1e-6, atol=1e-6)


@pytest.mark.ci_slow
def test_two_weights_of_different_speed():
    """Orthogonal samples x = m_k e_k: exp(m_k w_k) = m_k^2 t + exp(m_k w_k(0)) for each weight."""
    flow = jd.flows.GradientFlow(lambda p, x: x @ p["w"], jd.losses.exponential, jd.data.points([[1.0, 0.0], [0.0, 2.0]], [1.0, 1.0]))
    start = jnp.asarray([-60.0, -40.0])
    sol = jd.solve(flow, {"w": start}, 10.0)
    exact = [np.logaddexp(np.log(10.0), -60.0), 0.5 * np.logaddexp(np.log(40.0), -80.0)]
    assert sol.fate is jd.Outcome.t1_reached
    np.testing.assert_allclose(sol.params["w"], exact, rtol=0, atol=1e-6)


@pytest.mark.ci_slow
def test_sweeps_start_there_too():
    start = jnp.asarray([-45.0, -100.0, -350.0])

    def own(key):
        return {"w": start[jr.randint(key, (), 0, 3)]}

    flow = jd.flows.GradientFlow(LINE.model, LINE.loss_function, LINE.data, initial=own)
    ds = jd.sweep(flow, 6, t1=2.0, progress=False)
    assert set(ds["outcome"].values) == {int(jd.Outcome.t1_reached)}
    np.testing.assert_allclose(ds["params"].values[:, 0], np.log(2.0), atol=1e-6)


@pytest.mark.ci_slow
def test_a_network_with_margins_of_minus_50():
    """Against an explicit solver of order 8 with a step of its own at the start."""
    flow = jd.flows.GradientFlow(
        jd.models.TwoLayer(width=8, activation="tanh", init_scale=30.0),
        jd.losses.exponential,
        jd.data.points([[-1.0], [0.5], [1.0]], [-1.0, 1.0, 1.0]),
    )
    starts = [flow.init(jr.key(k)) for k in range(12)]
    start = max(starts, key=lambda y: float(flow.loss(y)))
    assert float(flow.loss(start)) > 1e20
    reference = jd.solve(flow, start, 1.0, solver=dfx.Dopri8(), rtol=1e-10, dt0=1e-3 / float(flow.loss(start)))
    found = jd.solve(flow, start, 1.0)
    assert found.fate is reference.fate is jd.Outcome.t1_reached
    a, b = (np.asarray(ravel_pytree(sol.params)[0]) for sol in (found, reference))
    assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)


def test_float32_begins_with_a_step_of_the_right_length():
    data = jd.data.points(jnp.ones((1, 1), jnp.float32), jnp.ones(1, jnp.float32))
    flow = jd.flows.GradientFlow(LINE.model, LINE.loss_function, data)
    for start in (-20.0, -40.0, -80.0):
        sol = jd.solve(flow, {"w": jnp.asarray(start, jnp.float32)}, 1.0)
        assert sol.fate is jd.Outcome.t1_reached and abs(float(sol.params["w"])) < 1e-3


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_the_first_step_is_diffraxs_in_the_unit_of_time_of_the_problem(scale):
    """Where the start is as large as the field; in every other unit of time it is the same step, where diffrax's is not."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)))
    y, order = scale * jnp.asarray([1.0, -2.0, 0.3, 0.0]), 5
    tolerance = 1e-8 * scale + 1e-6 * jnp.abs(y)

    def field(y):
        return jnp.sin(matrix @ y / scale) * scale

    def size(x):
        return jnp.sqrt(jnp.mean((x / tolerance) ** 2))

    unit = size(y) / size(field(y))
    controller = dfx.PIDController(rtol=1e-6, atol=1e-8 * scale)
    term = dfx.ODETerm(lambda t, y, args: unit * field(y))
    theirs, _ = controller.init(term, 0.0, jnp.inf, y, None, None, lambda terms, t, y, args: terms.vf(t, y, args), order)
    for speed in (1e-200, 1e-12, 1.0, 1e12, 1e200):
        found = first_step(lambda y, speed=speed: speed * field(y), y, speed * field(y), tolerance, order)
        np.testing.assert_allclose(found * speed, unit * theirs, rtol=1e-10)


def test_the_first_step_from_nothing():
    """From 0, T is the time to one tolerance; a field of zero says nothing; one that is not a number makes no step."""
    zero, tolerance = jnp.zeros(2), jnp.asarray([1e-8, 1e-8])
    for speed in (1e-100, 1.0, 1e100):
        assert 1e-10 < float(first_step(lambda y, speed=speed: speed + 0 * y, zero, speed + zero, tolerance, 5)) * speed < 1e-8
    assert float(first_step(lambda y: y, zero, zero, tolerance, 5)) == pytest.approx(1e-6)
    assert float(first_step(lambda y: y, zero, zero, jnp.zeros(2), 5)) == pytest.approx(1e-6)
    assert not np.isfinite(first_step(lambda y: y * jnp.nan, zero, zero * jnp.nan, tolerance, 5))


def test_the_kernel_solver_begins_with_a_step_that_fits():
    """Diffrax takes 0.01 for every solver that is not for a plain ODE term: here that is 1e12 times too long, or too short."""
    for speed in (1e12, 1e-12):
        flow = jd.flows.GradientFlow(lambda p, x: p["w"] * x[:, 0], jd.losses.square, jd.data.points([[np.sqrt(speed)]], [0.0]))
        sol = jd.solve(flow, {"w": jnp.asarray(1.0)}, 1.0 / speed, solver=jd.KernelExponential())
        np.testing.assert_allclose(sol.params["w"], np.exp(-1.0), rtol=1e-8)
        assert int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps) < 25
