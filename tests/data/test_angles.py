"""Data at given angles: the angles by numpy, the laws by Kolmogorov and Smirnov."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

from jaxdyn import data


def cosines(samples):
    """All pairs, in numpy."""
    z = np.asarray(samples.y)[:, None] * np.asarray(samples.x)
    z /= np.linalg.norm(z, axis=1)[:, None]
    return (z @ z.T)[np.triu_indices(len(z), 1)]


@pytest.mark.parametrize("mu", [0.999, 0.3, 0.0, -0.6, -0.99])
@pytest.mark.parametrize(("n", "dim"), [(2, 2), (90, 2), (90, 3), (40, 200)])
def test_cone_has_the_smallest_cosine_asked_for(n, mu, dim):
    cone = data.cone(n, mu, dim, norm=2.5, key=jr.key(n))
    assert abs(cosines(cone).min() - mu) < 1e-14
    x, y = np.asarray(cone.x), np.asarray(cone.y)
    np.testing.assert_array_equal(y, (-1.0) ** np.arange(n))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 2.5, rtol=1e-14)
    # The axis between the first two directions separates the classes, with half the opening to spare at least.
    axis = y[0] * x[0] + y[1] * x[1]
    margins = y * (x @ axis) / np.linalg.norm(axis) / 2.5
    np.testing.assert_allclose(margins.min(), np.cos(np.arccos(mu) / 2), rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 3])
def test_directions_fill_the_cone(dim):
    cone = data.cone(2000, -0.2, dim, key=jr.key(3), balanced=False)
    z = np.asarray(cone.y)[:, None] * np.asarray(cone.x)
    axis = (z[0] + z[1]) / np.linalg.norm(z[0] + z[1])
    angles = np.arccos(np.minimum(z[2:] @ axis, 1.0)) / (np.arccos(-0.2) / 2)
    assert scipy.stats.kstest(angles ** (dim - 1), "uniform").pvalue > 0.01
    # Across the axis the directions have no preferred side.
    across = (z[2:] - np.outer(z[2:] @ axis, axis)) @ (z[0] - z[1])
    assert abs(np.mean(np.sign(across))) < 3 / 2000**0.5
    assert abs(np.asarray(cone.y).mean()) < 3 / 2000**0.5


def test_axes_and_frames_have_no_preferred_direction():
    def coordinates(key):
        cone = data.cone(2, 0.5, 3, key=key)
        axis = cone.x[0] - cone.x[1]
        return axis / jnp.linalg.norm(axis), data.orthonormal(3, 3, key=key).x

    axes, frames = map(np.asarray, jax.jit(jax.vmap(coordinates))(jr.split(jr.key(5), 1500)))
    for k in range(3):  # Archimedes: each coordinate is uniform on the sphere of three dimensions.
        assert scipy.stats.kstest(axes[:, k], "uniform", (-1, 2)).pvalue > 0.01
        assert scipy.stats.kstest(frames[:, 2, k], "uniform", (-1, 2)).pvalue > 0.01
    assert abs(np.mean(np.linalg.det(frames))) < 3 / 1500**0.5


@pytest.mark.parametrize(("n", "dim", "mu"), [(4, 9, 0.7), (5, 5, 0.0), (5, 5, -0.25), (3, 40, -0.4), (2, 2, -0.9)])
def test_equal_cosines(n, dim, mu):
    np.testing.assert_allclose(cosines(data.cone(n, mu, dim, equal=True, key=jr.key(1))), mu, atol=2e-15)


def test_cones_under_transformations():
    mus = jnp.array([0.1, 0.6])
    for equal in (False, True):
        many = jax.jit(jax.vmap(lambda mu, equal=equal: data.cone(6, mu, 8, key=jr.key(0), equal=equal)))(mus)
        np.testing.assert_allclose(jax.vmap(data.smallest_cosine)(many), mus, rtol=1e-13)
    # The smallest cosine is mu, so it changes with mu at the rate 1.
    slope = jax.jit(jax.jacfwd(lambda mu: data.smallest_cosine(data.cone(6, mu, 8, key=jr.key(0)))))(0.4)
    np.testing.assert_allclose(slope, 1.0, rtol=1e-12)


def test_orthonormal():
    got = data.orthonormal(6, 11, norm=3.0, key=jr.key(2))
    x = np.asarray(got.x)
    np.testing.assert_allclose(x @ x.T, 9 * np.eye(6), atol=1e-13)
    assert np.sum(np.asarray(got.y)) == 0
    coins = np.asarray(data.orthonormal(400, 400, balanced=False, key=jr.key(2)).y)
    np.testing.assert_array_equal(np.abs(coins), 1.0)
    assert 0 < abs(coins.sum()) < 3 * 20


def test_nearly_orthogonal():
    got = data.nearly_orthogonal(300, 2000, key=jr.key(0))
    x = np.asarray(got.x)
    assert scipy.stats.kstest(np.sum(x**2, axis=1), scipy.stats.chi2(2000).cdf).pvalue > 0.01
    largest = np.abs(cosines(got)).max()
    np.testing.assert_allclose(largest, (4 * np.log(300) / 2000) ** 0.5, rtol=0.1)
    on_sphere = data.nearly_orthogonal(300, 2000, key=jr.key(0), norm=0.5, balanced=True)
    np.testing.assert_allclose(on_sphere.x, 0.5 * x / np.linalg.norm(x, axis=1)[:, None], rtol=1e-13)
    assert np.sum(np.asarray(on_sphere.y)) == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.cone(1, 0.5, 2, key=jr.key(0)), "n must be an integer of at least 2; 1 was given"),
        (lambda: data.cone(4, 0.5, 1, key=jr.key(0)), "dim must be an integer of at least 2; 1 was given"),
        (lambda: data.cone(4, 1.0, 3, key=jr.key(0)), "strictly between -1 and 1"),
        (lambda: data.cone(4, float("nan"), 3, key=jr.key(0)), "strictly between -1 and 1"),
        (lambda: data.cone(4, 0.5, 3, equal=True, key=jr.key(0)), "raise dim or leave equal out"),
        (lambda: data.cone(4, -0.34, 9, equal=True, key=jr.key(0)), "raise mu or leave equal out"),
        (lambda: data.cone(4, 0.5, 3, norm=0.0, key=jr.key(0)), "norm=0.0 must be positive and finite"),
        (lambda: data.orthonormal(4, 3, key=jr.key(0)), "1 <= n <= dim"),
        (lambda: data.orthonormal(2, 3, norm=-1.0, key=jr.key(0)), "norm=-1.0 must be positive and finite"),
        (lambda: data.nearly_orthogonal(0, 3, key=jr.key(0)), "n must be an integer of at least 1; 0 was given"),
        (lambda: data.nearly_orthogonal(3, 0, key=jr.key(0)), "dim must be an integer of at least 1; 0 was given"),
        (lambda: data.nearly_orthogonal(2, 3, norm=float("inf"), key=jr.key(0)), "norm=inf must be positive and finite"),
    ],
)
def test_misuse_names_the_mend(make, words):
    with pytest.raises(ValueError, match=words):
        make()
