"""The linearised flow against the closed solution of its linear differential equation."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.linalg
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, LinearisedFlow

DATA = jd.data.points(np.linspace(-1, 1, 5), [0.3, -1.0, 0.5, 1.0, 0.0])
MODEL = jd.models.TwoLayer(width=6, activation="tanh")
START = MODEL.init(jr.key(3))
T1 = 5.0


def jacobian(point):
    """The outputs' derivative with respect to the flat parameters, by central differences."""
    flat, unravel = ravel_pytree(point)
    h = 1e-6
    outputs = jax.jit(jax.vmap(lambda y: MODEL.apply(unravel(y), DATA.x)))
    return np.asarray(outputs(flat[None] + h * jnp.eye(flat.size)) - outputs(flat[None] - h * jnp.eye(flat.size))).T / (2 * h)


def closed_form(point, start, t, scales=1.0, decay=0.0):
    """theta(t) of theta' = -s (J^T (f0 + J (theta - p) - y) + decay theta), by the exponential of the augmented matrix."""
    J, p, theta = jacobian(point), np.asarray(ravel_pytree(point)[0]), np.asarray(ravel_pytree(start)[0])
    residual = np.asarray(MODEL.apply(point, DATA.x)) - J @ p - np.asarray(DATA.y)
    s = np.broadcast_to(scales, theta.shape)[:, None]
    generator = np.block([[-s * (J.T @ J + decay * np.eye(theta.size)), -s * (J.T @ residual)[:, None]], [np.zeros((1, theta.size + 1))]])
    return (scipy.linalg.expm(t * generator) @ np.append(theta, 1.0))[:-1]


def test_outputs_follow_the_kernel_exponential():
    flow = LinearisedFlow(GradientFlow(MODEL, jd.losses.square, DATA), START)
    sol = jd.solve(flow, START, t1=T1, rtol=1e-10, record=[0.0, 0.1, 1.0, T1], observe={"f": lambda flow, t, params: flow.outputs(params)})
    J = jacobian(START)
    values, vectors = np.linalg.eigh(J @ J.T)
    f0, y = np.asarray(MODEL.apply(START, DATA.x)), np.asarray(DATA.y)
    expected = [y + vectors @ (np.exp(-values * t) * (vectors.T @ (f0 - y))) for t in np.asarray(sol.ts)]
    np.testing.assert_allclose(sol.observed["f"], expected, rtol=0, atol=2e-9)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("scales", [{"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 0.5, "c": 2.0}])
def test_parameters_follow_the_matrix_exponential(decay, scales):
    other = MODEL.init(jr.key(4))
    flow = LinearisedFlow(GradientFlow(MODEL, jd.losses.square, DATA, weight_decay=decay, time_scales=scales), other)
    sol = jd.solve(flow, START, t1=T1, rtol=1e-10)
    expected = closed_form(other, START, T1, np.repeat([scales["a"], scales["b"], scales["c"]], 6), decay)
    np.testing.assert_allclose(ravel_pytree(sol.params)[0], expected, rtol=0, atol=5e-9)


@pytest.mark.parametrize("frozen", [("c",)])
def test_without_a_point_each_start_is_linearised_around_itself(frozen):
    flow = LinearisedFlow(GradientFlow(MODEL, jd.losses.square, DATA, weight_decay=0.2, time_scales=2.0, frozen=frozen))
    start = flow.init(jr.key(3))
    np.testing.assert_array_equal(start["now"]["a"], START["a"])
    sol = jd.solve(flow, start, t1=T1, rtol=1e-10)
    for name in "abc":
        np.testing.assert_array_equal(sol.params["start"][name], START[name])
    moves = np.repeat([1.0, 1.0, 0.0], 6)
    expected = closed_form(START, START, T1, 2.0 * moves, 0.2)
    np.testing.assert_allclose(ravel_pytree(sol.params["now"])[0], expected, rtol=0, atol=5e-9)


def test_the_penalty_does_not_count_the_start_that_never_moves():
    flow = LinearisedFlow(GradientFlow(MODEL, jd.losses.square, DATA, weight_decay=0.2))
    plain = GradientFlow(MODEL, jd.losses.square, DATA, weight_decay=0.2)
    np.testing.assert_allclose(flow.loss({"now": START, "start": START}), plain.loss(START), rtol=1e-14)


def test_a_plain_function_can_be_linearised():
    def apply(params, x):
        return jnp.tanh(x @ params["a"].T - params["b"][None]) @ params["c"] / 6**0.5

    flow = GradientFlow(apply, jd.losses.square, DATA, initial=lambda key: START)
    for linear, start in [(LinearisedFlow(flow, START), START), (LinearisedFlow(flow), {"now": START, "start": START})]:
        assert jax.tree.structure(linear.init(jr.key(0))) == jax.tree.structure(start)
        moved = jax.tree.map(lambda leaf: 1.1 * leaf, START)
        state = {"now": moved, "start": START} if "now" in start else moved
        velocity = linear.vector_field(0.0, state)
        J, theta = jacobian(START), ravel_pytree(START)[0]
        expected = -J.T @ (np.asarray(MODEL.apply(START, DATA.x)) + J @ (0.1 * theta) - DATA.y)
        np.testing.assert_allclose(ravel_pytree(velocity.get("now", velocity))[0], expected, rtol=0, atol=1e-8)
