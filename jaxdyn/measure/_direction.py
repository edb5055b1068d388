"""The direction of the params that move, and what homogeneous networks are asked there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._types import Params
from ..flows import GradientFlow
from ..models import homogeneity
from ._network import innermost, network_params


class Direction(NamedTuple):
    """A network at the unit direction of the params that move.

    Attributes:
        base: the gradient flow that holds it.
        flat: the direction, of norm 1; NaN for params of norm 0.
        params: maps a flat vector of what moves to the network's params.
        moving: maps a pytree like the params to the flat vector of what moves.
    """

    base: GradientFlow
    flat: Float[Array, " param"]
    params: Callable[[Array], Params]
    moving: Callable[[PyTree], Array]

    def outputs(self, flat: Float[Array, " param"], gates: PyTree | None = None) -> Float[Array, "sample ..."]:
        """The network on the samples.

        Args:
            flat: what moves.
            gates: held fixed; None takes them from the signs.

        Returns:
            One output, or one row of them, a sample.
        """
        return self.base.outputs(self.params(flat), gates)


def direction_of(flow: Any, params: Params) -> Direction:
    """The network of a flow at w/|w|, w being the params that move.

    Args:
        flow: a gradient flow, or one that wraps it.
        params: its state, of any norm above 0.

    Returns:
        The network there.

    Raises:
        ValueError: there is no gradient flow inside, or nothing moves.
    """
    base, params = innermost(flow), network_params(flow, params)
    if not isinstance(base, GradientFlow):
        raise ValueError(f"{type(flow).__name__} holds no network with samples and a loss: give a GradientFlow or a flow that wraps one.")
    moves = base.trainable(params)
    moving, still = eqx.partition(params, moves)
    flat, unravel = ravel_pytree(moving)
    if flat.size == 0:
        raise ValueError("no parameter of this flow moves, so it has no direction: unfreeze one.")
    flat = flat / jnp.max(jnp.abs(flat))  # squares of 1e-200 are 0
    flat = flat / jnp.linalg.norm(flat)
    return Direction(
        base, flat, lambda flat: eqx.combine(unravel(flat), still), lambda tree: ravel_pytree(eqx.filter(tree, moves))[0].astype(flat.dtype)
    )


def check_homogeneous(direction: Direction) -> None:
    """Refuse a network that is not homogeneous in what moves, where flow and params are concrete.

    The ValueError is that of `models.homogeneity`, which names the orders that were measured.

    Args:
        direction: the network.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((direction.base, direction.flat))):
        return
    f = np.asarray(direction.outputs(direction.flat))
    if np.any(f) and np.all(np.isfinite(f)):  # the order of nothing cannot be told
        homogeneity(lambda flat, x: direction.outputs(flat), direction.flat, direction.base.data.x)


def signs_of(flow: Any) -> Float[Array, " sample"]:
    """The labels of a flow's samples, checked to be -1 and +1 where they are concrete.

    Args:
        flow: a flow with data.

    Returns:
        The labels.

    Raises:
        ValueError: there are no labels, or others.
    """
    data = getattr(innermost(flow), "data", None)
    y = getattr(data, "y", None)
    if y is None or jnp.ndim(y) != 1 or (not isinstance(y, Tracer) and not np.all(np.abs(y) == 1)):
        raise ValueError("this measure takes two classes: give the flow samples with one label each, -1 or +1.")
    return y


def all_reach(x: Float[Array, "sample dim"]) -> None:
    """Refuse samples that no direction tells apart, where they are concrete.

    Args:
        x: the inputs.

    Raises:
        ValueError: one of them is zero.
    """
    if not isinstance(x, Tracer) and np.any(np.all(np.asarray(x) == 0, axis=-1)):
        raise ValueError("a sample is all zeros, and no direction is positive there: drop it, or centre the data differently.")


def jacobian_of(direction: Direction, gates: PyTree | None) -> Float[Array, "sample param"]:
    """The gradient of each output at the direction.

    Args:
        direction: the network.
        gates: as in `Direction.outputs`.

    Returns:
        One row a sample.
    """
    rows = direction.base.jacobian(direction.params(direction.flat), gates)
    return jax.vmap(direction.moving)(rows)
