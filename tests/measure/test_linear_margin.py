"""The linear max margin against scipy's SLSQP and its KKT conditions."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

import jaxdyn as jd
from jaxdyn import measure


def separable(seed, samples, dim):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, dim))
    u = rng.normal(size=dim)
    return x + np.maximum(0.1 - x @ u, 0)[:, None] * u / (u @ u)


@pytest.mark.parametrize(("samples", "dim"), [(1, 3), (5, 3), (40, 3), (5, 20), (60, 10)])
@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e80])
def test_against_slsqp(samples, dim, scale):
    x = separable(samples, samples, dim)
    found = measure.max_margin(scale * x)
    best = minimize(
        lambda u: u @ u / 2,
        found.direction + 0.1,
        jac=lambda u: u,
        constraints={"type": "ineq", "fun": lambda u: x @ u - 1, "jac": lambda u: x},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    np.testing.assert_allclose(found.margin / scale, 1 / np.linalg.norm(best.x), rtol=1e-6)
    # the conditions that make it the maximum
    margins = x @ found.direction
    np.testing.assert_allclose(np.linalg.norm(found.direction), 1, rtol=1e-14)
    np.testing.assert_allclose(margins.min(), found.margin / scale, rtol=1e-11)
    np.testing.assert_allclose(found.duals @ x, found.margin / scale * found.direction, atol=1e-12)
    assert np.all(found.duals >= 0) and abs(found.duals.sum() - 1) < 1e-14
    np.testing.assert_allclose(margins[found.duals > 0], found.margin / scale, rtol=1e-10)


def test_a_small_margin():
    x = np.array([[1.0, 1e-5], [-1.0, 1e-5], [0.3, 0.4]])
    found = measure.max_margin(x)
    np.testing.assert_allclose(found.margin, 1e-5, rtol=1e-12)
    np.testing.assert_allclose(found.direction, [0, 1], atol=1e-11)


def test_no_margin():
    x = np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    found = measure.max_margin(x)
    assert found.margin == 0 and np.all(np.isnan(found.direction))
    np.testing.assert_allclose(found.duals @ x, 0, atol=1e-15)
    mixed = jd.data.points(np.concatenate([x, x + 5]), np.array([1.0, 1, 1, -1, -1, -1]))
    both = measure.class_margins(mixed)
    assert both.two_layer_margin == 0 and both.positive.margin == 0 and both.negative.margin > 0


def test_two_classes():
    x = np.concatenate([separable(0, 9, 5), separable(1, 6, 5)])
    y = np.array([1.0] * 9 + [-1.0] * 6)
    order = np.random.default_rng(0).permutation(15)
    found = measure.class_margins(jd.data.points(x[order], y[order]))
    plus, minus = measure.max_margin(x[:9]).margin, measure.max_margin(x[9:]).margin
    np.testing.assert_allclose([found.positive.margin, found.negative.margin], [plus, minus], rtol=1e-12)
    # the largest of min(r gamma_+, s gamma_-) under 2 r + 2 s = 1, r and s the squared sizes of the neurons
    r = np.linspace(0, 0.5, 200001)
    best = np.max(np.minimum(r * plus, (0.5 - r) * minus))
    np.testing.assert_allclose(found.two_layer_margin, best, rtol=1e-5)


def test_misuse():
    with pytest.raises(ValueError, match="all zeros"):
        measure.max_margin(np.array([[1.0, 2.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="finite samples"):
        measure.max_margin(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="both classes"):
        measure.class_margins(jd.data.points(np.eye(2), np.ones(2)))
    with pytest.raises(ValueError, match=r"max_margin runs on the host: call it outside of jax\.grad, jax\.vmap and jax\.jit"):
        jax.jit(measure.max_margin)(np.eye(2))
    with pytest.raises(ValueError, match="class_margins runs on the host"):
        jax.jit(lambda x: measure.class_margins(jd.data.points(x, [1.0, -1.0])))(np.eye(2))
