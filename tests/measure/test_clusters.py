"""Angles by mpmath, clusters by scipy's single linkage."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

import jaxdyn as jd
from jaxdyn import measure


def exact(u, v):
    with mpmath.workdps(60):
        u, v = ([mpmath.mpf(float(entry)) for entry in one] for one in (u, v))
        dot = sum(a * b for a, b in zip(u, v, strict=True))
        return float(mpmath.acos(dot / mpmath.sqrt(sum(a * a for a in u) * sum(b * b for b in v))))


def test_angles():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4))
    vectors[1] = 3 * vectors[0] + 1e-9 * vectors[2]
    vectors[3] = -vectors[0] + 1e-7 * vectors[2]
    vectors[4] *= 1e-200
    found = jax.jit(measure.angles_between)(vectors)
    expected = [[exact(u, v) for v in vectors] for u in vectors]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15)  # 1e-9 is known to 1e-7 of itself
    np.testing.assert_allclose(found[0, 3], expected[0][3], rtol=1e-15)
    assert np.all(np.isnan(measure.angles_between(vectors * (np.arange(6) != 2)[:, None])[2]))


def test_angles_of_neurons():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=5)
    expected = measure.angles_between(np.column_stack([a, b]))
    two = {"a": jnp.asarray(a), "b": jnp.asarray(b), "c": jnp.ones(5)}
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(5, dim=3), jd.losses.square, jd.data.points(rng.normal(size=(4, 3)), np.ones(4)))
    np.testing.assert_allclose(measure.neuron_angles(flow, 0.0, two), expected, atol=1e-15)
    np.testing.assert_allclose(measure.neuron_angles(None, 0.0, two), expected, atol=1e-15)
    layers = [{"w": jnp.asarray(a), "b": jnp.asarray(b)}, {"w": jnp.ones((1, 5)), "b": jnp.ones(1)}]
    np.testing.assert_allclose(measure.neuron_angles(None, 0.0, layers), expected, atol=1e-15)


@pytest.mark.parametrize("angle", [0.01, 0.2, 0.4, 3.2])
def test_clusters_by_single_linkage(angle):
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(60, 3)) * np.exp(20 * rng.normal(size=(60, 1)))
    weights = rng.uniform(size=60)
    found = jax.jit(measure.clusters)(vectors, angle, weights=weights)
    angles = np.asarray(measure.angles_between(vectors))
    labels = fcluster(linkage(angles[np.triu_indices(60, 1)], "single"), angle, "distance")
    assert found.number == len(set(labels))
    np.testing.assert_array_equal(np.equal.outer(found.labels, found.labels), np.equal.outer(labels, labels))
    for first in set(np.asarray(found.labels)):
        assert found.labels[first] == first == np.min(np.flatnonzero(found.labels == first))
        np.testing.assert_allclose(found.sizes[first], weights[labels == labels[first]].sum(), rtol=1e-13)
    np.testing.assert_allclose(found.sizes.sum(), weights.sum(), rtol=1e-13)


def test_a_long_chain_and_vectors_without_direction():
    turns = np.random.default_rng(3).permutation(np.arange(300)) * 0.01
    vectors = np.column_stack([np.cos(turns), np.sin(turns)])
    assert measure.clusters(vectors, 0.0101).number == 1
    assert measure.clusters(vectors, 0.0099).number == 300
    found = measure.clusters(vectors * (np.arange(300) > 0)[:, None], 0.0101, weights=(np.arange(300) != 7).astype(float))
    assert found.labels[0] == found.labels[7] == -1
    assert found.number == len(set(np.asarray(found.labels)) - {-1}) == 3 - sum(turns[i] in (0, 2.99) for i in (0, 7))
    with pytest.raises(ValueError, match="one weight each"):
        measure.clusters(vectors, 0.1, weights=jnp.ones(3))
