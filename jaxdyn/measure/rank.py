"""Stable rank of weight matrices."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params


def _stable_rank(weights: Float[Array, "out in"], bias: Float[Array, " out"] | None) -> Float[Array, ""]:
    matrix = weights if bias is None else jnp.concatenate([weights, bias[:, None]], axis=1)
    values = jnp.linalg.svd(matrix, compute_uv=False)
    return jnp.sum((values / values[0]) ** 2)


def stable_rank(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""] | Float[Array, " layer"]:
    r"""The stable rank $\|W\|_F^2 / \|W\|_2^2$ of the weights, between 1 and the rank.

    Biases are a further column of W: a neuron's row is all that enters it. (The sign in `TwoLayer`'s a.x - b changes no singular value.)

    Args:
        flow: unused.
        t: time, unused.
        params: of `TwoLayer`, `{"a": (hidden, dim), "c": (hidden,)}` and `"b"` where it has biases; of `MLP`, a list of
            `{"w": (out, in)}` with `"b"`; or `{"now", "start"}` of a centred or linearised one, of which `"now"` counts.

    Returns:
        One number, that of the first layer, for `TwoLayer`; one a layer, the last one's being 1, for `MLP`; NaN where W = 0.

    Raises:
        ValueError: the parameters are of another network.

    Reference:
        Rudelson & Vershynin (2007), Sampling from large matrices (there the numerical rank).
    """
    if isinstance(params, dict) and set(params) == {"now", "start"}:
        params = params["now"]
    if isinstance(params, dict) and {"a", "c"} <= set(params):
        return _stable_rank(params["a"], params.get("b"))
    if isinstance(params, list | tuple) and params and all(isinstance(layer, dict) and "w" in layer for layer in params):
        return jnp.stack([_stable_rank(layer["w"], layer.get("b")) for layer in params])
    raise ValueError(
        "the stable rank knows the parameters of jaxdyn.models.TwoLayer and MLP: for another network take its matrix's singular values."
    )
