"""Decompositions in batches of batches, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdyn.solve import decompositions

ROOTS = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
MATRICES = ROOTS + np.swapaxes(ROOTS, -1, -2)


def test_batches_of_batches_are_numpys():
    values, vectors = jax.jit(jax.vmap(jax.vmap(decompositions.eigh)))(jnp.asarray(MATRICES))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(MATRICES), atol=1e-13)
    np.testing.assert_allclose(MATRICES @ np.asarray(vectors), np.asarray(values)[..., None, :] * np.asarray(vectors), atol=1e-13)
    left, sizes, right = jax.jit(jax.vmap(jax.vmap(decompositions.svd)))(jnp.asarray(ROOTS))
    np.testing.assert_allclose(np.asarray(left) * np.asarray(sizes)[..., None, :] @ np.asarray(right), ROOTS, atol=1e-13)


def test_matrices_of_a_batch_come_one_by_one_on_a_cpu():
    compiled = jax.jit(jax.vmap(decompositions.eigh)).lower(jnp.asarray(MATRICES[0])).compile().as_text()
    assert "f64[4,4]" in compiled and "lapack_dsyevd" in compiled
    calls = [line for line in compiled.splitlines() if "lapack_dsyevd" in line and "custom-call" in line]
    assert calls and all("f64[3,4,4]" not in line for line in calls)


def test_tangents_are_those_of_jax():
    along = jnp.ones((4, 4)) + jnp.diag(jnp.arange(4.0))

    def slopes(function):
        return jax.vmap(lambda a: jax.jvp(lambda a: tuple(function(a)), (a,), (along,))[1])(jnp.asarray(MATRICES[0]))

    for own, known in zip(slopes(decompositions.eigh), slopes(jnp.linalg.eigh), strict=True):
        np.testing.assert_allclose(own, known, atol=1e-11)
    np.testing.assert_array_equal(jax.jvp(lambda a: decompositions.svd(a)[1], (jnp.asarray(ROOTS[0, 0]),), (along,))[1], np.zeros(4))


def test_singular_values_have_their_derivatives():
    matrices = jnp.asarray(ROOTS[0, :, :3])

    def slopes(function):
        return jax.jit(jax.vmap(jax.jacrev(function)))(matrices)

    known = slopes(lambda a: jnp.linalg.svd(a, compute_uv=False))
    np.testing.assert_allclose(slopes(decompositions.singular_values), known, atol=1e-11)
    np.testing.assert_allclose(decompositions.singular_values(matrices[0]), np.linalg.svd(matrices[0], compute_uv=False), rtol=1e-13)
