"""Angles between neurons, and how many directions they share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._checks import plainly
from .._repr import fields_html, text_of
from .._types import Params
from ._checked import checked
from ._gates import neurons_of_model
from ._network import innermost, network_params
from .rank import layers_of, matrices_of


class Clusters(NamedTuple):
    """Directions in clusters.

    Attributes:
        number: of clusters.
        labels: for each direction the index of the first member of its cluster; -1 for vectors of zeros, which have no direction.
        sizes: for each first member the weight of its cluster; 0 elsewhere.
    """

    number: Int[Array, ""]
    labels: Int[Array, " vector"]
    sizes: Float[Array, " vector"]

    __repr__ = text_of
    _repr_html_ = fields_html


@checked
def neuron_angles(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, "hidden hidden"]:
    """The angles between the inner vectors of neurons, biases among their entries: the first layer's in deeper networks.

    Args:
        flow: a flow of a network with layers that are known, or one that wraps it.
        t: time, unused.
        params: of `TwoLayer` or `MLP`, or of a model that shows its neurons.

    Returns:
        Radians, accurate near 0 and pi too; NaN for a neuron without inner weights.

    Reference:
        Kahan (2006), How futile are mindless assessments of roundoff, section 12: 2 atan2(|u - v|, |u + v|) of unit vectors.
    """
    return angles_between(_vectors(flow, params))


def _vectors(flow: Any, params: Params) -> Float[Array, "hidden input"]:
    base, own = innermost(flow), network_params(flow, params)
    if getattr(base, "data", None) is not None:
        neurons = neurons_of_model(base.model, own, base.data.x)
        if neurons is not None:
            return neurons.inner.T
    return matrices_of(layers_of(flow, params))[0]


@plainly
def angles_between(vectors: Float[Array, "vector dim"]) -> Float[Array, "vector vector"]:
    """The angles between vectors of any length.

    Args:
        vectors: one a row.

    Returns:
        Radians; NaN for vectors of zeros.

    Reference:
        Kahan (2006), as in `neuron_angles`.
    """
    unit = vectors / jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    unit /= jnp.linalg.norm(unit, axis=1, keepdims=True)

    def row(one: Array) -> Array:
        apart, together = (jnp.linalg.norm(unit + sign * one[None, :], axis=1) for sign in (-1, 1))
        return 2 * jnp.arctan2(apart, together)

    return jax.lax.map(row, unit)


@plainly
def clusters(
    directions: Float[Array, "vector dim"], angle: float | Float[Array, ""], *, weights: Float[Array, " vector"] | None = None
) -> Clusters:
    """Clusters of directions by single linkage: two belong together if a chain of steps of at most `angle` leads from one to the other.

    Args:
        directions: vectors of any length, one a row.
        angle: radians.
        weights: of the vectors, such as |c| |w| of neurons; vectors of weight 0 belong to no cluster. None is 1 each.

    Returns:
        Their number, who belongs where, and the clusters' weights.

    Raises:
        ValueError: directions are no matrix, or the weights do not fit.

    Reference:
        Gower & Ross (1969), Minimum spanning trees and single linkage cluster analysis.
    """
    if jnp.ndim(directions) != 2 or (weights is not None and jnp.shape(weights) != jnp.shape(directions)[:1]):
        raise ValueError(f"clusters takes vectors as rows, shape (vector, dim), and one weight each, but got {jnp.shape(directions)}.")
    directions = jnp.asarray(directions)
    number = directions.shape[0]
    weights = jnp.ones(number, directions.dtype) if weights is None else jnp.asarray(weights, directions.dtype)
    counts = jnp.any(directions != 0, axis=1) & (weights != 0)
    near = (angles_between(directions) <= angle) & counts[:, None] & counts[None, :]
    own = jnp.arange(number)

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = state
        least = jnp.minimum(labels, jnp.min(jnp.where(near, labels[None, :], number), axis=1))
        least = least[least]  # chains of n vectors then take few rounds
        return least, labels

    labels, _ = jax.lax.while_loop(lambda state: jnp.any(state[0] != state[1]), spread, spread((own, own)))
    labels = jnp.where(counts, labels, -1)
    first = counts & (labels == own)
    sizes = jnp.sum(jnp.where(labels[:, None] == own[None, :], weights[:, None], 0.0), axis=0)
    return Clusters(jnp.sum(first), labels, jnp.where(first, sizes, 0.0))
