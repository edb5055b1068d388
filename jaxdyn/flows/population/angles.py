"""Angles between vectors, exact where they are parallel, and fast where only the vector field is asked for."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_NUMERATOR = (
    1.66666666666666657415e-01,
    -3.25565818622400915405e-01,
    2.01212532134862925881e-01,
    -4.00555345006794114027e-02,
    7.91534994289814532176e-04,
    3.47933107596021167570e-05,
)
_DENOMINATOR = (1.0, -2.40339491173441421878e00, 2.02094576023350569471e00, -6.88283971605453293030e-01, 7.70381505559019352791e-02)


class Angles(NamedTuple):
    """The angles between the rows of two matrices, in the four forms that lose no digits.

    Attributes:
        theta: the angle, from 0 to pi; pi/2 where one vector is zero, 0 or pi/2 where both are.
        sine: its sine.
        minus: 1 - cosine.
        plus: 1 + cosine.
    """

    theta: Float[Array, "row column"]
    sine: Float[Array, "row column"]
    minus: Float[Array, "row column"]
    plus: Float[Array, "row column"]

    @property
    def cosine(self) -> Float[Array, "row column"]:
        """The cosine."""
        return (self.plus - self.minus) / 2

    @property
    def swapped(self) -> "Angles":
        """The angles between the rows of the second matrix and those of the first."""
        return Angles(*(part.T for part in self))


def norms(vectors: Float[Array, "... dim"]) -> Float[Array, "..."]:
    """Euclidean lengths, with derivative 0 at 0.

    Args:
        vectors: along the last axis.

    Returns:
        One number a vector.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1))
    positive = largest > 0
    scale = jnp.where(positive, largest, 1.0)
    squared = jnp.sum((vectors / scale[..., None]) ** 2, axis=-1)
    return jnp.where(positive, scale * jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def directions(vectors: Float[Array, "row dim"]) -> tuple[Float[Array, "row dim"], Float[Array, " row"]]:
    """Unit vectors and lengths; the direction of zero is zero.

    Args:
        vectors: one a row.

    Returns:
        The directions and the lengths.
    """
    length = norms(vectors)
    return vectors / jnp.where(length > 0, length, 1.0)[:, None], length


def angles_by_differences(u: Float[Array, "row dim"], v: Float[Array, "column dim"]) -> Angles:
    r"""The angles between unit vectors, to the relative accuracy of the vectors.

    $\theta = 2\,\mathrm{atan2}(|u - v|, |u + v|)$, with derivatives that are 0 at 0 and
    $\pi$, where the angle has none.

    Args:
        u: unit vectors, or zeros.
        v: unit vectors, or zeros.

    Returns:
        The angles.

    Reference:
        Kahan (2006), How futile are mindless assessments of roundoff in floating-point computation?, section 12.
    """
    # held, lest the compiler rounds a direction differently in two places: their difference would not be one vector any more
    u, v = jax.lax.optimization_barrier((u, v))
    apart, together = (_length(u[:, None, :] + sign * v[None, :, :]) for sign in (-1, 1))
    theta = 2 * jnp.arctan2(apart, jnp.where((apart == 0) & (together == 0), 1.0, together))
    return Angles(theta, apart * together / 2, apart**2 / 2, together**2 / 2)


def _length(vectors: Array) -> Array:
    """`norms`, with derivative 0 where the vector is nothing but rounding."""
    held = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True) > 2 * jnp.finfo(vectors.dtype).eps
    return norms(jnp.where(held, vectors, 0.0))


@jax.custom_jvp
def angles(u: Float[Array, "row dim"], v: Float[Array, "column dim"]) -> Angles:
    """The angles between unit vectors, from one matrix product; their derivatives are those of `angles_by_differences`.

    Near 0 and pi the angles themselves are off by up to the root of the rounding: they are for functions that are well-conditioned as
    functions of the cosine, such as the kernels of ReLU and their gradients. Once derivatives are taken, the values are those of
    `angles_by_differences` too, so that Hessians keep their digits.

    Args:
        u: unit vectors, or zeros.
        v: unit vectors, or zeros.

    Returns:
        The angles.
    """
    cosine = jnp.clip(jnp.matmul(u, v.T, precision=jax.lax.Precision.HIGHEST), -1.0, 1.0)
    minus, plus = 1 - cosine, 1 + cosine
    return Angles(_arccos(cosine), jnp.sqrt(minus * plus), minus, plus)


@angles.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Angles, Angles]:
    return jax.jvp(angles_by_differences, primals, tangents)


def _horner(coefficients: tuple[float, ...], z: Array) -> Array:
    total = jnp.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = coefficient + z * total
    return total


def _arccos(cosine: Array) -> Array:
    """The arc cosine by the rational approximation of FreeBSD's msun (e_acos.c); XLA's takes twenty times as long on a CPU."""
    size = jnp.abs(cosine)
    small = size <= 0.5
    z = jnp.where(small, cosine**2, (1 - size) / 2)
    x = jnp.where(small, size, jnp.sqrt(z))
    arcsine = x + x * z * _horner(_NUMERATOR, z) / _horner(_DENOMINATOR, z)
    positive = jnp.where(small, jnp.pi / 2 - arcsine, 2 * arcsine)
    return jnp.where(cosine < 0, jnp.pi - positive, positive)
