"""Roots of the polynomials that a pre-activation follows in a step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ITERATIONS = 10


class Cubic(NamedTuple):
    """a0 + a1 s + a2 s^2 + a3 s^3 on [0, 1]."""

    a0: Float[Array, "..."]
    a1: Float[Array, "..."]
    a2: Float[Array, "..."]
    a3: Float[Array, "..."]

    def __call__(self, s: Float[Array, "..."]) -> Float[Array, "..."]:
        """Its value."""
        return self.a0 + s * (self.a1 + s * (self.a2 + s * self.a3))

    def slope(self, s: Float[Array, "..."]) -> Float[Array, "..."]:
        """Its derivative."""
        return self.a1 + s * (2 * self.a2 + s * (3 * self.a3))

    def extrema(self) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Where its local maximum and minimum are; NaN where it has none."""
        below = self.a2**2 - 3 * self.a3 * self.a1
        root = jnp.sqrt(jnp.where(below > 0, below, 1.0))
        # each of the two without cancellation
        plus, minus = self.a2 + root, self.a2 - root
        bent = self.a3 != 0
        third = jnp.where(bent, 3 * self.a3, 1.0)
        lowest = jnp.where(self.a2 > 0, -self.a1 / jnp.where(plus != 0, plus, 1.0), jnp.where(bent, -minus / third, jnp.nan))
        highest = jnp.where(self.a2 > 0, jnp.where(bent, -plus / third, jnp.nan), -self.a1 / jnp.where(minus != 0, minus, 1.0))
        return jnp.where(below > 0, highest, jnp.nan), jnp.where(below > 0, lowest, jnp.nan)


class Quartic(NamedTuple):
    """c(s) + 16 bow s^2 (1 - s)^2 with a cubic c, whose values and slopes at 0 and 1 it has; at 1/2 it is `bow` larger."""

    cubic: Cubic
    bow: Float[Array, "..."]

    def __call__(self, s: Float[Array, "..."]) -> Float[Array, "..."]:
        """Its value."""
        return self.cubic(s) + 16 * self.bow * (s * (1 - s)) ** 2

    def slope(self, s: Float[Array, "..."]) -> Float[Array, "..."]:
        """Its derivative."""
        return self.cubic.slope(s) + 32 * self.bow * s * (1 - s) * (1 - 2 * s)

    def bend(self, s: Float[Array, "..."]) -> Float[Array, "..."]:
        """Its second derivative."""
        return 2 * self.cubic.a2 + 6 * self.cubic.a3 * s + 32 * self.bow * (1 - 6 * s * (1 - s))


def hermite(z0: Array, d0: Array, z1: Array, d1: Array) -> Cubic:
    """The cubic with these values and derivatives at 0 and 1."""
    rise = z1 - z0
    return Cubic(z0, d0, 3 * rise - 2 * d0 - d1, d0 + d1 - 2 * rise)


def first_fall(plain: Quartic, curve: Quartic, low: Float[Array, "..."], high: Float[Array, "..."]) -> Float[Array, "..."]:
    """A root between low, where the quartic is positive or zero, and high, where it is negative; by Newton's method in a bracket.

    Args:
        plain: the quartic, without derivatives.
        curve: the same with them.
        low: left end.
        high: right end.

    Returns:
        The root, differentiable by the coefficients.
    """
    at_low, at_high = plain(low), plain(high)
    falls = at_low > at_high
    s = low + (high - low) * jnp.clip(at_low / jnp.where(falls, at_low - at_high, 1.0), 0.0, 1.0)
    for _ in range(ITERATIONS):
        low, high, s = _closer(plain, low, high, s)
    # a further step that carries the derivatives and nothing else
    slope = plain.slope(s)
    return s - jnp.where(slope < 0, (curve(s) - plain(s)) / jnp.where(slope < 0, slope, 1.0), 0.0)


@jax.jit
def _closer(curve: Quartic, low: Array, high: Array, s: Array) -> tuple[Array, Array, Array]:
    """A bracket and a root in it, after one iteration."""
    value, slope = curve(s), curve.slope(s)
    low, high = jnp.where(value >= 0, s, low), jnp.where(value >= 0, high, s)
    step = s - value / jnp.where(slope != 0, slope, 1.0)
    # where the quartic rises Newton's method leads to another root, at a start on the surface to that itself
    return low, high, jnp.where((slope < 0) & (step >= low) & (step <= high), step, (low + high) / 2)
