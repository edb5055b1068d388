r"""The limit of a flow at infinite time, from where all that is left of it is linear.

Near the end of a lane the flow is $\dot\theta = F + L (\theta - \theta_0)$ with $L = -S H S^{-1}$, where $S^2$ is the mobility and H, in
the coordinates $S^{-1} \theta$, the loss's second derivative: the tangent kernel's part where the residuals vanish, all of it where they
do not. The linear flow ends at $\theta_0 + S H^+ S^{-1} F$, of all minima the one that the flow itself leads to. The pseudo-inverse is
applied in the Krylov space of $S^{-1} F$, so that neither H nor a kernel is formed, and directions along a manifold of minima do not enter.

The linear flow also ends near a saddle point, which the flow itself leaves. So where the linear flow would end, `saddle.py` looks for
negative curvature. If there is some the flow goes on, unless nothing of its velocity is left in these directions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .krylov import krylov
from .metric import reciprocal
from .saddle import negative_curvature

MODES = 64
"""Of the Krylov space."""
EVERY = 4
"""Accepted steps between two looks at what is left."""
STILL = 100.0
"""A step that has moved the parameters by more than so often the tolerance is none to look after: most of them, and of what is left."""
NEAR = 10.0
"""What is left is linear once it is this often the tolerance: the rest of it is of the square of that."""


class Ending(NamedTuple):
    """What is known of the limit.

    Attributes:
        reached: whether what is left is linear and small, and the flow does not leave the stationary point again.
        y: if so the limit, with the derivatives that a limit has, otherwise the point.
        error: an estimate of its Euclidean distance from the limit of the flow from here, otherwise 0.
        index: the number of negative eigenvalues of the Hessian at the limit; -1 where none is reached.
    """

    reached: Bool[Array, ""]
    y: Float[Array, " param"]
    error: Float[Array, ""]
    index: Int[Array, ""]


def ending(
    field: Callable[[Array], Array],
    project: Callable[[Array], Array],
    y: Float[Array, " param"],
    t: Float[Array, ""],
    scale: Float[Array, " param"],
    tolerance: Float[Array, " param"],
    where: Callable[[Array, Callable[[Array], Any], Any], Any],
) -> Ending:
    """The limit as a point tells it.

    Args:
        field: points to velocities, smooth: gates held.
        project: takes from a displacement what leads off the surfaces on which gates are held.
        y: the point.
        t: when the flow is there.
        scale: S, the root of the mobility.
        tolerance: of each parameter.
        where: a conditional, `where_it_happens` without its last argument.

    Returns:
        See there.
    """
    inverse = reciprocal(scale)

    def way_from(y: Array) -> tuple[Array, tuple[Array, Array]]:
        velocity, change = jax.linearize(field, y)
        found, rest = jax.lax.custom_linear_solve(
            lambda v: -inverse * change(scale * v),
            inverse * velocity,
            lambda operator, b: pseudo_solve(operator, b, min(MODES, y.size)),
            symmetric=True,
            has_aux=True,
        )
        return scale * found, rest

    way, rest = way_from(y)
    # what no eigenvalue of H answers for decays with one that was not found, or is a drift, which goes on as long again and further
    slow, drift = (jnp.max(scale) * part for part in jax.lax.stop_gradient(rest))
    unsolved = jnp.maximum(slow, drift * t)
    linear = jnp.sqrt(jnp.mean((jax.lax.stop_gradient(way) / tolerance) ** 2)) <= NEAR
    # what the linear flow has missed; it is of second order, and so is what it missed along a manifold of minima
    correction, _ = jax.lax.stop_gradient(way_from(y + way))
    reached = linear & (unsolved <= jnp.linalg.norm(tolerance)) & jnp.all(jnp.isfinite(correction))
    end = y + way + correction

    def curvature(true: Array) -> tuple[Array, Array]:
        point = jnp.where(true, jax.lax.stop_gradient(y), jnp.nan)

        def hessian(at: Array) -> Callable[[Array], Array]:
            change = jax.linearize(field, at)[1]
            return lambda v: jax.lax.stop_gradient(-inverse * project(change(project(scale * v))))

        here, there = hessian(point), hessian(jax.lax.stop_gradient(end))
        velocity = jax.lax.stop_gradient(inverse * field(point))
        index, rests = negative_curvature(here, there, jnp.sum(scale > 0), velocity, inverse * point)
        return index.astype(none.dtype), rests

    none = jnp.zeros((), jnp.result_type(int))
    index, rests = where(reached, curvature, (none, jnp.asarray(False)))
    reached &= (index == 0) | rests
    error = jnp.where(reached, 2 * jnp.linalg.norm(correction) + unsolved, 0.0)
    return Ending(reached, jnp.where(reached, end, y), error, jnp.where(reached, index, -1))


def pseudo_solve(
    operator: Callable[[Array], Array], b: Float[Array, " param"], modes: int
) -> tuple[Float[Array, " param"], tuple[Float[Array, ""], Float[Array, ""]]]:
    """H^+ b in a Krylov space of b, by the method of Lanczos with full reorthogonalisation.

    Args:
        operator: a symmetric H, not negative but for rounding.
        b: the right-hand side.
        modes: the size of the space.

    Returns:
        The solution; and what it leaves of b, over the smallest eigenvalue that counts (infinity where there is none), and as it is.

    Reference:
        Golub & Van Loan (2013), Matrix Computations, section 10.1.
    """
    size, eps = jnp.linalg.norm(b), jnp.finfo(b.dtype).eps
    space = krylov(operator, b, modes)
    values, vectors = space.eigen(space.diagonal)
    counts = values > modes * eps * jnp.max(jnp.abs(values))
    x = size * (vectors @ jnp.where(counts, vectors[0] / jnp.where(counts, values, 1.0), 0.0)) @ space.basis
    left = jnp.linalg.norm(b - operator(x))
    smallest = jnp.min(jnp.where(counts, values, jnp.inf))
    return x, (jnp.where(size > 0, left / jnp.where(jnp.isfinite(smallest), smallest, 0.0), 0.0), left)
