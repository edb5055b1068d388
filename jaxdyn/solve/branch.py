"""A branch that most lanes do not take."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def where_it_happens(happens: Bool[Array, ""], function: Callable[[Bool[Array, ""]], Any], otherwise: Any, reversible: bool) -> Any:
    """A computation where something happens.

    A loop of one turn or none: a condition would be computed for all lanes of a batch. But no loop of so many turns as it turns out can
    be differentiated in reverse.

    Args:
        happens: whether it does.
        function: of true, from which work can be made to depend that XLA would else do before the loop, turn or none.
        otherwise: what there is without it, of the same structure.
        reversible: whether reverse-mode derivatives are wanted; then it is a condition.

    Returns:
        One or the other.
    """
    if reversible:
        return jax.lax.cond(happens, lambda: function(happens), lambda: otherwise)
    begin: Any = (happens, otherwise)
    return jax.lax.while_loop(lambda carry: carry[0], lambda carry: (jnp.asarray(False), function(carry[0])), begin)[1]
