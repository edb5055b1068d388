r"""What a flow conserves, and whether the parameters still resolve it.

A conserved quantity is a difference of terms that may grow, such as $u^2 - v^2$ of a diagonal network. Once a term exceeds the quantity by
1/eps the parameters in floating point no longer determine it, and with it which of several trajectories they are on.

A quantity that is zero at the start is not counted: it stays zero whatever its terms are, and the trajectory is the balanced one. Rounding
makes the quantities of a balanced start of the order of eps times their terms; so a quantity that is at the start below `ZERO` eps times
its largest term is taken to be zero. A start that is unbalanced by less than that cannot be told from a balanced one.
"""

from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Params

ZERO = 32.0
"""Rounding of a balanced start, in units of eps times the largest term; norms of a few hundred weights are summed to within ten."""


def conserved_of(flow: Any, params: Params, dtype: Any) -> Float[Array, " quantity"]:
    """The conserved quantities.

    Args:
        flow: the flow; its `conserved(y)` is asked if it has one.
        params: where.
        dtype: of the result.

    Returns:
        Flat, empty if the flow declares none.
    """
    own = getattr(flow, "conserved", None)
    found = None if own is None else own(params)
    return jnp.zeros(0, dtype) if found is None else ravel_pytree(found)[0].astype(dtype)


def largest_terms(flow: Any, params: Params, dtype: Any) -> Float[Array, " quantity"]:
    """The largest absolute value among the terms of each conserved quantity.

    Args:
        flow: the flow; its `conserved_terms(y)` is asked if it has one: a sequence of terms, or an array with a leading axis `term`, each
            shaped like the quantities.
        params: where.
        dtype: of the result.

    Returns:
        Flat, empty if the flow declares none.

    Raises:
        ValueError: the terms are not shaped like the quantities.
    """
    own = getattr(flow, "conserved_terms", None)
    found = None if own is None else own(params)
    quantities = conserved_of(flow, params, dtype)
    if found is None or quantities.size == 0:
        return jnp.zeros(0, dtype)
    terms = [ravel_pytree(term)[0].astype(dtype) for term in found]
    if not terms or any(term.shape != quantities.shape for term in terms):
        raise ValueError(
            f"{type(flow).__name__}.conserved_terms must return terms that are each shaped like its conserved(y): a tuple of them, or an "
            "array with a leading axis of terms."
        )
    return jnp.max(jnp.abs(jnp.stack(terms)), axis=0)


def sizes_at_start(quantities: Float[Array, " quantity"], terms: Float[Array, " quantity"]) -> Float[Array, " quantity"]:
    """What the terms are compared with later.

    Args:
        quantities: at the start.
        terms: the largest of each there; empty if the flow declares none.

    Returns:
        The absolute values; infinity for those that are zero up to rounding.
    """
    if terms.size == 0:
        return terms
    size = jnp.abs(quantities)
    return jnp.where(size > ZERO * jnp.finfo(size.dtype).eps * terms, size, jnp.inf)
