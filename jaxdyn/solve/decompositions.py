"""Decompositions of dense matrices, in a batch one after the other where the platform is a CPU.

There jaxlib (0.10.1, and as far as its source tells later ones too) hands the matrices of a batch to the thread pool that it is itself
running on, and waits for them: two devices that come to it at once leave no thread to do the work, and wait for ever. A matrix alone is
done on the spot. (The derivatives of `custom_vmap` are wrong in a batch of which the tangents are no batch, so it never meets one.)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float


def _one_by_one(function: Callable[[Array], Any], depth: int = 2) -> Callable[[Array], Any]:
    """The function of one matrix, whose batches, and batches of these up to a depth, are mapped over on a CPU."""
    alone = custom_vmap(function)
    inner = _one_by_one(function, depth - 1) if depth > 1 else function

    @alone.def_vmap
    def _(axis_size: int, batched: list[bool], matrices: Array) -> tuple[Any, Any]:
        del axis_size, batched
        found = jax.lax.platform_dependent(matrices, cpu=lambda m: jax.lax.map(inner, m), default=jax.vmap(function))
        return found, jax.tree.map(lambda _: True, found)

    return alone


_eigh = _one_by_one(lambda matrix: tuple(jnp.linalg.eigh(matrix)))
_svd = _one_by_one(lambda matrix: tuple(jnp.linalg.svd(matrix, full_matrices=False)))


@jax.custom_jvp
def eigh(matrix: Float[Array, "a a"]) -> tuple[Float[Array, " a"], Float[Array, "a a"]]:
    """Eigenvalues, ascending, and eigenvectors in columns of a symmetric matrix."""
    return _eigh(jax.lax.stop_gradient(matrix))


@eigh.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    values, vectors = eigh(*primals)
    change = vectors.T @ (tangents[0] + tangents[0].T) @ vectors / 2
    apart = values[None, :] - values[:, None] + jnp.eye(values.size, dtype=values.dtype)
    turn = jnp.where(jnp.eye(values.size, dtype=bool), 0.0, change / apart)
    return (values, vectors), (jnp.diagonal(change), vectors @ turn)


def svd(matrix: Float[Array, "a b"]) -> tuple[Float[Array, "a c"], Float[Array, " c"], Float[Array, "c b"]]:
    """Left vectors, singular values and right vectors; without derivatives."""
    return _svd(jax.lax.stop_gradient(matrix))


@jax.custom_jvp
def singular_values(matrix: Float[Array, "a b"]) -> Float[Array, " c"]:
    """Singular values, the largest first; their first derivatives where they are apart."""
    return svd(matrix)[1]


@singular_values.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    left, values, right = svd(*primals)
    return values, jnp.sum((left.T @ tangents[0]) * right, axis=1)
