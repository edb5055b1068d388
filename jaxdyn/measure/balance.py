"""Balancedness: what gradient flows of homogeneous networks keep."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import explained
from .._types import Params
from ..flows import ReducedFlow
from ._checked import checked
from ._network import innermost, network_params


@checked
def conserved(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, " quantity"]:
    """What the exact flow keeps constant, as the flow declares it.

    Args:
        flow: a flow with `conserved(params)`.
        t: time, unused.
        params: the parameters.

    Returns:
        One number a conserved quantity, in squared units of the parameters for balancedness.

    Raises:
        ValueError: the flow declares none.
    """
    own = getattr(flow, "conserved", None)
    with explained("conserved(params) of the flow fails"):
        quantities = None if own is None else own(params)
    if quantities is None:
        raise ValueError(
            f"this {type(flow).__name__} declares no conserved quantity (time scales, penalties and frozen parameters break them): "
            "observe balancedness instead."
        )
    return jnp.ravel(quantities)


@checked
def conserved_drift(flow: Any, t: Float[Array, ""], params: Params, start: Params) -> Float[Array, ""]:
    """The largest absolute change of any conserved quantity since the start; 0 for an exact flow.

    Args:
        flow: a flow with `conserved(params)`.
        t: time, unused.
        params: the parameters.
        start: the lane's start.

    Returns:
        One number, in the units of the quantities.
    """
    return jnp.max(jnp.abs(conserved(flow, t, params) - conserved(flow, t, start)))


@checked
def balancedness(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, " hidden"]:
    """The model's balance, neuron by neuron, whether or not this flow conserves it: p |out|^2 - |in|^2.

    `in` are the weights that enter the neuron, its bias among them, `out` those that leave it, p the activation's degree; for a
    two-layer network p c_i^2 - |w_i|^2 (Du, Hu & Lee 2018, arXiv:1806.00900, theorem 2.1). Time scales make it move and weight
    decay makes it decay.

    Args:
        flow: a flow whose model declares `conserved(params)`, or a `ReducedFlow`, whose coordinate delta it is.
        t: time, unused.
        params: the parameters.

    Returns:
        One number a hidden neuron, in squared units of the parameters.

    Raises:
        ValueError: the model declares no balance.
    """
    base = innermost(flow)
    if isinstance(base, ReducedFlow):
        return params["delta"]
    own = getattr(getattr(base, "model", None), "conserved", None)
    balance = None if own is None else own(network_params(flow, params))
    if balance is None:
        raise ValueError("the model declares no balance: it needs conserved(params), a homogeneous activation, and all its layers trained.")
    return jnp.ravel(balance)
