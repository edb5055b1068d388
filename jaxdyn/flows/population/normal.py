"""The bivariate normal distribution function, by Owen's T, to the last digits for every correlation from -1 to 1."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .angles import Angles

FAR = 40.0
"""Beyond so many standard deviations a normal tail is 0 in double precision."""
_NODES, _WEIGHTS = (0.5 * part for part in np.polynomial.legendre.leggauss(28))
_NODES = _NODES + 0.5


def density(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """The standard normal density."""
    return jnp.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def distribution(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """The standard normal distribution function."""
    return 0.5 * jax.scipy.special.erfc(-z / math.sqrt(2))


def ratio(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Float[Array, "..."]:
    """A quotient within `FAR` of 0, as an argument of the distribution function; 0 for 0/0.

    Args:
        numerator: any numbers.
        denominator: not negative.

    Returns:
        The quotient.
    """
    inside = jnp.abs(numerator) < FAR * denominator
    return jnp.where(inside, numerator / jnp.where(inside, denominator, 1.0), FAR * jnp.sign(numerator))


def conditional(h: Float[Array, "..."], k: Float[Array, "..."], angle: Angles) -> Float[Array, "..."]:
    r"""$(k - \rho h)/\sqrt{1 - \rho^2}$ with $\rho = \cos\theta$, without cancellation near $\rho = \pm 1$.

    Args:
        h: where the first of two normal numbers is.
        k: the threshold of the second.
        angle: the correlation's.

    Returns:
        The standardised threshold of the second given the first.
    """
    return ratio(jnp.where(angle.minus < angle.plus, (k - h) + angle.minus * h, (k + h) - angle.plus * h), angle.sine)


def _owen(h: Array, a: Array) -> Array:
    r"""$T(h, a) = \frac{1}{2\pi}\int_0^a e^{-h^2(1 + x^2)/2}/(1 + x^2) dx$ for $h \ge 0$, $0 \le a \le 1$ (Owen 1956, eq. 2.1)."""
    end = jnp.minimum(a, 8.8 / jnp.maximum(h, 1.0))
    x = jnp.tensordot(end, _NODES.astype(h.dtype), 0)
    integrand = jnp.exp(-0.5 * h[..., None] ** 2 * (1 + x**2)) / (1 + x**2)
    return end * (integrand @ _WEIGHTS.astype(h.dtype)) / (2 * math.pi)


def _sector(h: Array, g: Array) -> Array:
    """T(h, g/h), by reflection (Owen 1956, eq. 2.3) where g is the larger one, so that nothing is divided by a small h."""
    high, low = jnp.maximum(jnp.abs(h), jnp.abs(g)), jnp.minimum(jnp.abs(h), jnp.abs(g))
    core = _owen(high, low / jnp.where(high > 0, high, 1.0))
    erf = jax.scipy.special.erf
    mirrored = 0.25 * (1 - erf(high / math.sqrt(2)) * erf(low / math.sqrt(2))) - core
    size = jnp.where(jnp.abs(g) <= jnp.abs(h), core, mirrored)
    return jnp.where((h < 0) != (g < 0), -size, size)


@jax.custom_jvp
def orthant(h: Float[Array, "..."], k: Float[Array, "..."], angle: Angles) -> Float[Array, "..."]:
    r"""$P(\xi < h, \eta < k)$ for standard normal numbers of correlation $\cos\theta$, $\theta$ from 0 to $\pi$ included.

    Args:
        h: the first threshold.
        k: the second threshold, of the same shape.
        angle: of that shape.

    Returns:
        Probabilities, with absolute errors of some units of rounding.

    Reference:
        Owen (1956), Tables for computing bivariate normal probabilities, eq. 3.1.
    """
    # at the origin only the direction in which (h, k) leaves it matters to each T, and their sum does not depend on it
    origin = (h == 0) & (k == 0)
    h, k = jnp.where(origin, 1e-30, h), jnp.where(origin, 1e-30, k)
    given_h, given_k = conditional(h, k, angle), conditional(k, h, angle)
    apart = jnp.where((h < 0) != (k < 0), 0.5, 0.0)
    both = 0.5 * (distribution(h) + distribution(k)) - _sector(h, given_h) - _sector(k, given_k) - apart
    return jnp.clip(both, 0.0, 1.0)


@orthant.defjvp
def _(primals: tuple[Array, Array, Angles], tangents: tuple[Array, Array, Angles]) -> tuple[Array, Array]:
    (h, k, angle), (dh, dk, dangle) = primals, tangents
    given_h, given_k = conditional(h, k, angle), conditional(k, h, angle)
    slope = density(h) * distribution(given_h) * dh + density(k) * distribution(given_k) * dk
    return orthant(h, k, angle), slope - density(h) * density(given_h) * dangle.theta


@jax.custom_jvp
def covariance(h: Float[Array, "..."], k: Float[Array, "..."], angle: Angles, arcsine: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$P(\xi < h, \eta < k) - P(\xi < h) P(\eta < k)$, with small relative errors for small correlations.

    Args:
        h: the first threshold.
        k: the second threshold, of the same shape.
        angle: of that shape.
        arcsine: pi/2 less the angle, but to its own relative accuracy.

    Returns:
        $\int_0^\rho \varphi_2(h, k, r) dr$.

    Reference:
        Plackett (1954), A reduction formula for normal multivariate integrals, eq. 3; Drezner & Wesolowsky (1990), eq. 3.
    """
    weak = (angle.minus > 0.4) & (angle.plus > 0.4)
    end = jnp.where(weak, arcsine, 0.0)
    t = jnp.tensordot(end, _NODES.astype(h.dtype), 0)
    h_, k_ = h[..., None], k[..., None]
    integrand = jnp.exp(-0.5 * (h_**2 + k_**2 - 2 * h_ * k_ * jnp.sin(t)) / jnp.cos(t) ** 2)
    by_angle = end * (integrand @ _WEIGHTS.astype(h.dtype)) / (2 * math.pi)
    return jnp.where(weak, by_angle, orthant(h, k, angle) - distribution(h) * distribution(k))


@covariance.defjvp
def _(primals: tuple[Array, Array, Angles, Array], tangents: tuple[Array, Array, Angles, Array]) -> tuple[Array, Array]:
    (h, k, *_), (dh, dk, *_) = primals, tangents
    _, slope = jax.jvp(orthant, primals[:3], tangents[:3])
    return covariance(*primals), slope - density(h) * distribution(k) * dh - density(k) * distribution(h) * dk
