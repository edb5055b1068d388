"""Which gates of a piecewise linear network are free: those at pre-activations that are zero."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._types import Params
from ..models import Neurons

SLOTS = 64
"""The default of how many gates may be free."""


class FreeGates(NamedTuple):
    """The gates of a network at its samples, and slots for those that are free.

    Attributes:
        closed: all gates, flat, 0 where they are free.
        index: where the slots are among them.
        sample: whose each slot is.
        free: which slots hold a free gate.
        number: of free gates, more than the slots perhaps.
        shapes: a pytree like the gates.
    """

    closed: Float[Array, " gate"]
    index: Int[Array, " slot"]
    sample: Int[Array, " slot"]
    free: Bool[Array, " slot"]
    number: Int[Array, ""]
    shapes: PyTree

    def gates(self, values: Float[Array, " slot"]) -> PyTree:
        """All gates.

        Args:
            values: of the slots.

        Returns:
            A pytree like the pre-activations.
        """
        flat = self.closed.at[self.index].add(jnp.where(self.free, values, 0.0))
        leaves, treedef = jax.tree.flatten(self.shapes)
        parts, at = [], 0
        for leaf in leaves:
            parts.append(flat[at : at + leaf.size].reshape(leaf.shape))
            at += leaf.size
        return jax.tree.unflatten(treedef, parts)


def free_gates(model: Any, params: Params, x: Float[Array, "sample dim"], zero: float, slots: int) -> FreeGates:
    """The free gates of a network, the nearest to zero first.

    Args:
        model: a gated one.
        params: of the network.
        x: the samples.
        zero: a pre-activation w.h is zero up to this times |w| |h|.
        slots: how many may be free.

    Returns:
        The gates. Those that are free but find no slot are closed.
    """
    x = x.astype(jnp.result_type(*jax.tree.leaves(params)))
    z = model.preactivations(params, x)
    flat, _ = ravel_pytree(z)
    distance, _ = ravel_pytree(distances(model, params, x, zero))
    rows, _ = ravel_pytree(jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.arange(leaf.shape[0])[:, None], leaf.shape), z))
    is_free = distance <= zero
    _, index = jax.lax.top_k(-distance, min(slots, flat.size))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), z)
    closed = jnp.where(is_free, 0.0, flat > 0).astype(flat.dtype)
    return FreeGates(closed, index, rows[index], is_free[index], jnp.sum(is_free), shapes)


def neurons_of_model(model: Any, params: Params, x: Float[Array, "sample dim"]) -> Neurons | None:
    """A model's only hidden layer, whatever the loss; None for other models.

    Args:
        model: any.
        params: of the network.
        x: the samples.

    Returns:
        What the model returns.
    """
    own = getattr(model, "neurons", None)
    return None if own is None else own(params, x)


def distances(model: Any, params: Params, x: Float[Array, "sample dim"], zero: float) -> PyTree:
    """How far pre-activations are from zero, |w.h| / (|w| |h|); infinite for gates without effect on any gradient.

    Of models that are neither `TwoLayer` nor `MLP` it is the modulus over the layer's largest one.

    Args:
        model: a gated one.
        params: of the network.
        x: the samples.
        zero: what counts as zero.

    Returns:
        A pytree like the pre-activations.
    """
    z = model.preactivations(params, x)
    neurons = neurons_of_model(model, params, x)
    if neurons is not None:
        lengths = jnp.linalg.norm(neurons.inputs, axis=1)[:, None] * jnp.linalg.norm(neurons.inner, axis=0)[None, :]
        return jnp.where((neurons.outer == 0)[None, :], jnp.inf, _over(z, lengths))
    layered = isinstance(params, list | tuple) and all(isinstance(layer, dict) and "w" in layer for layer in params)
    if not (layered and hasattr(model, "activation")):
        return jax.tree.map(lambda leaf: _over(leaf, jnp.broadcast_to(jnp.max(jnp.abs(leaf)), leaf.shape)), z)
    hidden, found, passes = x, [], jnp.ones(x.shape[0], bool)
    for layer, following, leaf in zip(params[:-1], params[1:], z, strict=True):
        bias = layer.get("b", jnp.zeros_like(layer["w"][:, 0]))
        ahead = jnp.linalg.norm(hidden, axis=1) if "b" not in layer else jnp.sqrt(1 + jnp.sum(hidden**2, axis=1))
        lengths = ahead[:, None] * jnp.hypot(jnp.linalg.norm(layer["w"], axis=1), bias)[None, :]
        distance = _over(leaf, lengths)
        if model.slopes[0] == 0:  # a sample that a whole layer stops reaches no gradient before or behind it
            passes &= jnp.any((leaf > 0) | (distance <= zero), axis=1)
        found.append(jnp.where(jnp.all(following["w"] == 0, axis=0)[None, :], jnp.inf, distance))
        # what is zero up to rounding may be as large as the tolerance allows
        hidden = jnp.where(distance <= zero, lengths, model.activation(leaf))
    if "b" in params[0]:  # but biases behind it, which see the signal without the layer
        return tuple(found)
    return tuple(jnp.where(passes[:, None], distance, jnp.inf) for distance in found)


def _over(z: Array, lengths: Array) -> Array:
    return jnp.abs(z) / jnp.where(lengths > 0, lengths, 1.0)


def box_inequalities(number: int, dtype: Any) -> tuple[Float[Array, "inequality variable"], Float[Array, " inequality"]]:
    """0 <= u <= 1 as C u <= d.

    Args:
        number: of variables.
        dtype: theirs.

    Returns:
        C and d.
    """
    identity = jnp.eye(number, dtype=dtype)
    return jnp.concatenate([-identity, identity]), jnp.concatenate([jnp.zeros(number, dtype), jnp.ones(number, dtype)])
