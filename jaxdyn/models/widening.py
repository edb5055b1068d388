"""One neuron more that leaves the function as it is: a split one, or a new one that is silent."""

import dataclasses
import operator
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from .._checks import check_flag, check_key, check_number, is_concrete, shown
from .two_layer import TwoLayer, TwoLayerParams


def split_neuron(
    model: TwoLayer, params: TwoLayerParams, neuron: int | Array, share: float | Array = 0.5, *, inner: bool = False
) -> tuple[TwoLayer, TwoLayerParams]:
    r"""Replaces a neuron by two that compute together what it did.

    Both keep its inner weights and share its output weight, $s c$ and $(1 - s) c$; or, with `inner`, both keep its output weight and share
    its inner weights, for homogeneous activations of degree 1 and 0 < s < 1. A critical point stays one in the first case if $s$ is any
    number (Fukumizu & Amari 2000, theorem 1).

    Args:
        model: the network.
        params: its parameters.
        neuron: which one.
        share: s, of the neuron that keeps the place; the other one is the last.
        inner: see above.

    Returns:
        The network with one neuron more, and its parameters; output weights make up for a scaling that depends on the width.

    Raises:
        ValueError: inner weights cannot be shared with this activation, or there is no such neuron.

    Reference:
        Fukumizu & Amari (2000), Local minima and plateaus in hierarchical structures of multilayer perceptrons, Neural Networks 13, 317.
    """
    _check_pair(model, params)
    width = params["c"].shape[0]
    if is_concrete(neuron):
        try:
            index = operator.index(neuron) if not isinstance(neuron, bool) else width
        except TypeError:
            index = width
        if not -width <= index < width:
            raise ValueError(f"neuron={shown(neuron)} must be an index below {width}, the number of neurons.")
    inner = check_flag("inner", inner)
    check_number("share", share, "one finite number", lambda share: not inner or 0 < share < 1)
    if inner and model.activation.degree != 1:
        raise ValueError(f"inner weights can be shared where the activation is of degree 1, not with {model.activation.name}: inner=False.")
    shared = ("a", "b") if inner else ("c",)
    other = {name: (1 - share if name in shared else 1.0) * leaf[neuron] for name, leaf in params.items()}
    kept = {name: leaf.at[neuron].multiply(share) if name in shared else leaf for name, leaf in params.items()}
    return _widened(model, kept, other)


def add_neuron(
    model: TwoLayer, params: TwoLayerParams, key: PRNGKeyArray, *, inner_scale: float | Array = 1.0, outer: float | Array = 0.0
) -> tuple[TwoLayer, TwoLayerParams]:
    """Adds a neuron with random inner weights.

    With the output weight 0 the function stays as it is; so it does with any output weight at `inner_scale` 0 if the activation is 0 at 0.

    A `ValueError` is raised where the model is no `TwoLayer`, the parameters are not its own, or a number is not finite.

    Args:
        model: the network.
        params: its parameters.
        key: of the inner weights, normal ones.
        inner_scale: their deviation.
        outer: the output weight, of the function: the scaling is seen to.

    Returns:
        The network with one neuron more, and its parameters.
    """
    _check_pair(model, params)
    check_key(key)
    check_number("inner_scale", inner_scale, "one finite number")
    check_number("outer", outer, "one finite number")
    a = params["a"]
    drawn = inner_scale * jr.normal(key, (a.shape[1] + 1,), a.dtype)
    factor = model.output_factor.astype(a.dtype)
    new: dict[str, Any] = {"a": drawn[:-1], "b": drawn[-1], "c": jnp.asarray(outer, a.dtype) / factor}
    return _widened(model, params, {name: new[name] for name in params})


def _check_pair(model: Any, params: Any) -> None:
    if not isinstance(model, TwoLayer):
        raise ValueError(f"neurons are split and added in jaxdyn.models.TwoLayer, not in {shown(model)}.")
    letters = {"a", "b", "c"} if model.bias else {"a", "c"}
    if not isinstance(params, dict) or set(params) != letters or params["a"].shape != (params["c"].shape[0], model.dim):
        raise ValueError(f"params must be those of this network, a dictionary of {', '.join(sorted(letters))} as its init gives it.")


def _widened(model: TwoLayer, params: TwoLayerParams, neuron: dict[str, Array]) -> tuple[TwoLayer, TwoLayerParams]:
    wider = dataclasses.replace(model, width=model.width + 1, antisymmetric=False)
    grown = {name: jnp.concatenate([leaf, jnp.asarray(neuron[name], leaf.dtype)[None]]) for name, leaf in params.items()}
    if model.scaling != "one":  # whose output weights must keep their bits where they are frozen
        grown["c"] = grown["c"] * (model.output_factor / wider.output_factor).astype(grown["c"].dtype)
    return wider, grown
