"""Points and velocities on the sphere of a network's moving parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._types import Params


class Push(NamedTuple):
    """Minus the gradient of a loss at a network's unit parameters, split.

    Attributes:
        turning: its part tangential to the sphere; zeros for what does not move.
        radial: its part along the parameters.
        residual: the loss's derivative by the outputs.
    """

    turning: Params
    radial: Float[Array, ""]
    residual: Float[Array, " sample"]


def dot(a: Params, b: Params) -> Float[Array, ""]:
    """The scalar product of two pytrees."""
    return ravel_pytree(a)[0] @ ravel_pytree(b)[0]


def size(flow: Any, params: Params) -> Float[Array, ""]:
    """The norm of what moves."""
    return jnp.linalg.norm(ravel_pytree(eqx.filter(params, flow.trainable(params)))[0])


def onto_sphere(flow: Any, params: Params) -> Params:
    """Parameters scaled so that what moves has norm 1.

    Args:
        flow: has `trainable`.
        params: its parameters, so large or small that their squares are finite and not zero.

    Returns:
        The same, what does not move as it was.
    """
    moving, still = eqx.partition(params, flow.trainable(params))
    norm = size(flow, params)
    return eqx.combine(jax.tree.map(lambda leaf: leaf / norm, moving), still)


def tangential(flow: Any, unit: Params, direction: Params) -> Params:
    """A direction without its part along the unit parameters, zero for what does not move.

    Args:
        flow: has `trainable`.
        unit: of norm 1.
        direction: like them.

    Returns:
        The rest.
    """
    moves = flow.trainable(unit)
    (moving, still), along = eqx.partition(direction, moves), eqx.filter(unit, moves)
    radial = dot(along, moving)
    return eqx.combine(jax.tree.map(lambda a, v: a - radial * v, moving, along), jax.tree.map(jnp.zeros_like, still))


def push(flow: Any, unit: Params, gates: PyTree | None, residual: Callable[[Array], Array]) -> Push:
    """Minus the gradient of a loss at unit parameters.

    Args:
        flow: has `trainable` and `outputs`.
        unit: the parameters.
        gates: of the model, held fixed, or None.
        residual: outputs to the loss's derivative by them.

    Returns:
        Its parts.
    """
    moving, still = eqx.partition(unit, flow.trainable(unit))
    f, pull = jax.vjp(lambda moving: flow.outputs(eqx.combine(moving, still), gates), moving)
    r = residual(f)
    descent = jax.tree.map(jnp.negative, pull(r)[0])
    whole = eqx.combine(descent, jax.tree.map(jnp.zeros_like, still))
    return Push(tangential(flow, unit, whole), dot(moving, descent), r)
