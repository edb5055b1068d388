"""One step of Newton's method that is never longer than a trust radius, dense or by products with the Hessian."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .decompositions import eigh

Slope = Callable[[Array], Array]
METHODS = ("eigen", "products", "differences")
CHUNK = 64
"""Columns of the Hessian that are computed at once."""
SHARE = 0.1
"""Of the gradient that a step may leave of the linear system (Dembo, Eisenstat & Steihaug 1982); less where the gradient is small."""
BISECTIONS = 40
LEAST_SHIFT = 1e-8
"""Of the shifts between which the bisection looks, the smallest over the largest."""


class Step(NamedTuple):
    """A proposed step.

    Attributes:
        step: the displacement.
        gain: by how much the merit falls if its quadratic model holds.
        size: the largest curvature that was seen.
        products: products with the Hessian that it took.
    """

    step: Float[Array, " param"]
    gain: Float[Array, ""]
    size: Float[Array, ""]
    products: Int[Array, ""]


class Aim(NamedTuple):
    """What a step is for.

    Attributes:
        radius: the longest step.
        tolerance: of the gradient's norm.
        running: whether the lane still wants a step.
    """

    radius: Float[Array, ""]
    tolerance: Float[Array, ""]
    running: Bool[Array, ""]


def newton_step(slope: Slope, z: Float[Array, " param"], g: Float[Array, " param"], aim: Aim, method: str, saddles: bool) -> Step:
    """A step towards where the slope is zero.

    Args:
        slope: the gradient at a point.
        z: the point.
        g: the gradient there.
        aim: what the step is for.
        method: one of `METHODS`.
        saddles: whether the merit is half the squared gradient, not the loss.

    Returns:
        The step.
    """
    if method == "eigen":
        return _by_eigenvalues(slope, z, g, aim, saddles)
    product = _differences(slope, z, g) if method == "differences" else jax.linearize(slope, z)[1]
    if saddles:
        return _conjugate(lambda v: product(product(v)), product(g), aim, 2)
    return _conjugate(product, g, aim, 1)


def dense_hessian(slope: Slope, z: Float[Array, " param"]) -> Float[Array, "param param"]:
    """The derivative of a gradient, `CHUNK` columns at a time, made symmetric.

    Args:
        slope: the gradient at a point.
        z: the point.

    Returns:
        The Hessian.
    """
    _, product = jax.linearize(slope, z)
    columns = jax.lax.map(product, jnp.eye(z.size, dtype=z.dtype), batch_size=min(CHUNK, z.size))
    return (columns + columns.T) / 2


def _differences(slope: Slope, z: Array, g: Array) -> Slope:
    """Products with the Hessian by one more gradient each, to about half of the digits."""
    root = jnp.sqrt(jnp.finfo(z.dtype).eps)

    def product(v: Array) -> Array:
        length = jnp.linalg.norm(v)
        h = root / jnp.where(length > 0, length, 1.0)
        return (slope(z + h * v) - g) / h

    return product


def _by_eigenvalues(slope: Slope, z: Array, g: Array, aim: Aim, saddles: bool) -> Step:
    r"""$-(|H| + \mu)^{-1} g$, or for saddles $-(H^2 + \mu)^{-1} H g$.

    The shift $\mu \ge 0$ is the smallest that the radius allows. With |H| each step descends, and doubles the distance from a saddle. The
    directions of the smallest eigenvalues, with a small share of the gradient together, stay out: next to a manifold of minima, where
    eigenvalues along it are small and of any sign, the step goes across. Eigenvalues below the root of the rounding count as that.

    Args:
        slope: the gradient at a point.
        z: the point.
        g: the gradient there.
        aim: what the step is for.
        saddles: which of the two.

    Returns:
        The step.
    """
    values, vectors = eigh(dense_hessian(slope, z))
    sizes = jnp.abs(values)
    largest = jnp.max(sizes)
    floored = jnp.maximum(sizes, jnp.sqrt(jnp.finfo(z.dtype).eps) * largest)
    floored = jnp.where(floored > 0, floored, 1.0)
    b, curvature = vectors.T @ g, values
    if saddles:
        b, floored, curvature = values * b, floored**2, values**2
    size = jnp.linalg.norm(b)
    most = size / aim.radius
    order = jnp.argsort(sizes)
    ignored = jnp.zeros_like(order, bool).at[order].set(jnp.cumsum(b[order] ** 2) <= (_share(size) * size) ** 2)
    b_now = jnp.where(ignored, 0.0, b)
    shift = _bisected(lambda shift: jnp.linalg.norm(b_now / (floored + shift)) <= aim.radius, LEAST_SHIFT * most, most)
    shift = jnp.where(jnp.linalg.norm(b_now / floored) <= aim.radius, 0.0, shift)
    s = -b_now / (floored + shift)
    return Step(vectors @ s, -(b @ s + 0.5 * s @ (curvature * s)), largest, jnp.asarray(z.size))


def _share(size: Array) -> Array:
    return jnp.minimum(SHARE, jnp.sqrt(size))


def _bisected(fits: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The smallest number between two positive ones that fits, all larger ones fitting, on a scale of logarithms."""

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = jnp.sqrt(ends[0]) * jnp.sqrt(ends[1])
        good = fits(middle)
        return jnp.where(good, ends[0], middle), jnp.where(good, middle, ends[1])

    return jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))[1]


def _conjugate(operator: Slope, b: Array, aim: Aim, cost: int) -> Step:
    """Conjugate gradients from 0 until the residual is small, the radius is reached or a direction bends down.

    Where the first direction bends down already, which is that of steepest descent, the step goes along it as far as it would if it bent
    up as much. Directions without a slope are not in the Krylov space, so the solution is the one of least norm.

    Args:
        operator: products with the matrix, symmetric.
        b: minus the right-hand side.
        aim: what the step is for.
        cost: products with the Hessian in one with the matrix.

    Returns:
        The step.

    Reference:
        Steihaug (1983), SIAM J. Numer. Anal. 20, 626; Nocedal & Wright (2006), Numerical Optimization, algorithms 7.1 and 7.2.
    """
    size = jnp.linalg.norm(b)
    target = _share(size) * size
    limit = jnp.where(aim.running, 2 * b.size, 0)
    tiny = jnp.finfo(b.dtype).tiny

    def goes_on(carry: tuple) -> Array:
        return carry[-1] & (carry[5] < limit)

    def turn(carry: tuple) -> tuple:
        s, bent, r, d, largest, n, _ = carry
        moved = operator(d)
        squared, bend, left = d @ d, d @ moved, r @ r
        curvature = bend / jnp.maximum(squared, tiny)
        down = ~(bend > 0)
        step = left / jnp.where(down, jnp.maximum(jnp.abs(bend), tiny), bend)
        step = jnp.where(down & (n > 0), 0.0, step)
        # to the sphere: |s + step d| = radius
        along, room = s @ d, jnp.maximum(aim.radius**2 - s @ s, 0.0)
        edge = room / (along + jnp.sqrt(along**2 + squared * room) + tiny)
        outside = step > edge
        step = jnp.where(outside, edge, step)
        s, bent, rest = s + step * d, bent + step * moved, r - step * moved
        d = rest + (rest @ rest) / jnp.maximum(left, tiny) * d
        more = ~(down | outside) & (jnp.linalg.norm(rest) > target)
        return s, bent, rest, d, jnp.maximum(largest, jnp.abs(curvature)), n + 1, more

    zero = jnp.zeros_like(b)
    begin = (zero, zero, -b, -b, jnp.zeros_like(size), jnp.asarray(0), size > 0)
    s, bent, _, _, largest, n, _ = jax.lax.while_loop(goes_on, turn, begin)
    return Step(s, -(b @ s + 0.5 * s @ bent), jnp.where(cost == 2, jnp.sqrt(largest), largest), cost * n)
