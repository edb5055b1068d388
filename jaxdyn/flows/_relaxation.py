"""Relaxation to a least-squares solution: z' = -A^T (r + A z) - mu (w + z) from z = 0, by A's singular vectors, with its derivatives.

Each mode goes from where it starts to where it ends like exp(-x t), x = sigma^2 + mu; nothing is divided by a number that may be 0. The
derivatives of singular vectors are infinite where singular values coincide, that of z is not: it solves the derivative of the equation,
in which pairs of modes enter by the divided difference of exp(-x t).

Reference:
    Higham (2008), Functions of Matrices, theorem 3.11 (Daleckii and Krein); Golub & Pereyra (1973), The differentiation of
    pseudo-inverses and nonlinear least squares problems whose variables separate, for t = inf.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Modes(NamedTuple):
    """The singular value decomposition of A, zero in all that rounding makes of a zero.

    Attributes:
        left: U, in columns.
        sizes: the singular values, the largest first.
        right: V, in columns.
    """

    left: Float[Array, "row mode"]
    sizes: Float[Array, " mode"]
    right: Float[Array, "param mode"]

    def outside(self, side: Float[Array, "axis mode"], v: Float[Array, " axis"]) -> Float[Array, " axis"]:
        """The part of a vector that no mode of a side spans; exactly 0 where they span all."""
        complete = jnp.sum(self.sizes > 0) == side.shape[0]
        return jnp.where(complete, 0.0, v - _product(side, _product(side.T, v)))


@jax.custom_jvp
def modes_of(rows: Float[Array, "row param"]) -> Modes:
    """The modes of A; singular values below max(row, param) units of rounding of the largest are none.

    The singular values carry derivatives, the vectors none; `relaxation` does without.

    Args:
        rows: A.

    Returns:
        The modes.
    """
    left, sizes, right = jnp.linalg.svd(rows, full_matrices=False)
    kept = sizes > max(rows.shape) * jnp.finfo(rows.dtype).eps * sizes[0]
    return Modes(jnp.where(kept[None, :], left, 0.0), jnp.where(kept, sizes, 0.0), jnp.where(kept[None, :], right.T, 0.0))


@modes_of.defjvp
def _modes_jvp(primals: tuple, tangents: tuple) -> tuple[Modes, Modes]:
    modes = modes_of(*primals)
    sizes = jnp.sum(modes.left * _product(tangents[0], modes.right), axis=0)
    return modes, Modes(jnp.zeros_like(modes.left), sizes, jnp.zeros_like(modes.right))


@jax.custom_jvp
def _as_constant(modes: Modes) -> Modes:
    return modes


@_as_constant.defjvp
def _as_constant_jvp(primals: tuple, tangents: tuple) -> tuple[Modes, Modes]:
    raise NotImplementedError(
        "the closed form of a linearised flow has first derivatives by what its Jacobian depends on (start, scales, inputs), but no "
        "second ones: differentiate it once, or twice by times and labels only."
    )


@jax.custom_jvp
def relaxation(
    rows: Float[Array, "row param"],
    residual: Float[Array, " row"],
    start: Float[Array, " param"],
    decay: Float[Array, ""],
    t: Float[Array, ""],
    modes: Modes,
) -> tuple[Float[Array, " param"], Float[Array, " row"]]:
    """The solution at a time; at infinity the limit, which the pseudo-inverse gives.

    Its derivatives are those at constant rank.

    Args:
        rows: A.
        residual: r.
        start: w.
        decay: mu, not negative.
        t: time, infinity included.
        modes: those of A.

    Returns:
        z, and r + A z without loss of digits where it is small.
    """
    rates, first, last, moved = _ends(residual, start, decay, modes)
    left = jnp.exp(-_times(rates, t))
    rest = _product(modes.left, last + (first - last) * left) + modes.outside(modes.left, residual)
    z = -_product(modes.right, moved * jnp.expm1(-_times(rates, t))) + modes.outside(modes.right, start) * jnp.expm1(-_times(decay, t))
    return z, rest


def _ends(residual: Array, start: Array, decay: Array, modes: Modes) -> tuple[Array, Array, Array, Array]:
    """Mode by mode the rate, the residual at the start and at the end, and z at the end."""
    moves = modes.sizes > 0
    rates = jnp.where(moves, modes.sizes**2 + decay, 0.0)
    first, own = _product(modes.left.T, residual), decay * _product(modes.right.T, start)
    divisor = jnp.where(moves, rates, 1.0)
    return rates, first, (decay * first - modes.sizes * own) / divisor, -(modes.sizes * first + own) / divisor


def _times(rate: Array, t: Array) -> Array:
    return jnp.where(rate > 0, rate * t, 0.0)  # 0 * inf


def _convolved(a: Array, b: Array, t: Array) -> Array:
    """The integral of exp(-a (t - s) - b s) over s from 0 to t; where it grows without bound, at t = inf with a = b = 0, it is 0."""
    gap = jnp.abs(a - b)
    near = _times(gap, t) < jnp.finfo(gap.dtype).eps
    span = jnp.where(near, jnp.where(jnp.isfinite(t), t, 0.0), -jnp.expm1(-_times(gap, t)) / jnp.where(near, 1.0, gap))
    return jnp.exp(-_times(jnp.minimum(a, b), t)) * span


@relaxation.defjvp
def _relaxation_jvp(primals: tuple, tangents: tuple) -> tuple:
    rows, residual, start, decay, t, modes = primals
    rows_dot, residual_dot, start_dot, decay_dot, t_dot, _ = tangents
    U, _, V = modes = _as_constant(modes)
    rates, first, last, moved = _ends(residual, start, decay, modes)
    beyond = modes.outside(V, start)
    z, rest = relaxation(*primals)

    # dz/dt = -H z - b, so its derivative follows d(z_dot)/dt = -H z_dot - q, q = H_dot z + b_dot, a sum of exponentials: their factors
    at_end = _product(V, moved) - beyond
    outer = _product(U, last) + modes.outside(U, residual)
    steady = (
        _product(rows_dot.T, outer)
        + _product(rows.T, residual_dot + _product(rows_dot, at_end))
        + decay_dot * (start + at_end)
        + decay * start_dot
    )
    coupling = _product(U.T, _product(rows_dot, V))
    within = coupling.T * (first - last)[None, :] - modes.sizes[:, None] * coupling * moved[None, :] - jnp.diag(decay_dot * moved)
    from_beyond = _product(rows.T, _product(rows_dot, beyond)) + decay_dot * beyond

    # their integrals, in the directions of the modes and in the others
    inner = jnp.sum(_convolved(rates[:, None], rates[None, :], t) * within, axis=1)
    inner += _convolved(rates, jnp.zeros_like(rates), t) * _product(V.T, steady)
    inner += _convolved(rates, decay, t) * _product(V.T, from_beyond)
    faded = (first - last) * _convolved(decay, rates, t)
    others = _product(rows_dot.T, _product(U, faded)) + _convolved(decay, jnp.zeros_like(decay), t) * steady
    others += _convolved(decay, decay, t) * decay_dot * beyond
    z_dot = -_product(V, inner) - modes.outside(V, others)
    rest_dot = residual_dot + _product(rows_dot, z) + _product(rows, z_dot)

    velocity = rates * jnp.exp(-_times(rates, t))
    z_dot += t_dot * (_product(V, moved * velocity) - beyond * decay * jnp.exp(-_times(decay, t)))
    rest_dot += t_dot * _product(U, (last - first) * velocity)
    return (z, rest), (z_dot, rest_dot)
