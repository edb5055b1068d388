"""Labels, cosines and perturbations against numpy, sample by sample."""

import jax
import jax.random as jr
import numpy as np
import pytest

from jaxdyn import data


def cloud(n=700, dim=5, seed=0):
    generator = np.random.default_rng(seed)
    return data.points(generator.normal(size=(n, dim)) + 1.0, generator.choice([-1.0, 1.0], n))


def test_smallest_cosine_by_all_pairs():
    samples = cloud()
    z = np.asarray(samples.y)[:, None] * np.asarray(samples.x)
    pairs = [z[i] @ z[j] / np.sqrt((z[i] @ z[i]) * (z[j] @ z[j])) for i in range(700) for j in range(i)]
    np.testing.assert_allclose(data.smallest_cosine(samples), min(pairs), rtol=1e-13)
    # Sizes do not matter, not even those whose squares overflow.
    sizes = 10.0 ** np.random.default_rng(1).uniform(-200, 200, (700, 1))
    scaled = data.points(sizes * np.asarray(samples.x), samples.y)
    np.testing.assert_allclose(jax.jit(data.smallest_cosine)(scaled), min(pairs), rtol=1e-13)


def test_smallest_cosine_takes_no_sample_with_itself():
    # Two samples at 60 degrees: the only pair has cosine 1/2, and -1/2 if one label turns.
    x = [[2.0, 0.0], [0.5, 0.75**0.5]]
    np.testing.assert_allclose(data.smallest_cosine(data.points(x, [1, 1])), 0.5, rtol=1e-15)
    np.testing.assert_allclose(data.smallest_cosine(data.points(x, [1, -1])), -0.5, rtol=1e-15)


def test_digits_hardly_meet_the_cone():
    pair = data.digits(0, 1)
    data.check_signs(pair)
    z = np.asarray(pair.y)[:, None] * np.asarray(pair.x)
    z /= np.linalg.norm(z, axis=1)[:, None]
    np.testing.assert_allclose(data.smallest_cosine(pair), (z @ z.T).min(), rtol=1e-12)
    assert data.smallest_cosine(pair) < 0


def test_flipped_labels():
    samples = cloud(50)
    got = data.flip_labels(samples, 0.25, jr.key(0))
    np.testing.assert_array_equal(got.x, samples.x)
    assert np.sum(np.asarray(got.y) == -np.asarray(samples.y)) == 12  # 12.5, rounded to even
    np.testing.assert_array_equal(np.abs(got.y), 1.0)
    np.testing.assert_array_equal(data.flip_labels(samples, 0.0, jr.key(0)).y, samples.y)
    np.testing.assert_array_equal(data.flip_labels(samples, 1.0, jr.key(0)).y, -samples.y)
    # Every sample is as likely as any other: over 400 draws of 12 of 50 each is flipped 96 times, with a deviation of 8.5.
    many = jax.vmap(lambda key: data.flip_labels(samples, 0.25, key).y)(jr.split(jr.key(1), 400))
    times = np.sum(np.asarray(many) != np.asarray(samples.y)[None], axis=0)
    assert np.all(np.abs(times - 96) < 4 * 8.5)


def test_outliers():
    samples = cloud(60, 3)
    got = data.with_outliers(samples, 0.1, 7.0, jr.key(0))
    np.testing.assert_array_equal(got.y, samples.y)
    moves = np.asarray(got.x) - np.asarray(samples.x)
    lengths = np.linalg.norm(moves, axis=1)
    assert np.sum(lengths > 0) == 6
    norm = np.sqrt(np.mean([row @ row for row in np.asarray(samples.x)]))
    np.testing.assert_allclose(lengths[lengths > 0], 7 * norm, rtol=1e-13)
    all_moved = np.asarray(data.with_outliers(cloud(3000, 3), 1.0, 1.0, jr.key(2)).x) - np.asarray(cloud(3000, 3).x)
    unit = all_moved / np.linalg.norm(all_moved, axis=1)[:, None]
    np.testing.assert_allclose(unit.T @ unit / 3000, np.eye(3) / 3, atol=0.03)
    assert np.linalg.norm(unit.mean(axis=0)) < 3 / 3000**0.5


ONE = data.points([[1.0, 0.0]], [1.0])
NIL = data.points([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [1, -1, 1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.check_signs(data.points([1.0, 2.0], [0.0, 1.0])), "give 2 y - 1 for labels 0 and 1"),
        (lambda: data.check_signs(data.points([1.0, 2.0], [[1.0], [-1.0]])), "flatten it"),
        (lambda: data.check_labels(data.points([1.0, 2.0], [1.0, 2.0])), "every label must be -1 or \\+1"),
        (lambda: data.check_signs(NIL), "sample 1 is zero and has no direction; drop such samples, of which there are 2"),
        (lambda: data.smallest_cosine(NIL), "sample 1 is zero"),
        (lambda: data.smallest_cosine(ONE), "at least two"),
        (lambda: data.flip_labels(data.points([1.0], [2.0]), 0.5, jr.key(0)), "-1 or \\+1"),
        (lambda: data.flip_labels(ONE, 1.5, jr.key(0)), "share=1.5 must be a number from 0 to 1"),
        (lambda: data.with_outliers(ONE, -0.1, 1.0, jr.key(0)), "share=-0.1 must be a number from 0 to 1"),
        (lambda: data.with_outliers(ONE, 0.5, -1.0, jr.key(0)), "size=-1.0 must be zero or positive, and finite"),
    ],
)
def test_misuse_names_the_mend(make, words):
    with pytest.raises(ValueError, match=words):
        make()
