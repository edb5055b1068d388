"""The network inside a flow: found by protocol, evaluated anywhere, with the leaves that train."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..flows import ReducedFlow


def innermost(flow: Any) -> Any:
    """The flow that holds the model, under the flows that wrap it (as `inner` or `flow`).

    Args:
        flow: any flow.

    Returns:
        The first flow with a `model`, from the outside in; the innermost one if none has.
    """
    while not hasattr(flow, "model"):
        wrapped = getattr(flow, "inner", getattr(flow, "flow", None))
        if wrapped is None:
            return flow
        flow = wrapped
    return flow


def dtype_of(params: Params) -> jnp.dtype:
    """The dtype that the parameters call for: the widest of their leaves.

    Args:
        params: any pytree of arrays.

    Returns:
        A dtype.
    """
    return jnp.result_type(*jax.tree.leaves(params))


def network_at(flow: Any, params: Params, x: Float[Array, "sample dim"]) -> Float[Array, " sample"]:
    """The flow's network at other inputs than its samples.

    Args:
        flow: a flow with a `model`.
        params: its parameters; reduced coordinates for a `ReducedFlow`.
        x: inputs, one row a sample; cast to the dtype of the parameters.

    Returns:
        One output a row.

    Raises:
        ValueError: the flow has no model, or the model returns another shape.
    """
    base = innermost(flow)
    model = getattr(base, "model", None)
    if model is None:
        raise ValueError(
            f"{type(flow).__name__} has no model to evaluate at other inputs: give it a field `model`, a function apply(params, x)."
        )
    if isinstance(base, ReducedFlow):  # relu is homogeneous: c_i |w_i| = r_i may sit in c alone
        params = {"a": jnp.cos(params["theta"])[:, None], "b": jnp.sin(params["theta"]), "c": params["r"]}
    f = getattr(model, "apply", model)(params, x.astype(dtype_of(params)))
    if jnp.shape(f) != (x.shape[0],):
        raise ValueError(f"apply(params, x) must return one number a row of x, shape {(x.shape[0],)}, but returns {jnp.shape(f)}.")
    return f


def which_train(flow: Any, params: Params) -> Params:
    """Which leaves move, as the flow says; all of them where it says nothing.

    Args:
        flow: any flow.
        params: its parameters.

    Returns:
        A pytree of Python bools like `params`.
    """
    own = getattr(flow, "trainable", None) or getattr(innermost(flow), "trainable", None)
    return jax.tree.map(lambda _: True, params) if own is None else own(params)


def norm_of_trained(flow: Any, params: Params) -> Float[Array, ""]:
    """The Euclidean norm over all leaves that move.

    Args:
        flow: any flow.
        params: its parameters, or a difference of two of them.

    Returns:
        The norm; 0 if nothing moves.
    """
    leaves = jax.tree.leaves(eqx.filter(params, which_train(flow, params)))
    return jnp.linalg.norm(jnp.concatenate([jnp.zeros(0, dtype_of(params)), *map(jnp.ravel, leaves)]))


def relative(distance: Float[Array, ""], norm: Float[Array, ""]) -> Float[Array, ""]:
    """A distance over the norm of what it is measured from; the distance itself where that norm is 0.

    Args:
        distance: of two points.
        norm: of the first.

    Returns:
        The quotient, or the distance.
    """
    return distance / jnp.where(norm == 0, jnp.ones_like(norm), norm)
