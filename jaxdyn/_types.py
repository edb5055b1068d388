"""What every floor shares: the conversion of numbers to leaves."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

Params = Any
"""A pytree of arrays: the weights of a network, or whatever else a flow moves."""


def as_leaf(x: ArrayLike) -> Array:
    """A scalar or array as a strongly typed array of floats.

    Weakly typed leaves retrace a compiled function and closed-over Python floats are baked into it; so each
    hyper-parameter passes through here once. Arrays keep their floating dtype; Python scalars and integers get the default one.

    Args:
        x: a number, or an array.

    Returns:
        The same values as an array whose dtype is strong.
    """
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.inexact) and not x.weak_type:
        return x
    dtype = jnp.asarray(x).dtype
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.result_type(float)
    return jnp.asarray(x, dtype=dtype)


def as_strong(tree: PyTree) -> PyTree:
    """Every leaf as a strongly typed array of its own dtype.

    Args:
        tree: numbers and arrays.

    Returns:
        The same values.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)
