"""What can be learnt of a flow from shapes alone, and learnt once: a second call traces nothing again."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import equinox as eqx
import jax

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
