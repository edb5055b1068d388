r"""Whether a stationary point that a flow approaches is a saddle point.

In the coordinates $S^{-1} \theta$, with $S^2$ the mobility, a flow is $\dot x = -\nabla L$ with the Hessian H, so a stationary point is
unstable where H has a negative eigenvalue. A Krylov space of the velocity cannot tell: near a saddle point the velocity may have next to
nothing in the direction of negative curvature. Up to `DENSE` parameters all eigenvalues are computed; beyond that those of a Krylov space
of a random vector, whose smallest is never below that of H, so that a negative one is never false.

An eigenvalue counts as negative below minus its error. That is the rounding of H, of the order of n eps times its largest eigenvalue; the
change of H over the distance that the flow still has to go, because along a manifold of minima eigenvalues are zero at the minimum and
small with either sign beside it; and, where H is not symmetric (a flow that is no gradient flow), its antisymmetric part. If H changes
along that way by a tenth of itself or more, as at the origin of a deep network where it vanishes, the change is no error: then its sign
structure is that of the approach.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int

from .decompositions import eigh
from .krylov import krylov

DENSE = 256
"""Up to so many parameters the Hessian is decomposed."""
STEPS = 128
"""Of the method of Lanczos beyond."""
ROUNDING = 4.0
"""Errors by rounding, in units of n eps."""
LINEAR = 0.1
"""The largest relative change of H along the way at which it counts as an error of H."""

Product = Callable[[Array], Array]


def negative_curvature(
    here: Product, there: Product, size: float | Array, velocity: Float[Array, " param"], point: Float[Array, " param"]
) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The index of a stationary point, and whether the flow rests there all the same.

    Args:
        here: products with H where the flow stands.
        there: and at the stationary point.
        size: the number of parameters that move, for the rounding.
        velocity: the flow's, in the coordinates of H.
        point: where the flow stands, in the coordinates of H.

    Returns:
        The number of negative eigenvalues, beyond `DENSE` parameters a lower bound; and whether the velocity has nothing above its rounding
        in their directions. No derivatives.
    """
    dtype = velocity.dtype
    if velocity.size <= DENSE:
        matrix = jax.vmap(there)(jnp.eye(velocity.size, dtype=dtype))
        values, vectors = eigh((matrix + matrix.T) / 2)
        asymmetry, directions = jnp.linalg.norm(matrix - matrix.T) / 2, vectors.T
    else:
        space = krylov(there, jr.normal(jr.key(0), velocity.shape, dtype), STEPS)
        values, vectors = space.eigen(space.diagonal)
        asymmetry, directions = jnp.zeros((), dtype), vectors.T @ space.basis
    largest, lowest = jnp.max(jnp.abs(values)), directions[0]
    rounding = ROUNDING * size * jnp.finfo(dtype).eps
    change = jnp.linalg.norm(here(lowest) - there(lowest))
    error = rounding * largest + asymmetry + jnp.minimum(change, LINEAR * largest)
    negative = values < -error
    leads_off = jnp.linalg.norm(jnp.where(negative, directions @ velocity, 0.0))
    rests = leads_off <= rounding * largest * jnp.linalg.norm(point)
    return jnp.sum(negative), rests
