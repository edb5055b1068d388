"""The interior-point method against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear, nnls

from jaxdyn.measure._gates import box_inequalities
from jaxdyn.measure._quadratic import constrained_least_squares
from jaxdyn.measure._stationary import box_least_squares

box = jax.jit(box_least_squares)


@pytest.mark.parametrize("shape", [(3, 2), (3, 10), (10, 3), (20, 20), (5, 40)])
@pytest.mark.parametrize("kind", ["inside", "corner", "outside", "repeated"])
def test_box_least_squares(shape, kind):
    rng = np.random.default_rng(shape[1])
    for scale in (1e-9, 1.0, 1e5):
        matrix = rng.normal(size=shape)
        if kind == "repeated":
            matrix[:, -1] = matrix[:, 0]
        wanted = rng.uniform(size=shape[1]) if kind in ("inside", "repeated") else np.clip(rng.normal(size=shape[1]), 0, 1)
        target = 3 * rng.normal(size=shape[0]) if kind == "outside" else matrix @ wanted
        u = np.asarray(box(scale * matrix, scale * target))
        best = lsq_linear(matrix, target, (0, 1), method="bvls", tol=1e-15)
        assert np.all((u >= 0) & (u <= 1))
        size = np.linalg.norm(matrix @ u - target)
        if kind == "outside":
            np.testing.assert_allclose(size, np.linalg.norm(matrix @ best.x - target), rtol=1e-12, atol=1e-12)
        else:
            assert size < 1e-12 * np.linalg.norm(target)


def test_a_linear_term():
    rng = np.random.default_rng(0)
    matrix, target, linear = rng.normal(size=(9, 5)), rng.normal(size=9), rng.uniform(size=5)
    inequalities, bounds = -np.eye(5), np.zeros(5)
    u = np.asarray(jax.jit(constrained_least_squares)(matrix, target, linear, inequalities, bounds, jnp.ones(5)))
    # the square completed
    moved = target - matrix @ np.linalg.solve(matrix.T @ matrix, linear)
    np.testing.assert_allclose(u, nnls(matrix, moved)[0], atol=1e-12)


def test_a_batch():
    rng = np.random.default_rng(1)
    matrices, targets = rng.normal(size=(6, 4, 7)), rng.normal(size=(6, 4))
    many = jax.jit(jax.vmap(box_least_squares))(matrices, targets)
    for u, matrix, target in zip(many, matrices, targets, strict=True):
        best = lsq_linear(matrix, target, (0, 1), method="bvls", tol=1e-15).x
        assert np.linalg.norm(matrix @ u - target) < np.linalg.norm(matrix @ best - target) + 1e-12


def test_the_box():
    inequalities, bounds = box_inequalities(3, jnp.float64)
    for point in np.random.default_rng(2).uniform(-1, 2, size=(50, 3)):
        assert np.all(inequalities @ point <= bounds) == np.all((point >= 0) & (point <= 1))
