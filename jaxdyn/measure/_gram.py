"""The product J S J^T of a Jacobian that is never held as a whole."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._jacobian import Rows

PANEL = 1024
"""Columns of the Jacobian that a CPU multiplies at once: XLA's product of very long rows does not keep to the caches, at half the speed."""


def gram(left: Rows, right: Rows | None, scales: list[Array] | None, chunk: int, dtype: jnp.dtype) -> Float[Array, "row column"]:
    """The scaled inner products of rows, block by block.

    Args:
        left: the rows.
        right: those of the columns; None for the same, when a block is computed once for its two places.
        scales: one a leaf, multiplies the leaf's terms; None is 1.
        chunk: rows at once, of each side.
        dtype: of the products.

    Returns:
        The matrix.
    """
    columns = left if right is None else right
    (starts, height), (column_starts, width) = _chunks(left.count, chunk), _chunks(columns.count, chunk)

    def band(kernel: Array, a: Array) -> tuple[Array, None]:
        plain = left.among(starts[a], height)
        scaled = plain if scales is None else [_like(scale, leaf) * leaf for scale, leaf in zip(scales, plain, strict=True)]

        def fill(kernel: Array, b: Array) -> tuple[Array, None]:
            block = _product(scaled, columns.among(column_starts[b], width)).astype(dtype)
            if right is None:
                kernel = jax.lax.dynamic_update_slice(kernel, block.T, (column_starts[b], starts[a]))
            return jax.lax.dynamic_update_slice(kernel, block, (starts[a], column_starts[b])), None

        if right is not None:
            return jax.lax.scan(fill, kernel, jnp.arange(column_starts.size))
        kernel = jax.lax.dynamic_update_slice(kernel, _product(scaled, plain).astype(dtype), (starts[a], starts[a]))
        # each chunk meets those after it, half way round: all pairs, in loops of one length
        return jax.lax.scan(fill, kernel, (a + jnp.arange(1, starts.size // 2 + 1)) % starts.size)

    return jax.lax.scan(band, jnp.zeros((left.count, columns.count), dtype), jnp.arange(starts.size))[0]


def _chunks(n: int, chunk: int) -> tuple[Int[Array, " chunk"], int]:
    """Where chunks of one size start, as even as can be; the last one overlaps its neighbour where the size does not divide n."""
    number = -(-n // min(n, chunk))
    size = -(-n // number)
    number = -(-n // size)
    return jnp.minimum(jnp.arange(number) * size, n - size), size


def _like(scale: Array, leaf: Array) -> Array:
    return jnp.broadcast_to(scale.astype(leaf.dtype), leaf.shape[1:])[None]


def _product(left: list[Array], right: list[Array]) -> Array:
    flat = ([leaf.reshape(leaf.shape[0], -1) for leaf in side] for side in (left, right))
    return functools.reduce(jnp.add, map(_leaf_product, *flat))


def _leaf_product(left: Array, right: Array) -> Array:
    if left.shape[1] <= PANEL:
        return _matmul(left, right)
    return jax.lax.platform_dependent(left, right, cpu=_matmul_by_panels, default=_matmul)


def _matmul_by_panels(left: Array, right: Array) -> Array:
    panels = left.shape[1] // PANEL

    def add(product: Array, start: Array) -> tuple[Array, None]:
        return product + _matmul(*(jax.lax.dynamic_slice_in_dim(side, start, PANEL, axis=1) for side in (left, right))), None

    rest = _matmul(left[:, panels * PANEL :], right[:, panels * PANEL :])
    return jax.lax.scan(add, rest, PANEL * jnp.arange(panels))[0]


def _matmul(left: Array, right: Array) -> Array:
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
