"""The population flow's field and its derivatives, by differences of the loss and of the field."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from population_flows import EACH, FLOWS, evaluate

import jaxdyn as jd
from jaxdyn.flows import AbstractFlow, PopulationFlow

pytestmark = pytest.mark.ci_slow


@eqx.filter_jit
def examine(flow, y):
    flat, unravel = ravel_pytree(y)

    def slope(z):
        return -ravel_pytree(flow.vector_field(0.0, unravel(z)))[0]

    offsets = 1e-5 * jnp.eye(flat.size)
    around = jnp.concatenate([flat[None] + offsets, flat[None] - offsets])
    losses, slopes = jax.lax.map(lambda z: (flow.loss(unravel(z)), slope(z)), around)
    return {
        "gradient": jax.grad(lambda z: flow.loss(unravel(z)))(flat),
        "slope": slope(flat),
        "by differences": (losses[: flat.size] - losses[flat.size :]) / 2e-5,
        "hessian": jax.jacfwd(jax.grad(lambda z: flow.loss(unravel(z))))(flat),
        "jacobian": jax.jacfwd(slope)(flat),
        "jacobian by differences": (slopes[: flat.size] - slopes[flat.size :]).T / 2e-5,
    }


@pytest.mark.parametrize("name", EACH)
def test_field_and_its_derivative(name):
    flow = FLOWS[name]
    y = flow.init(jr.key(1))
    velocity = evaluate(flow, y)[1]
    assert isinstance(flow, AbstractFlow)
    assert {k: (v.shape, v.dtype) for k, v in velocity.items()} == {k: (v.shape, v.dtype) for k, v in y.items()}
    found = examine(flow, y)
    precision = 1e-6 if name == "softplus" else 1e-14  # 24 nodes: the quadratures of J and of its gradient differ
    np.testing.assert_allclose(found["slope"], found["by differences"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found["gradient"], found["slope"], rtol=0, atol=precision)
    np.testing.assert_allclose(found["jacobian"], found["jacobian by differences"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(found["hessian"], found["jacobian"], rtol=0, atol=10 * precision)
    np.testing.assert_allclose(found["hessian"], found["hessian"].T, rtol=0, atol=1e-5 if name == "softplus" else 1e-14)


def test_hessian_of_biased_relu_at_the_teacher_is_the_feature_covariance():
    """There J'' = E[grad f grad f^T], by quadrature in the plane of inputs; parallel vectors with the same knots on each diagonal."""
    a, b = np.array([[1.0, 0.3], [-0.5, 0.8]]), np.array([0.4, -0.2])
    model = jd.models.TwoLayer(2, 2, True, "relu", "one")
    y = {"a": jnp.asarray(a), "b": jnp.asarray(b), "c": jnp.ones(2)}
    hessian = examine(PopulationFlow(model, y), y)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    angles = np.linspace(0, 2 * np.pi, 1201)[:-1]
    z = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    total = 0.0
    # polar coordinates: in each direction, radii between the two kinks
    kinks = np.sort(np.clip(b / np.where(np.abs(z @ a.T) < 1e-9, 1e-9, z @ a.T), 0, 12), axis=1)
    ends = np.concatenate([np.zeros((1200, 1)), kinks, np.full((1200, 1), 12.0)], axis=1)
    for low, high in zip(ends.T[:-1], ends.T[1:], strict=True):
        for part in range(3):
            left = low + (high - low) * part / 3
            radius = left[:, None] + (high - low)[:, None] / 3 * (nodes + 1) / 2
            measure = (high - low)[:, None] / 6 * weights * radius * np.exp(-(radius**2) / 2) / 1200
            x = (radius[..., None] * z[:, None, :]).reshape(-1, 2)
            act = x @ a.T - b
            gate = (act > 0).astype(float)
            features = np.concatenate([(gate[:, :, None] * x[:, None, :]).reshape(-1, 4), -gate, np.maximum(act, 0)], axis=1)
            total = total + features.T @ (measure.reshape(-1, 1) * features)
    np.testing.assert_allclose(hessian["hessian"], total, rtol=0, atol=3e-7)
    np.testing.assert_allclose(hessian["jacobian"], hessian["hessian"], rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(hessian["hessian"])[0] > -1e-15
