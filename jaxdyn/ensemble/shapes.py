"""What can be learnt of a flow from shapes alone, and learnt once: a second sweep traces nothing again."""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import equinox as eqx
import jax

from ..solve import check_flow
from ..solve.settings import check_params

REMEMBERED = 64


def once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of shapes that runs once for arguments that look alike.

    Args:
        function: it sees `jax.ShapeDtypeStruct` in place of arrays.

    Returns:
        The same function of arrays.
    """

    @lru_cache(maxsize=REMEMBERED)
    def of_looks(treedef: Any, looks: tuple) -> Any:
        return function(jax.tree.unflatten(treedef, looks))

    @wraps(function)
    def of_arrays(tree: Any) -> Any:
        leaves, treedef = jax.tree.flatten(tree)
        looks = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf for leaf in leaves)
        try:
            hash((treedef, looks))
        except TypeError:
            return function(jax.tree.unflatten(treedef, looks))
        return of_looks(treedef, looks)

    return of_arrays


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
