"""Order parameters and the identity link against the flow of all weights, closed formulas and samples."""

import jax
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import IdentityLinkFlow, OrderParameterFlow, PopulationFlow

pytestmark = pytest.mark.ci_slow

RNG = np.random.default_rng(2)


@pytest.mark.parametrize(("activation", "trains", "halved"), [("erf", "ac", True), ("square", "a", False), ("normal_cdf", "c", True)])
def test_order_parameters(activation, trains, halved):
    model = jd.models.TwoLayer(3, 6, False, activation, "sqrt", trains, init_scale=0.6)
    full = PopulationFlow(model, {"a": RNG.normal(size=(2, 6)) / 2, "c": np.array([0.8, -0.5])}, halved=halved)
    flow = OrderParameterFlow(full)
    start = full.init(jr.key(4))
    settings = {"t1": 4.0, "rtol": 1e-10, "record": 9}
    solution, both = jd.solve(flow, flow.reduce(start), **settings), jd.solve(full, start, **settings)
    expected = jax.vmap(flow.reduce)(both.states)
    for name in ("Q", "R", "c"):
        np.testing.assert_allclose(solution.states[name], expected[name], rtol=0, atol=2e-8)
        assert (np.abs(np.ptp(expected[name], axis=0)).max() > 1e-2) == (("c" if name == "c" else "a") in trains)
    np.testing.assert_allclose(flow.loss(flow.reduce(start)), full.loss(start), rtol=1e-13)
    assert flow.loss(solution.params) < flow.loss(flow.reduce(start)) - 1e-4
    assert flow.convention == full.convention
    np.testing.assert_array_equal(flow.init(jr.key(4))["Q"], flow.reduce(start)["Q"])


def angle(u, v):
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))


def test_identity_link():
    """The closed formula of the gradient (Li & Yuan 2017), and samples through the same network."""
    dim = 5
    flow = IdentityLinkFlow(0.4 * RNG.normal(size=(dim, dim)) / np.sqrt(dim), init_scale=0.5)
    params = flow.init(jr.key(5))
    w, teacher = np.asarray(params["w"]), np.asarray(flow.teacher)
    u, v = np.eye(dim) + w, np.eye(dim) + teacher
    expected = np.zeros((dim, dim))
    for j in range(dim):
        for i in range(dim):
            to_v, to_u = angle(v[i], u[j]), angle(u[i], u[j])
            expected[j] += np.pi / 2 * (teacher[i] - w[i]) + (np.pi / 2 - to_v) * v[i] - (np.pi / 2 - to_u) * u[i]
            expected[j] += (np.linalg.norm(v[i]) * np.sin(to_v) - np.linalg.norm(u[i]) * np.sin(to_u)) * u[j] / np.linalg.norm(u[j])
    velocity = flow.vector_field(0.0, params)["w"]
    np.testing.assert_allclose(velocity, expected / np.pi, rtol=0, atol=1e-14)
    np.testing.assert_allclose(velocity, -jax.grad(flow.loss)(params)["w"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(flow.loss({"w": flow.teacher}), 0.0, atol=1e-14)
    data = jd.data.gaussian_teacher(100_000, flow.target, dim, key=jr.key(6))
    outputs = np.maximum(np.asarray(data.x) @ u.T, 0).sum(axis=1)
    np.testing.assert_allclose(flow.apply(params, data.x), outputs, rtol=1e-12, atol=1e-12)
    squares = (outputs - np.maximum(np.asarray(data.x) @ v.T, 0).sum(axis=1)) ** 2
    assert abs(flow.loss(params) - squares.mean()) < 5 * squares.std() / np.sqrt(100_000)
    assert "without 1/2" in flow.convention
