"""The network inside a flow: found by protocol, evaluated anywhere, with the leaves that train."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Params, as_leaf
from ..flows import AbstractWrapper, ReducedFlow, innermost, network_params


def dtype_of(params: Params) -> jnp.dtype:
    """The dtype that the parameters call for: the widest of their leaves.

    Args:
        params: any pytree of arrays.

    Returns:
        A dtype.
    """
    return jnp.result_type(*jax.tree.leaves(params))


def as_rows(x: ArrayLike) -> Float[Array, "sample dim"]:
    """Inputs as a leaf.

    Args:
        x: inputs, one row a sample; a vector is taken as one column.

    Returns:
        The inputs with two axes, if they had one or two.
    """
    x = as_leaf(x, "inputs")
    return x[:, None] if x.ndim == 1 else x


def network_at(flow: Any, params: Params, x: Float[Array, "sample dim"]) -> Float[Array, "sample ..."]:
    """The flow's network at other inputs than its samples.

    Args:
        flow: a flow with a `model`.
        params: its parameters; reduced coordinates for a `ReducedFlow`, the state of a flow that wraps another.
        x: inputs, one row a sample; cast to the dtype of the parameters.

    Returns:
        One output a row, or one row of outputs where the targets or the loss say so.

    Raises:
        ValueError: the flow has no model, the inputs are no rows, or the model returns another shape.
    """
    base, params = innermost(flow), network_params(flow, params)
    model = getattr(base, "model", None)
    if model is None:
        raise ValueError(
            f"{type(flow).__name__} has no model to evaluate at other inputs: give it a field `model`, a function apply(params, x)."
        )
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"inputs must be of shape (sample, dim) with at least one sample, not {x.shape}.")
    if isinstance(base, ReducedFlow):  # relu is homogeneous: c_i |w_i| = r_i may sit in c alone
        params = {"a": jnp.cos(params["theta"])[:, None], "b": jnp.sin(params["theta"]), "c": params["r"]}
    f = getattr(model, "apply", model)(params, x.astype(dtype_of(params)))
    data = getattr(base, "data", None)
    if getattr(getattr(base, "loss_function", None), "many_outputs", False):
        expected = (x.shape[0], *(jnp.shape(f)[1:2] or ("outputs",)))
    else:
        expected = (x.shape[0], *(() if data is None else data.y.shape[1:]))
    if jnp.shape(f) != expected:
        kind = "one number a row" if len(expected) == 1 else "one row of outputs a row"
        raise ValueError(f"apply(params, x) must return {kind} of x, shape {expected}, but returns {jnp.shape(f)}.")
    return f


def which_train(flow: Any, params: Params) -> Params:
    """Which leaves move, as the flow says; all of them where it says nothing.

    Args:
        flow: any flow.
        params: its parameters.

    Returns:
        A pytree of Python bools like `params`.
    """
    while not callable(getattr(flow, "trainable", None)) and isinstance(flow, AbstractWrapper) and flow.weights(params) is params:
        flow = flow.wrapped
    own = getattr(flow, "trainable", None)
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
