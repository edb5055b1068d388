"""How large the parameters are and how far they have moved."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ._checked import checked
from ._network import norm_of_trained, relative


@checked
def parameter_norm(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The Euclidean norm of the parameters that train.

    Args:
        flow: any flow.
        t: time, unused.
        params: the parameters.

    Returns:
        One number, not divided by the number of parameters.
    """
    return norm_of_trained(flow, params)


@checked
def parameter_distance(flow: Any, t: Float[Array, ""], params: Params, start: Params) -> Float[Array, ""]:
    r"""The distance from the start, relative to the start's norm: $\|\theta - \theta_0\| / \|\theta_0\|$.

    Norms are Euclidean, over the parameters that train. Small throughout in the kernel regime (Chizat, Oyallon & Bach 2019,
    arXiv:1812.07956).

    Args:
        flow: any flow.
        t: time, unused.
        params: the parameters.
        start: the lane's start.

    Returns:
        A number without unit; the distance itself where the start is 0.
    """
    change = jax.tree.map(jnp.subtract, params, start)
    return relative(norm_of_trained(flow, change), norm_of_trained(flow, start))
