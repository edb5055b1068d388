"""What kind of critical point it is: its index and the dimension of its manifold."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._repr import fields_html, text_of
from .._types import Params
from ._checked import checked
from .hessian import hessian_spectrum


class CriticalPoint(NamedTuple):
    """The signs of a Hessian's eigenvalues.

    Attributes:
        index: how many are negative: 0 at a minimum.
        dimension: how many are numerically zero: of the manifold of critical points, where they form one.
        gap: the smallest modulus that counts as not zero over the largest one that counts as zero; the larger, the clearer the decision.
            Infinity where none is zero or all are exactly.
        eigenvalues: all of them, ascending.
    """

    index: Int[Array, ""]
    dimension: Int[Array, ""]
    gap: Float[Array, ""]
    eigenvalues: Float[Array, " mode"]

    __repr__ = text_of
    _repr_html_ = fields_html


@checked
def critical_point(flow: Any, t: Float[Array, ""], params: Params, tolerance: float | Array | None = None) -> CriticalPoint:
    """The index of a critical point and the dimension of its manifold, by the eigenvalues of the Hessian.

    At a degenerate point (a loss that falls like a third power) a zero eigenvalue is no direction of a manifold: its modulus is some root
    of the distance from the point, and the gap is small.

    Args:
        flow: any flow.
        t: time, unused.
        params: the point, as `jaxdyn.polish` finds it.
        tolerance: moduli below this share of the largest one count as zero; by default the root of the rounding (1.5e-8 in float64).

    Returns:
        The index, the dimension and what they rest on.
    """
    values = hessian_spectrum(flow, t, params)
    sizes = jnp.abs(values)
    share = jnp.sqrt(jnp.finfo(values.dtype).eps) if tolerance is None else tolerance
    zero = sizes <= share * jnp.max(sizes)
    last = jnp.max(jnp.where(zero, sizes, 0.0))
    gap = jnp.where(last > 0, jnp.min(jnp.where(zero, jnp.inf, sizes)) / jnp.where(last > 0, last, 1.0), jnp.inf)
    return CriticalPoint(jnp.sum((values < 0) & ~zero), jnp.sum(zero), gap, values)
