"""What is measured of networks with an identity link."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..flows import IdentityLinkFlow, innermost, network_params
from ._checked import checked


@checked
def potential(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    r"""The potential $g(W) = \sum_i (|e_i + w_i^*| - |e_i + w_i|)$ of a network with an identity link.

    Near W = 0 with $\sum_i w_i = \sum_i w_i^*$ it falls like $\dot g = -\frac{d - 1 + \pi/2}{\pi} g$ to first order, along the flow of
    $L = E[(f - f^*)^2]$.

    Args:
        flow: an `IdentityLinkFlow`, or a flow that wraps one.
        t: time, unused.
        params: its parameters.

    Returns:
        One number, in units of the inputs' weights.

    Raises:
        ValueError: there is no such flow.

    Reference:
        Li & Yuan (2017), arXiv 1705.09886, the first phase.
    """
    link = innermost(flow)
    if not isinstance(link, IdentityLinkFlow):
        raise ValueError(f"{type(flow).__name__} has no identity link: the potential is for flows.IdentityLinkFlow.")
    w = network_params(flow, params)["w"]
    identity = jnp.eye(w.shape[0], dtype=w.dtype)
    lengths = [jnp.linalg.norm(identity + part, axis=1) for part in (link.teacher.astype(w.dtype), w)]
    return jnp.sum(lengths[0] - lengths[1])
