"""Changes of time, against the same flow in its own."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import Clock, GradientFlow, arc_length, loss_time

X = np.linspace(-1, 1, 5)
RELU = GradientFlow(jd.models.TwoLayer(width=6), jd.losses.square, jd.data.points(X, [0.3, -1.0, 0.5, 1.0, 0.0]))
SIGNS = GradientFlow(jd.models.TwoLayer(width=6, activation="tanh"), jd.losses.logistic, jd.data.points(X, [1.0, -1.0, -1.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("inner", "speed"), [pytest.param(RELU, arc_length, marks=pytest.mark.slow), (SIGNS, loss_time)], ids=["arc_length", "loss_time"]
)
def test_the_path_is_the_same(inner, speed):
    flow = Clock(inner, speed)
    start = inner.init(jr.key(0))
    sol = jd.solve(flow, flow.start(start), 1.5, rtol=1e-9)
    plain = jd.solve(inner, start, float(sol.params["time"]), rtol=1e-9)
    ends = [ravel_pytree(params)[0] for params in (sol.params["params"], plain.params)]
    np.testing.assert_allclose(*ends, atol=1e-6)
    assert float(sol.params["time"]) > 0.3


def test_arc_length_is_the_length_of_the_path():
    flow = Clock(SIGNS, arc_length)
    sol = jd.solve(flow, flow.init(jr.key(1)), 0.8, rtol=1e-8, record=np.linspace(0, 0.8, 2001))
    points = np.asarray(jnp.concatenate([leaf.reshape(2001, -1) for leaf in (sol.states["params"][k] for k in "abc")], axis=1))
    np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1).sum(), 0.8, rtol=1e-6)


def test_a_loss_with_an_exponential_tail_falls_evenly():
    flow = Clock(SIGNS, loss_time)
    sol = jd.solve(flow, flow.init(jr.key(2)), 3.0, record=np.linspace(0, 3.0, 31), observe={"loss": jd.measure.loss, "speed": _speed})
    np.testing.assert_allclose(np.gradient(np.log(sol.observed["loss"]), 0.1)[2:-2], -np.asarray(sol.observed["speed"])[2:-2], rtol=2e-2)


def _speed(flow, t, y):
    """|grad l|^2 / l^2: how fast the logarithm of the loss falls in this clock."""
    velocity = ravel_pytree(flow.inner.vector_field(0.0, y["params"]))[0]
    return (velocity @ velocity) / flow.inner.loss(y["params"]) ** 2
