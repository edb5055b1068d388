"""The relaxation that the closed form is made of, and its derivatives, against matrix exponentials and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxdyn.flows._relaxation import modes_of, relaxation

SHAPES = [(4, 6), (6, 4), (5, 5)]


@jax.jit
def relax(rows, residual, start, decay, t):
    return relaxation(rows, residual, start, decay, t, modes_of(rows))


def drawn(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.normal(size=shape[0]), rng.normal(size=shape[1])


def by_exponential(rows, residual, start, decay, t):
    """The z of z' = -(A^T (r + A z) + mu (w + z)), by the exponential of the augmented matrix."""
    generator = np.zeros((rows.shape[1] + 1,) * 2)
    generator[:-1, :-1] = -rows.T @ rows - decay * np.eye(rows.shape[1])
    generator[:-1, -1] = -rows.T @ residual - decay * start
    return scipy.linalg.expm(t * generator)[:-1, -1]


def coinciding(shape):
    """A matrix whose singular values are 1.5, twice or more."""
    rows, _, _ = drawn(shape, 1)
    left, _, right = np.linalg.svd(rows, full_matrices=False)
    return 1.5 * left @ right


def deficient(shape):
    """A matrix of rank 2."""
    return drawn((shape[0], 2), 2)[0] @ drawn((2, shape[1]), 3)[0]


@pytest.mark.parametrize("make", [lambda shape: drawn(shape)[0], coinciding, deficient])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_exponential_of_the_matrix(shape, decay, make):
    rows, (_, residual, start) = make(shape), drawn(shape)
    for t in (0.0, 0.3, 4.0):
        z, rest = relax(rows, residual, start, decay, t)
        np.testing.assert_allclose(z, by_exponential(rows, residual, start, decay, t), rtol=0, atol=1e-13)
        np.testing.assert_allclose(rest, residual + rows @ z, rtol=0, atol=1e-13)


@pytest.mark.parametrize("make", [lambda shape: drawn(shape)[0], coinciding, deficient])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_end(shape, make):
    rows, (_, residual, start) = make(shape), drawn(shape)
    z, rest = relax(rows, residual, start, 0.0, jnp.inf)
    expected = -np.linalg.lstsq(rows, residual, rcond=1e-12)[0]
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rest, residual + rows @ expected, rtol=0, atol=1e-12)
    z, _ = relax(rows, residual, start, 0.3, jnp.inf)
    ridge = -np.linalg.solve(rows.T @ rows + 0.3 * np.eye(shape[1]), rows.T @ residual + 0.3 * start)
    np.testing.assert_allclose(z, ridge, rtol=0, atol=1e-13)


@jax.jit
def number(at, matrices, vectors):
    """A number of what comes out, along a direction of all that goes in: at = (how far, decay, time)."""
    (rows, towards), (residual, start, to_residual, to_start) = matrices, vectors
    z, rest = relax(rows + at[0] * towards, residual + at[0] * to_residual, start + at[0] * to_start, at[1], at[2])
    return to_start @ jnp.sin(z) + to_residual @ rest**2


forwards, backwards = jax.jit(jax.jacfwd(number)), jax.jit(jax.grad(number))


@pytest.mark.parametrize("make", [lambda shape: drawn(shape)[0], coinciding, deficient])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_are_those_of_finite_differences(shape, make):
    """Both modes, in a direction that leaves the rank as it is: A X for the deficient matrix, any for the others."""
    rows = make(shape)
    towards = rows @ drawn((shape[1],) * 2, 4)[0] if make is deficient else drawn(shape, 4)[0]
    inputs = (rows, towards), (*drawn(shape)[1:], *drawn(shape, 5)[1:])
    h = 1e-5
    for decay, t in ((0.0, 0.7), (0.3, 0.7), (0.3, 9.0), (0.0, np.inf), (0.3, np.inf)):
        at = np.array([0.0, decay, t])
        expected = [(number(at + h * e, *inputs) - number(at - h * e, *inputs)) / (2 * h) for e in np.eye(3)[:2]]
        if decay == 0:  # a negative one has no meaning
            once, twice, not_at_all = (number(at + k * h * np.eye(3)[1], *inputs) for k in (1, 2, 0))
            expected[1] = (4 * once - twice - 3 * not_at_all) / (2 * h)
        later, earlier = (number(at + k * h * np.array([0, 0, 1]), *inputs) if np.isfinite(t) else 0.0 for k in (1, -1))
        expected.append((later - earlier) / (2 * h))
        for found in (forwards(at, *inputs), backwards(at, *inputs)):
            assert np.all(np.isfinite(found))
            # where nothing else pulls, any decay at all moves the end, by a leap
            which = [0, 2] if decay == 0 and t == np.inf else [0, 1, 2]
            np.testing.assert_allclose(found[jnp.array(which)], np.array(expected)[which], rtol=1e-6, atol=1e-7)


def test_derivatives_of_singular_values():
    rows, direction = drawn((4, 6))[0], drawn((4, 6), 1)[0]
    found = jax.jvp(lambda rows: modes_of(rows).sizes, (rows,), (direction,))[1]
    h = 1e-6
    expected = (np.linalg.svd(rows + h * direction)[1] - np.linalg.svd(rows - h * direction)[1]) / (2 * h)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_nothing_at_all_moves():
    z, rest = relax(np.zeros((3, 2)), np.ones(3), np.ones(2), 0.0, jnp.inf)
    np.testing.assert_array_equal(z, 0.0)
    np.testing.assert_array_equal(rest, 1.0)


def test_second_derivatives_are_refused_and_not_wrong():
    rows, residual, start = drawn((4, 6))

    def number_of(rows, residual, t):
        return jnp.sum(relaxation(rows, residual, start, jnp.asarray(0.1), t, modes_of(rows))[1] ** 2)

    with pytest.raises(NotImplementedError, match="no second ones"):
        jax.jit(jax.hessian(number_of))(rows, residual, 0.7)
    hessian = jax.jit(jax.hessian(number_of, (1, 2)))(rows, residual, 0.7)
    h, number = 1e-4, jax.jit(number_of)
    second = (number(rows, residual, 0.7 + h) - 2 * number(rows, residual, 0.7) + number(rows, residual, 0.7 - h)) / h**2
    np.testing.assert_allclose(hessian[1][1], second, rtol=1e-6)
    assert np.all(np.isfinite(hessian[0][0]))
