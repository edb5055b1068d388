"""The split of a neuron's strength into its outer and inner weights."""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def balanced_split(
    product: Float[ArrayLike, "..."], delta: ArrayLike = 0.0, degree: int = 1
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The sizes |c| and |w| of a neuron with a given product |c| |w| and a given conserved quantity.

    Solves p c^2 - |w|^2 = delta, the quantity that gradient flow conserves for an activation of degree p (p = 1:
    Williams et al. 2019, arXiv:1906.07842, section 2; Kumar & Haupt 2024, arXiv:2403.08121). With
    s = sqrt(delta^2 + 4 p r^2) and r the product, the larger of p c^2 and |w|^2 is (s + |delta|)/2 and the smaller one
    p r^2 over it: no difference of near numbers for either sign of delta. Differentiable in `delta` (at 0 too) and
    in `product` (except where both are zero, where the derivative returned is 0).

    Args:
        product: r = c |w| of each neuron; its sign is ignored.
        delta: the conserved quantity, one number or one a neuron.
        degree: p, the activation's degree of homogeneity.

    Returns:
        |c| and |w|, each of the product's shape.
    """
    product, delta = jnp.asarray(product), jnp.asarray(delta)
    delta = jnp.broadcast_to(delta, product.shape).astype(product.dtype)
    twice = 2 * math.sqrt(degree) * jnp.abs(product)
    outer_is_larger = delta >= 0
    # Not jnp.abs: its derivative at zero is 0, and delta = 0 is the case that is differentiated most.
    modulus = jnp.where(outer_is_larger, delta, -delta)
    positive = (modulus > 0) | (twice > 0)
    larger = jnp.where(positive, (jnp.hypot(jnp.where(positive, modulus, 1.0), twice) + modulus) / 2, 1.0)
    large = jnp.where(positive, jnp.sqrt(larger), 0.0)
    small = jnp.where(positive, twice / (2 * jnp.sqrt(larger)), 0.0)
    outer = jnp.where(outer_is_larger, large, small) / math.sqrt(degree)
    return outer, jnp.where(outer_is_larger, small, large)
