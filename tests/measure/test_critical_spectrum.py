"""The Hessian's spectrum against dense numpy, and the counts that are read off it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn import measure

pytestmark = pytest.mark.ci_slow

X, LABELS = jr.normal(jr.key(0), (12, 3)), jr.normal(jr.key(1), (12,))
MODEL = jd.models.TwoLayer(10, 3, activation="tanh")
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(X, LABELS), frozen=("b",), time_scales={"a": 2.0, "b": 1.0, "c": 0.3})
PARAMS = MODEL.init(jr.key(2))


class Quadratic(eqx.Module):
    """1/2 y.A y."""

    matrix: jax.Array

    def vector_field(self, t, y, args=None):
        return -self.matrix @ y

    def loss(self, y):
        return 0.5 * y @ self.matrix @ y


def with_eigenvalues(values, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values),) * 2))[0]
    return Quadratic(jnp.asarray(basis @ np.diag(values) @ basis.T))


def by_differences(flow, params):
    """The Hessian of what moves, by central differences of the field."""
    flat, unravel = ravel_pytree(params)
    mobility = np.asarray(ravel_pytree(flow.mobility(params))[0])

    @jax.jit
    def gradients(points):
        return jax.lax.map(lambda z: -ravel_pytree(flow.vector_field(0.0, unravel(z)))[0], points)

    offsets = 1e-5 * jnp.eye(flat.size)
    around = np.asarray(gradients(jnp.concatenate([flat[None] + offsets, flat[None] - offsets])))
    found = (around[: flat.size] - around[flat.size :]).T / 2e-5
    moves = mobility > 0
    return (found / np.where(moves, mobility, 1.0)[:, None])[np.ix_(moves, moves)]


@pytest.fixture(scope="module")
def dense():
    return np.linalg.eigvalsh(by_differences(FLOW, PARAMS))


def test_spectrum_is_that_of_what_moves(dense):
    found = jax.jit(lambda y: measure.hessian_spectrum(FLOW, 0.0, y))(PARAMS)
    assert found.shape == (40,) and dense[0] < -1e-3
    np.testing.assert_allclose(found, dense, atol=1e-7)


def test_ends_and_density(dense):
    """As many steps as parameters give the ends to rounding, fewer give them within their error; the density has the moments."""

    @jax.jit
    def by_lanczos(params):
        return (
            measure.hessian_ends(FLOW, params, key=jr.key(3), num_steps=40),
            measure.hessian_ends(FLOW, params, key=jr.key(3), num_steps=12),
            measure.hessian_density(FLOW, params, key=jr.key(4), num_probes=400, num_steps=12),
        )

    full, few, density = by_lanczos(PARAMS)
    np.testing.assert_allclose((full.smallest, full.largest), (dense[0], dense[-1]), atol=1e-7)
    assert 0 < few.error < 0.05 * (dense[-1] - dense[0])
    for end in (few.smallest, few.largest):
        assert np.abs(dense - float(end)).min() <= float(few.error) + 1e-7
    assert few.smallest >= dense[0] - 1e-7 and few.largest <= dense[-1] + 1e-7
    np.testing.assert_allclose(density.weights.sum(axis=1), 1.0, atol=1e-12)
    nodes, weights = np.asarray(density.nodes), np.asarray(density.weights)
    for power in (1, 2, 3):
        each = (weights * nodes**power).sum(axis=1)
        assert abs(each.mean() - (dense**power).mean()) < 4 * each.std() / np.sqrt(len(each))
    middle = jnp.asarray([-0.5, 0.0, 1.0, 5.0])
    shares = (dense[None, :] < np.asarray(middle)[:, None]).mean(axis=1)
    np.testing.assert_allclose(density.below(middle)[2:], shares[2:], atol=0.05)
    x = jnp.linspace(dense[0] - 5, dense[-1] + 5, 4001)
    smoothed = np.asarray(density.smoothed(x, 0.5))
    np.testing.assert_allclose(np.trapezoid(smoothed, x), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.trapezoid(smoothed * x, x), (weights * nodes).sum(axis=1).mean(), rtol=1e-6)


def test_quadrature_is_exact_for_polynomials():
    """Of one probe v, up to degree 2 steps - 1: v.H^n v."""
    flow = with_eigenvalues(np.linspace(-1, 3, 30))
    found = measure.hessian_density(flow, jnp.zeros(30), key=jr.key(0), num_probes=2, num_steps=4)
    probes = np.array(jr.normal(jr.key(0), (2, 30)))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    H = np.asarray(flow.matrix)
    for power in range(8):
        exact = np.einsum("pi,ij,pj->p", probes, np.linalg.matrix_power(H, power), probes)
        np.testing.assert_allclose((found.weights * found.nodes**power).sum(axis=1), exact, rtol=1e-11)
    beyond = np.einsum("pi,ij,pj->p", probes, np.linalg.matrix_power(H, 8), probes)
    assert np.abs((found.weights * found.nodes**8).sum(axis=1) / beyond - 1).min() > 1e-6


def test_an_exhausted_krylov_space_adds_no_eigenvalue():
    """All eigenvalues are 2 or 5: the space has two dimensions, and nothing at 0 appears."""
    flow = with_eigenvalues([2.0] * 5 + [5.0] * 4)
    found = measure.hessian_ends(flow, jnp.zeros(9), key=jr.key(1), num_steps=9)
    np.testing.assert_allclose((found.smallest, found.largest), (2.0, 5.0), rtol=1e-12)


def test_index_and_dimension():
    values = [-2.0, -1e-4, 0.0, 1e-13, 1e-3, 4.0]
    found = jax.vmap(lambda y: measure.critical_point(with_eigenvalues(values), 0.0, y))(jnp.zeros((2, 6)))
    np.testing.assert_array_equal((found.index, found.dimension), ([2, 2], [2, 2]))
    assert (found.gap > 1e8).all()
    coarse = measure.critical_point(with_eigenvalues(values), 0.0, jnp.zeros(6), tolerance=1e-2)
    assert (int(coarse.index), int(coarse.dimension)) == (1, 4)
    np.testing.assert_allclose(coarse.gap, 2e3, rtol=1e-6)
    definite = measure.critical_point(with_eigenvalues([1.0, 2.0]), 0.0, jnp.zeros(2))
    assert int(definite.dimension) == 0 and np.isinf(definite.gap)


def test_manifold_of_interpolation():
    """As many dimensions as parameters beyond samples."""
    found = jd.polish(FLOW, PARAMS, method="products", max_steps=300)
    assert bool(found.converged) and float(found.loss) < 1e-20
    kind = measure.critical_point(FLOW, 0.0, found.params)
    assert (int(kind.index), int(kind.dimension)) == (0, 40 - 12) and float(kind.gap) > 1e3


def test_at_the_teacher():
    """The smallest eigenvalue at W = I is 1/4 - 1/(2 pi) for every number of neurons (Safran, Yehudai & Shamir 2021)."""
    k = 4
    flow = jd.flows.PopulationFlow(jd.models.TwoLayer(k, k, bias=False, scaling="one", trains="a"), np.eye(k))
    found = jax.jit(lambda y: measure.hessian_spectrum(flow, 0.0, y))({"a": jnp.eye(k), "c": jnp.ones(k)})
    assert found.shape == (k * k,)
    np.testing.assert_allclose(found[0], 0.25 - 1 / (2 * np.pi), atol=1e-12)


def test_nothing_moves():
    frozen = jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(X, LABELS), frozen=("a", "b", "c"))
    with pytest.raises(ValueError, match="unfreeze"):
        measure.hessian_spectrum(frozen, 0.0, PARAMS)
