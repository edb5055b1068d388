"""Singular values of weight matrices, and how many of them count."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..solve.decompositions import singular_values as values_of
from ._checked import checked
from ._network import network_params


def layers_of(flow: Any, params: Params) -> Any:
    """The network's params, checked to be those of a model whose layers are known.

    Args:
        flow: any flow.
        params: see `stable_rank`.

    Returns:
        A dictionary with a and c, or a list of dictionaries with w.

    Raises:
        ValueError: they are others.
    """
    params = network_params(flow, params)
    if isinstance(params, dict) and set(params) == {"now", "start"}:
        params = params["now"]
    two = isinstance(params, dict) and {"a", "c"} <= set(params)
    if not two and not (isinstance(params, list | tuple) and params and all(isinstance(layer, dict) and "w" in layer for layer in params)):
        raise ValueError(
            "ranks and layers know the parameters of jaxdyn.models.TwoLayer and MLP: for another network take its matrices yourself."
        )
    return params


def matrices_of(layers: Any) -> list[Float[Array, "out in"]]:
    """The weight matrices, biases as a further column.

    Args:
        layers: what `layers_of` returned.

    Returns:
        That of the first layer of `TwoLayer`, all of an `MLP`.
    """
    if isinstance(layers, dict):
        layers = [{**layers, "w": layers["a"]}]
    return [jnp.concatenate([layer["w"], layer["b"][:, None]], axis=1) if "b" in layer else layer["w"] for layer in layers]


def _each(flow: Any, params: Params, measure: Callable[[Array], Array]) -> Array:
    layers = layers_of(flow, params)
    # squares of 1e-200 are 0
    found = [measure(values_of(matrix / jnp.max(jnp.abs(matrix)))) for matrix in matrices_of(layers)]
    return found[0] if isinstance(layers, dict) else jnp.stack(found)


@checked
def singular_values(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, " value"] | Float[Array, "layer value"]:
    """The singular values of the weights, the largest first, over the network's norm.

    They are those of the unit direction, so they do not depend on the scale of the params.

    Args:
        flow: a flow of the network, or one that wraps it.
        t: time, unused.
        params: as in `stable_rank`.

    Returns:
        One row for `TwoLayer`, that of its first layer; for `MLP` one row a layer, with zeros behind the values of smaller ones.
    """
    layers = layers_of(flow, params)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(layers)]))
    layers = jax.tree.map(lambda leaf: leaf / largest, layers)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(layers)))
    rows = [values_of(matrix) / norm for matrix in matrices_of(layers)]
    longest = max(row.size for row in rows)
    padded = [jnp.pad(row, (0, longest - row.size)) for row in rows]
    return padded[0] if isinstance(layers, dict) else jnp.stack(padded)


@checked
def stable_rank(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""] | Float[Array, " layer"]:
    r"""The stable rank $\|W\|_F^2 / \|W\|_2^2$ of the weights, between 1 and the rank.

    Biases are a further column of W: a neuron's row is all that enters it. (The sign in `TwoLayer`'s a.x - b changes no singular value.)

    Args:
        flow: a flow of the network, or one that wraps it; anything else stands for the former.
        t: time, unused.
        params: of `TwoLayer`, `{"a": (hidden, dim), "c": (hidden,)}` and `"b"` where it has biases; of `MLP`, a list of
            `{"w": (out, in)}` with `"b"`; or `{"now", "start"}` of a centred or linearised one, of which `"now"` counts.

    Returns:
        One number, that of the first layer, for `TwoLayer`; one a layer, the last one's being 1, for `MLP`; NaN where W = 0.

    Reference:
        Rudelson & Vershynin (2007), Sampling from large matrices (there the numerical rank).
    """
    return _each(flow, params, lambda values: jnp.sum((values / values[0]) ** 2))


@checked
def rank_one_share(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""] | Float[Array, " layer"]:
    r"""The share $\|W\|_2^2 / \|W\|_F^2$ that the best approximation of rank one has of the weights, the stable rank's inverse.

    Args:
        flow: as in `stable_rank`.
        t: time, unused.
        params: as in `stable_rank`.

    Returns:
        Numbers in (0, 1], shaped as the stable rank; NaN where W = 0.

    Reference:
        Eckart & Young (1936), The approximation of one matrix by another of lower rank.
    """
    return _each(flow, params, lambda values: 1 / jnp.sum((values / values[0]) ** 2))


@checked
def effective_rank(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""] | Float[Array, " layer"]:
    r"""The effective rank $\exp(-\sum_k p_k \ln p_k)$, $p_k$ the singular values over their sum: between 1 and the rank.

    Args:
        flow: as in `stable_rank`.
        t: time, unused.
        params: as in `stable_rank`.

    Returns:
        Numbers shaped as the stable rank; NaN where W = 0.

    Reference:
        Roy & Vetterli (2007), The effective rank: a measure of effective dimensionality.
    """

    def of(values: Array) -> Array:
        p = values / jnp.sum(values)
        return jnp.exp(-jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0))))

    return _each(flow, params, of)


@checked
def layer_shares(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, " layer"]:
    """The share of each layer in the squared norm of all weights, biases with their layer's.

    At a KKT point of the neural correlation function layers have shares in the proportion of their orders of homogeneity: for a two-layer
    network of relu^p, p and 1.

    Args:
        flow: as in `stable_rank`.
        t: time, unused.
        params: as in `stable_rank`.

    Returns:
        Numbers of sum 1: two for `TwoLayer`, (a, b) and c; one a layer for `MLP`; NaN where all weights are 0.

    Reference:
        Du, Hu & Lee (2018), arXiv:1806.00900, theorem 2.1, for the balance that gives them.
    """
    layers = layers_of(flow, params)
    if isinstance(layers, dict):
        layers = [{name: leaf for name, leaf in layers.items() if name != "c"}, {"c": layers["c"]}]
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for layer in layers for leaf in layer.values()]))
    squares = jnp.stack([sum((jnp.sum((leaf / largest) ** 2) for leaf in layer.values()), jnp.zeros_like(largest)) for layer in layers])
    return squares / jnp.sum(squares)
