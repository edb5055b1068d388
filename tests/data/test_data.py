"""Data sets against their declared layout and law."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_digits

from jaxdyn import data


def test_square_wave_layout():
    wave = data.square_wave()
    np.testing.assert_allclose(wave.x[:, 0], [-1 + 2 * j / 9 for j in range(10)], atol=1e-15)
    np.testing.assert_array_equal(wave.y, [1, 1, -1, -1, 1, 1, -1, -1, 1, 1])
    wave = data.square_wave(7, low=0.0, high=3.0, periods=1)
    np.testing.assert_array_equal(wave.y, [3, 3, 3, 3, 0, 0, 0])
    np.testing.assert_array_equal(data.square_wave(1, periods=0.5).y, [1])


@pytest.mark.parametrize("n", [5, 6, 7, 9, 13, 22])
def test_square_wave_runs_are_as_equal_as_can_be(n):
    y = np.asarray(data.square_wave(n).y)
    jumps = np.flatnonzero(np.diff(y)) + 1
    lengths = np.diff(np.concatenate([[0], jumps, [n]]))
    assert len(lengths) == 5
    assert np.ptp(lengths) <= 1


def test_sinusoid():
    wave = data.sinusoid(5, periods=0.5, amplitude=2.0, phase=0.1)
    expected = [2.0 * np.sin(np.pi * 0.5 * x + 0.1) for x in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    np.testing.assert_allclose(wave.y, expected, rtol=1e-14)


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (40, 30)])
def test_clusters_are_separated_by_the_gap(n, dim):
    for seed in range(3):
        cloud = data.clusters(n, dim, separation=0.3, spread=2.0, key=jr.key(seed))
        x, y = np.asarray(cloud.x), np.asarray(cloud.y)
        assert abs(y.sum()) <= 1
        # An independent check: is there a w with y_i (w.x_i) >= 1 for all i, as a linear programme?
        programme = scipy.optimize.linprog(np.zeros(dim), A_ub=-y[:, None] * x, b_ub=-np.ones(n), bounds=(None, None))
        assert programme.status == 0
        direction = jr.normal(jr.split(jr.key(seed))[0], (dim,))
        direction = np.asarray(direction / jnp.linalg.norm(direction))
        assert np.min(y * (x @ direction)) >= 0.15 * (1 - 1e-12)


def test_clusters_have_the_declared_distribution():
    cloud = data.clusters(20_000, 3, separation=4.0, spread=0.5, key=jr.key(0))
    x, y = np.asarray(cloud.x), np.asarray(cloud.y)
    centre = (y[:, None] * x).mean(axis=0)
    expected = 2.0 + 0.5 * (2 / np.pi) ** 0.5
    assert abs(np.linalg.norm(centre) - expected) < 0.02
    across = x - np.outer(x @ centre, centre) / np.sum(centre**2)
    assert abs((across**2).sum(1).mean() / (2 * 0.25) - 1) < 0.05


def test_digits():
    pair = data.digits(3, 8)
    bundle = load_digits()
    kept = [k for k in range(len(bundle.target)) if bundle.target[k] in (3, 8)]
    np.testing.assert_array_equal(pair.y, [-1 if bundle.target[k] == 3 else 1 for k in kept])
    x = np.asarray(pair.x)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(np.mean([row @ row for row in x]), 1.0, rtol=1e-13)
    # Centring and one common factor keep the shape of the cloud: ratios of distances are those of the raw images.
    raw = bundle.data[kept]
    ratio = np.linalg.norm(x[5] - x[9]) / np.linalg.norm(x[2] - x[40])
    np.testing.assert_allclose(ratio, np.linalg.norm(raw[5] - raw[9]) / np.linalg.norm(raw[2] - raw[40]), rtol=1e-12)
    few = data.digits(3, 8, n=10)
    np.testing.assert_array_equal(few.y, pair.y[:10])
    np.testing.assert_allclose(few.x.mean(axis=0), 0.0, atol=1e-13)


def test_points_take_vectors_and_integers():
    got = data.points([1, 2, 4], [0, 1, 0], "mine")
    np.testing.assert_array_equal(got.x, [[1.0], [2.0], [4.0]])
    assert got.x.dtype == got.y.dtype == jnp.float64
    assert (got.name, got.num_samples, got.dim) == ("mine", 3, 1)


def test_split_and_train_test_lose_nothing():
    whole = data.points(np.arange(10.0), np.arange(10.0) ** 2)
    first, rest = whole.split(3)
    np.testing.assert_array_equal(first.y, [0, 1, 4])
    np.testing.assert_array_equal(rest.x[:, 0], np.arange(3, 10))
    train, test = data.train_test(whole, 0.7, jr.key(0))
    assert train.num_samples == 7
    both = np.concatenate([train.x[:, 0], test.x[:, 0]])
    np.testing.assert_array_equal(np.sort(both), np.arange(10.0))
    assert np.any(both != np.arange(10.0))
    np.testing.assert_array_equal(np.concatenate([train.y, test.y]), both**2)
    assert data.train_test(whole, 0.999, jr.key(0))[1].num_samples == 1


def test_data_pass_through_transformations_unchecked():
    y = jnp.array([[1.0, 2.0], [3.0, jnp.nan]])
    sums = jax.vmap(lambda targets: data.points(jnp.ones(2), targets).y.sum())(y)
    assert sums[0] == 3.0
    assert jnp.isnan(sums[1])
    many = eqx.filter_vmap(lambda key: data.clusters(4, 2, key=key))(jr.split(jr.key(0), 3))
    assert many.x.shape == (3, 4, 2)
    alone = data.clusters(4, 2, key=jr.split(jr.key(0), 3)[1])
    np.testing.assert_allclose(many.x[1], alone.x, rtol=1e-13)
    doubled = jax.jit(lambda samples: jax.tree.map(lambda leaf: 2 * leaf, samples))(alone)
    np.testing.assert_array_equal(doubled.x, 2 * alone.x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.points(np.zeros((3, 2)), np.zeros(2)), "flatten each input, and each target"),
        (lambda: data.points(np.zeros((3, 2)), np.zeros((3, 1, 1))), "flatten each input, and each target"),
        (lambda: data.points(np.zeros((3, 2, 2)), np.zeros(3)), "flatten each input"),
        (lambda: data.points([], []), "at least one sample"),
        (lambda: data.points([1.0, np.inf], [0.0, 0.0]), "x holds values that are not finite"),
        (lambda: data.points([1.0, 2.0], [0.0, np.nan]), "y holds values that are not finite"),
        (lambda: data.square_wave(0), "n must be an integer of at least 1; 0 was given"),
        (lambda: data.square_wave(4), "multiple of 1/2"),
        (lambda: data.square_wave(10, periods=1.3), "multiple of 1/2"),
        (lambda: data.square_wave(10, periods=0), "multiple of 1/2"),
        (lambda: data.sinusoid(-1), "n must be an integer of at least 1; -1 was given"),
        (lambda: data.clusters(1, 2, key=jr.key(0)), "n must be an integer of at least 2; 1 was given"),
        (lambda: data.clusters(4, 0, key=jr.key(0)), "dim must be an integer of at least 1; 0 was given"),
        (lambda: data.clusters(4, 2, 0.0, key=jr.key(0)), "separation=0.0 must be positive and finite"),
        (lambda: data.clusters(4, 2, spread=-1.0, key=jr.key(0)), "spread=-1.0 must be zero or positive, and finite"),
        (lambda: data.digits(1, 1), "two different digits"),
        (lambda: data.digits(1, 10), "second must be an integer from 0 to 9; 10 was given"),
        (lambda: data.digits(n=1), "n must be an integer from 2 to 360; 1 was given"),
        (lambda: data.digits(n=1000), "n must be an integer from 2 to 360; 1000 was given"),
        (
            lambda: data.points([1.0, 2.0], [0.0, 1.0]).split(2),
            "n must be below the number of samples, which is 2, so that no part is empty; 2 was given",
        ),
        (lambda: data.train_test(data.points([1.0, 2.0], [0.0, 1.0]), 1.0, jr.key(0)), "between 0 and 1"),
        (lambda: data.train_test(data.points([1.0], [0.0]), 0.5, jr.key(0)), "at least two"),
    ],
)
def test_misuse_names_the_mend(make, words):
    with pytest.raises(ValueError, match=words):
        make()
