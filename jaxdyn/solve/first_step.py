r"""The length of a lane's first step, from the size of the field and of its change.

Hairer, Nørsett & Wanner (1993), Solving Ordinary Differential Equations I, section II.4, with all sizes in tolerances and all times in
units of T, the time in which the start would change by its own size (or by one tolerance, if that is more): an explicit Euler step of T/100
estimates the second derivative, and the first step is as long as an error of order p allows. The book's rule, which is also diffrax's, is
the one for T = 1; in other units of time it begins with steps that are too long or too short by powers of ten. Diffrax also takes 0.01
for every solver whose term is not a `diffrax.ODETerm`, and its norms overflow for fields beyond 1e150.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

FRACTION = 0.01
"""Of T, the length of the Euler step; and of the tolerance, that the first step may err by."""
STANDING = 1e-6
"""The length where the field is zero (Hairer, Nørsett & Wanner's)."""


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
    moving = ~(largest <= 0)  # a velocity of NaN makes the length NaN
    largest = jnp.where(moving, largest, 1.0)
    unit = velocity / largest
    inverse = jnp.where(tolerance > 0, 1 / jnp.where(tolerance > 0, tolerance, 1.0), 0.0)
    log_start, log_speed = jnp.maximum(_log_size(y * inverse), 0.0), jnp.log(largest) + _log_size(unit * inverse)
    moving &= log_speed != -jnp.inf
    log_time = jnp.where(moving, log_start - jnp.where(moving, log_speed, 0.0), jnp.log(STANDING))
    change = field(y + FRACTION * jnp.exp(log_time) * velocity) / largest - unit
    log_change = jnp.log(largest) + _log_size(change * inverse) + log_time - jnp.log(FRACTION)
    log_share = (jnp.log(FRACTION) - jnp.maximum(log_start, log_change)) / order
    return jnp.exp(log_time + jnp.where(moving, jnp.minimum(log_share, 0.0), 0.0))


def _log_size(x: Float[Array, " param"]) -> Float[Array, ""]:
    """The logarithm of the root mean square; minus infinity for zero."""
    largest = jnp.max(jnp.abs(x), initial=0.0)
    safe = jnp.where(largest > 0, largest, 1.0)
    return jnp.log(largest) + 0.5 * jnp.log(jnp.mean((x / safe) ** 2))
