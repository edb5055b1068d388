"""The shapes of a flow's parameters, found once: a second sweep traces nothing again."""

import math
from typing import Any

import equinox as eqx
import jax

from ..solve import check_flow, once
from ..solve.settings import check_params


@once
def like_start(flow_and_key: tuple[Any, Any]) -> Any:
    """The shapes of a flow's parameters, with the flow checked.

    Args:
        flow_and_key: a flow, and a key for its start.

    Returns:
        A pytree of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: it has no start, or is no flow.
    """
    flow, key = flow_and_key
    if not callable(getattr(flow, "init", None)):
        raise ValueError("a sweep starts every seed with flow.init(key), which this flow lacks.")
    like = eqx.filter_eval_shape(lambda f, k: f.init(k), flow, key)
    if sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like)) == 0:
        raise ValueError("flow.init(key) gives no parameters: the network needs a width and inputs of at least 1.")
    check_params(like)
    check_flow(flow, like)
    return like
