"""What every layer shares: the conversion of numbers to leaves."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from ._checks import shown

Params = Any
"""A pytree of arrays: the weights of a network, or whatever else a flow moves."""


def as_leaf(x: ArrayLike, name: str = "a setting") -> Array:
    """A scalar or array as a strongly typed array of floats.

    Weakly typed leaves retrace a compiled function and closed-over Python floats are baked into it; so each
    hyper-parameter passes through here once. Arrays keep their floating dtype; Python scalars and integers get the default one.

    Args:
        x: a real number, or an array of real numbers; an array of truth values becomes one of 0 and 1.
        name: what the caller calls it.

    Returns:
        The same values as an array whose dtype is strong.

    Raises:
        ValueError: it is anything else, such as a truth value, text or complex numbers.
    """
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating) and not x.weak_type:
        return x
    try:
        array = None if isinstance(x, bool | np.bool_ | str | bytes) or x is None else jnp.asarray(x)
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is None or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise ValueError(f"{name} must be a real number or an array of real numbers, not {shown(x)}.")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real, but is complex: give real and imaginary parts as numbers of their own.")
    return jnp.asarray(array, array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else jnp.result_type(float))


def leaf(name: str) -> Callable[[Any], Array]:
    """`as_leaf` for a field of a class, whose errors call it by its name."""
    return partial(as_leaf, name=name)


def scalar(name: str) -> Callable[[Any], Array]:
    """`as_leaf` for a field of a class that is one number; many models or flows at once are made under `jax.vmap`."""
    return partial(_as_scalar, name=name)


def _as_scalar(x: Any, name: str) -> Array:
    number = as_leaf(x, name)
    if number.ndim:
        raise ValueError(f"{name} must be one number, not an array of shape {number.shape}: make one object for each, under jax.vmap.")
    return number


def as_strong(tree: PyTree) -> PyTree:
    """Every leaf as a strongly typed array of its own dtype.

    Args:
        tree: numbers and arrays.

    Returns:
        The same values.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)
