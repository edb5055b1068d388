"""The metric in which a flow descends: parameters over the root of their mobility."""

from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Params


def root_of_mobility(flow: Any, params: Params) -> Float[Array, " param"]:
    """S, the root of what multiplies minus the gradient; 1 for a flow without `mobility`.

    Args:
        flow: the flow.
        params: its parameters.

    Returns:
        One number a parameter, flat, in the parameters' precision.
    """
    flat, own = ravel_pytree(params)[0], getattr(flow, "mobility", None)
    return jnp.ones_like(flat) if own is None else jnp.sqrt(ravel_pytree(own(params))[0].astype(flat.dtype))


def reciprocal(scale: Float[Array, " param"]) -> Float[Array, " param"]:
    """1 / S, and 0 for what does not move."""
    return jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1.0), 0.0)
