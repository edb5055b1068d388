"""The functions, the frozen kernel and the collocation of the kernel-exponential solver, each by itself."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.solve.exponential.linear import linear_part, modes_by_krylov, modes_of_rows
from jaxdyn.solve.exponential.phi import phis

RNG = np.random.default_rng(0)
LINE = jd.data.sinusoid(6)


def exact_phi(k, z):
    """phi_k(-z) by the confluent hypergeometric function: 1F1(1; k + 1; -z) / k!."""
    with mpmath.workdps(60):
        return float(mpmath.hyp1f1(1, k + 1, -mpmath.mpf(z)) / mpmath.factorial(k))


@pytest.mark.parametrize(("dtype", "least"), [(jnp.float64, 1e-13), (jnp.float32, 1e-4)])
def test_phi_functions(dtype, least):
    """Relative error from 0 to 1e12 and on both sides of where the series ends; measured: 2e-14."""
    z = np.concatenate([[0.0], np.geomspace(1e-12, 1e12, 49), [0.999, 1.0, 1.001]]).astype(dtype)
    found = np.asarray(phis(jnp.asarray(z), 5))
    assert found.dtype == dtype
    expected = np.array([[exact_phi(k, float(one)) for one in z] for k in range(1, 6)])
    np.testing.assert_allclose(found, expected, rtol=least)


def spectrum(values, params):
    """A matrix with these singular values."""
    n = len(values)
    left, right = (np.linalg.qr(RNG.normal(size=(size, n)))[0] for size in (n, params))
    return left @ np.diag(values) @ right.T


def applied(vectors, values, v):
    return vectors @ (values * (vectors.T @ v))


@pytest.mark.parametrize("shape", ["wide", "tall", "singular", "nothing"])
def test_modes_of_rows(shape):
    """U diag U^T is A^T A, with U orthonormal; a repeated row and rows of zeros leave null modes out."""
    rows = spectrum(np.geomspace(1.0, 1e-3, 6), 20)
    rows = {"wide": rows, "tall": rows.T, "singular": np.concatenate([rows, rows[:2], np.zeros((1, 20))]), "nothing": 0 * rows}[shape]
    vectors, values = (np.asarray(part) for part in modes_of_rows(jnp.asarray(rows)))
    np.testing.assert_allclose((vectors * values) @ vectors.T, rows.T @ rows, atol=1e-15)
    kept = values > 0
    gram = vectors[:, kept].T @ vectors[:, kept]
    np.testing.assert_allclose(gram, np.eye(kept.sum()), atol=1e-9)
    assert kept.sum() == {"wide": 6, "tall": 6, "singular": 6, "nothing": 0}[shape] or shape == "tall"


def test_krylov_modes():
    """The vectors are orthonormal, large modes are those of the SVD, and a space that ends early gives the whole of A."""
    rows = spectrum(np.geomspace(1.0, 1e-6, 40), 60)
    start = RNG.normal(size=40)
    vectors, values = modes_by_krylov(lambda v: rows @ v, lambda w: rows.T @ w, jnp.asarray(start), 25, 60)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(25), atol=1e-12)
    np.testing.assert_allclose(values[:10], np.geomspace(1.0, 1e-6, 40)[:10] ** 2, rtol=1e-8)
    few, start = spectrum([3.0, 2.0, 1.0], 30), RNG.normal(size=3)
    vectors, values = modes_by_krylov(lambda v: few @ v, lambda w: few.T @ w, jnp.asarray(start), 8, 30)
    assert np.all(np.isfinite(vectors))
    np.testing.assert_allclose((vectors * values[None]) @ vectors.T, few.T @ few, atol=1e-12)


def jacobian(flow, params):
    flat, unravel = ravel_pytree(params)
    return np.asarray(jax.jacfwd(lambda v: flow.outputs(unravel(v)))(flat)), flat, unravel


@pytest.mark.ci_slow
@pytest.mark.parametrize("loss", ["square", "mean_square", "logistic", "exponential", "own"])
def test_linear_part_is_gauss_newton(loss):
    """L against J^T D J by brute force, with time scales, frozen biases and weight decay; a user's loss that couples samples too."""
    y = np.sign(RNG.normal(size=6)) if loss in ("logistic", "exponential") else RNG.normal(size=6)
    function = (lambda f, y: jnp.mean((f - y) ** 4) + jnp.sum(f) ** 2) if loss == "own" else jd.losses.loss(loss)
    model = jd.models.TwoLayer(5, activation="tanh")
    flow = jd.flows.GradientFlow(
        model, function, jd.data.points(LINE.x, y), time_scales={"a": 1.0, "b": 1.0, "c": 0.3}, weight_decay=0.01, frozen=("b",)
    )
    rows, flat, unravel = jacobian(flow, model.init(jax.random.key(0)))
    curvature = np.asarray(jax.hessian(flow.loss_of_outputs)(flow.outputs(unravel(flat))))
    mobility = np.asarray(ravel_pytree(flow.mobility(unravel(flat)))[0])
    part = linear_part(flow, unravel, flat, None, None)
    scale = np.sqrt(mobility)
    np.testing.assert_allclose(part.scale, scale, rtol=1e-15)
    expected = scale[:, None] * (rows.T @ curvature @ rows) * scale[None, :]
    vectors, values = np.asarray(part.vectors), np.asarray(part.values)
    np.testing.assert_allclose((vectors * values) @ vectors.T, expected, atol=1e-8 * np.abs(expected).max())
    moving = mobility > 0
    np.testing.assert_allclose(part.decay, 0.01 * mobility[moving].mean(), rtol=0.2)
    assert np.all(vectors[~moving] == 0)


@pytest.mark.ci_slow
def test_linear_part_by_krylov_is_the_dense_one(monkeypatch):
    import importlib

    module = importlib.import_module("jaxdyn.solve.exponential.linear")
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(7, activation="tanh"), jd.losses.square, LINE)
    flat, unravel = ravel_pytree(flow.init(jax.random.key(3)))
    dense = linear_part(flow, unravel, flat, None, None)
    monkeypatch.setattr(module, "MANY_OUTPUTS", 2)
    krylov = linear_part(flow, unravel, flat, None, None)
    np.testing.assert_allclose(np.sort(krylov.values)[-4:], np.sort(dense.values)[-4:], rtol=1e-6)
    v = RNG.normal(size=flat.size)
    largest = float(dense.values[-1])
    np.testing.assert_allclose(applied(*krylov[:2], v), applied(*dense[:2], v), atol=1e-6 * largest)
