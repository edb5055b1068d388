"""Moments of smooth activations, as functions of the overlaps: in closed form, or by Gauss-Hermite quadrature."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .angles import Angles
from .moments import Moments, Overlaps, Units, overlaps
from .normal import covariance, orthant

Expectation = Callable[[Overlaps], Array]
"""E[act(X) act(Y)] of pairs, from overlaps that are all matrices of one shape."""


def smooth(expectation: Expectation, rows: Units, columns: Units) -> Moments:
    r"""The moments of a smooth activation, as derivatives of its kernel.

    $\partial_{u \cdot u} E[\sigma\sigma] = \frac12 E[\sigma''\sigma]$ and $\partial_{u \cdot v} E[\sigma\sigma] = E[\sigma'\sigma']$.

    Args:
        expectation: the kernel.
        rows: neurons.
        columns: neurons.

    Returns:
        The moments.

    Reference:
        Price (1958), A useful theorem for nonlinear devices having Gaussian inputs, eq. 7.
    """
    return of_overlaps(expectation, overlaps(rows, columns))


def of_overlaps(expectation: Expectation, pairs: Overlaps) -> Moments:
    """The moments of a smooth activation, from the overlaps alone.

    Args:
        expectation: the kernel.
        pairs: the overlaps.

    Returns:
        The moments.
    """
    shape = pairs.cross.shape
    row, column = (None if part is None else jnp.broadcast_to(part[:, None], shape) for part in (pairs.row, pairs.row_mean))
    row_, column_ = (None if part is None else jnp.broadcast_to(part[None, :], shape) for part in (pairs.column, pairs.column_mean))
    value, pull = jax.vjp(expectation, Overlaps(row, pairs.cross, row_, column, column_))  # pyright: ignore[reportArgumentType]
    (slope,) = pull(jnp.ones(shape, value.dtype))
    return Moments(value, 2 * slope.row, slope.cross, slope.row_mean)


def linear(pairs: Overlaps) -> Float[Array, "row column"]:
    """E[X Y]."""
    return pairs.cross if pairs.row_mean is None or pairs.column_mean is None else pairs.cross + pairs.row_mean * pairs.column_mean


def square(pairs: Overlaps) -> Float[Array, "row column"]:
    """E[X^2 Y^2], by Isserlis' theorem."""
    if pairs.row_mean is None or pairs.column_mean is None:
        return pairs.row * pairs.column + 2 * pairs.cross**2
    squares = (pairs.row + pairs.row_mean**2) * (pairs.column + pairs.column_mean**2)
    return squares + 2 * pairs.cross**2 + 4 * pairs.cross * pairs.row_mean * pairs.column_mean


def normal_cdf(pairs: Overlaps) -> Float[Array, "row column"]:
    r"""$E[\Phi(X)\Phi(Y)] = P(\xi < X, \eta < Y)$, of correlation $u \cdot v/\sqrt{(1 + u^2)(1 + v^2)}$."""
    h, k, angle, arcsine = _probit(pairs, 1.0)
    return 0.25 + arcsine / (2 * jnp.pi) if h is None or k is None else orthant(h, k, angle)


def erf(pairs: Overlaps) -> Float[Array, "row column"]:
    r"""$E[\mathrm{erf}(X)\mathrm{erf}(Y)]$, by $\mathrm{erf}(z) = 2\Phi(\sqrt2 z) - 1$.

    Without biases it is $\frac2\pi \arcsin(2 u \cdot v/\sqrt{(1 + 2u^2)(1 + 2v^2)})$.

    Args:
        pairs: the overlaps.

    Returns:
        The expectations.

    Reference:
        Williams (1997), Computing with infinite networks, eq. 11.
    """
    h, k, angle, arcsine = _probit(pairs, 2.0)
    if h is None or k is None:
        return 2 * arcsine / jnp.pi
    means = jax.scipy.special.erf(h / math.sqrt(2)) * jax.scipy.special.erf(k / math.sqrt(2))
    return means + 4 * covariance(h, k, angle, arcsine)


def _probit(pairs: Overlaps, factor: float) -> tuple[Array | None, Array | None, Angles, Array]:
    """Thresholds, angle and arc sine of the correlation of xi - sqrt(factor) u.x and eta - sqrt(factor) v.x."""
    row, column, cross = 1 + factor * pairs.row, 1 + factor * pairs.column, factor * pairs.cross
    product = row * column
    # product - cross^2, with the largest terms subtracted first
    left = 1 + factor * (pairs.row + pairs.column) + factor**2 * (pairs.row * pairs.column - pairs.cross**2)
    size = jnp.sqrt(product)
    sine = jnp.sqrt(left / product)
    theta = jnp.arctan2(jnp.sqrt(left), cross)
    # 1 - |cosine| from the sine: the difference would lose the digits of a strong correlation
    nearer = sine**2 / (1 + jnp.abs(cross) / size)
    further = 1 + jnp.abs(cross) / size
    angle = Angles(theta, sine, jnp.where(cross > 0, nearer, further), jnp.where(cross > 0, further, nearer))
    arcsine = jnp.arctan2(cross, jnp.sqrt(left))
    if pairs.row_mean is None or pairs.column_mean is None:
        return None, None, angle, arcsine
    return math.sqrt(factor) * pairs.row_mean / jnp.sqrt(row), math.sqrt(factor) * pairs.column_mean / jnp.sqrt(column), angle, arcsine


def hermite(activation: Callable[[Array], Array], nodes: int, pairs: Overlaps) -> Float[Array, "row column"]:
    r"""$E[\sigma(X)\sigma(Y)]$ by Gauss-Hermite quadrature in the plane of u and v, for activations without a closed form.

    Derivatives by overlaps are quadratures of the activation's derivatives (Price's theorem): they need no direction where u is 0, and a
    Hessian takes the activation's fourth derivative.

    Args:
        activation: $\sigma$, smooth, entry by entry.
        nodes: the number of nodes a direction; the error falls exponentially with it, the slower the longer u and v are.
        pairs: the overlaps.

    Returns:
        The expectations.
    """
    return _hermite(activation, nodes, 0, 0, pairs)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _hermite(activation: Callable[[Array], Array], nodes: int, left: int, right: int, pairs: Overlaps) -> Array:
    """The expectation of the derivatives of order `left` and `right`."""
    x, weights = (part.astype(pairs.cross.dtype) for part in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / math.sqrt(2 * math.pi)
    size = jnp.sqrt(pairs.row)
    along = jnp.where(size > 0, pairs.cross / jnp.where(size > 0, size, 1.0), 0.0)
    rest = jnp.sqrt(jnp.maximum(pairs.column - along**2, 0.0))
    X = jnp.tensordot(size, x, 0)
    Y = jnp.tensordot(along, x, 0)[..., :, None] + jnp.tensordot(rest, x, 0)[..., None, :]
    if pairs.row_mean is not None and pairs.column_mean is not None:
        X, Y = X + pairs.row_mean[..., None], Y + pairs.column_mean[..., None, None]
    return (_derivative(activation, left)(X) * (_derivative(activation, right)(Y) @ weights)) @ weights


@_hermite.defjvp
def _(activation: Callable, nodes: int, left: int, right: int, primals: tuple[Overlaps], tangents: tuple[Overlaps]) -> tuple[Array, Array]:
    (pairs,), (moved,) = primals, tangents

    def raised(by_left: int, by_right: int) -> Array:
        return _hermite(activation, nodes, left + by_left, right + by_right, pairs)

    slope = 0.5 * raised(2, 0) * moved.row + raised(1, 1) * moved.cross + 0.5 * raised(0, 2) * moved.column
    if moved.row_mean is not None and moved.column_mean is not None:
        slope += raised(1, 0) * moved.row_mean + raised(0, 1) * moved.column_mean
    return raised(0, 0), slope


def _derivative(function: Callable[[Array], Array], order: int) -> Callable[[Array], Array]:
    for _ in range(order):
        function = partial(lambda f, z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1], function)
    return function
