r"""The length of a lane's first step, from the size of the field and of its change.

Hairer, Nørsett & Wanner (1993), Solving Ordinary Differential Equations I, section II.4, with all sizes in tolerances: an explicit Euler
step of 1% of the start estimates the second derivative, and the first step is as long as an error of order p allows. The same rule as
diffrax's, which takes 0.01 for every solver whose term is not a `diffrax.ODETerm`, and whose norms overflow for fields beyond 1e150.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

SMALL = 1e-5
"""A start or a field below so many tolerances does not say how long a step should be."""
BLIND = 1e-6
"""The length of the Euler step then (Hairer, Nørsett & Wanner's)."""
FRACTION = 0.01
"""Of the start, that the Euler step moves; and of the tolerance, that the first step may err by."""
GROWTH = 100.0
"""The first step is at most so many times the Euler step."""


def first_step(
    field: Callable[[Array], Array],
    y: Float[Array, " param"],
    velocity: Float[Array, " param"],
    tolerance: Float[Array, " param"],
    order: float,
) -> Float[Array, ""]:
    """The length of the first step.

    Args:
        field: points to velocities.
        y: the start.
        velocity: the field there.
        tolerance: of each parameter; those without any (0) are left out.
        order: of the solver's error estimate.

    Returns:
        A positive length; not finite where the field is not.
    """
    # The field is divided by its largest entry, so that no square overflows; sizes are logarithms, for quotients that would.
    largest = jnp.max(jnp.abs(velocity), initial=0.0)
    largest = jnp.where(largest > 0, largest, 1.0)
    unit = velocity / largest
    inverse = jnp.where(tolerance > 0, 1 / jnp.where(tolerance > 0, tolerance, 1.0), 0.0)
    log_start, log_speed = _log_size(y * inverse), jnp.log(largest) + _log_size(unit * inverse)
    blind = (log_start < jnp.log(SMALL)) | (log_speed < jnp.log(SMALL))
    log_euler = jnp.where(blind, jnp.log(BLIND), jnp.log(FRACTION) + log_start - jnp.where(blind, 0.0, log_speed))
    change = field(y + jnp.exp(log_euler) * velocity) / largest - unit
    log_change = jnp.log(largest) + _log_size(change * inverse) - log_euler
    log_derivative = jnp.maximum(log_speed, log_change)
    flat = log_derivative <= jnp.log(1e-15)
    log_step = jnp.where(
        flat,
        jnp.log(jnp.maximum(BLIND, 1e-3 * jnp.exp(log_euler))),
        (jnp.log(FRACTION) - jnp.where(flat, 0.0, log_derivative)) / order,
    )
    return jnp.exp(jnp.minimum(jnp.log(GROWTH) + log_euler, log_step))


def _log_size(x: Float[Array, " param"]) -> Float[Array, ""]:
    """The logarithm of the root mean square; minus infinity for zero."""
    largest = jnp.max(jnp.abs(x), initial=0.0)
    safe = jnp.where(largest > 0, largest, 1.0)
    return jnp.log(largest) + 0.5 * jnp.log(jnp.mean((x / safe) ** 2))
