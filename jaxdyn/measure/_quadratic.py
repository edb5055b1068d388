"""Least squares under linear inequalities, traced: a primal-dual interior-point method."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, Int

MAX_STEPS = 60
BACK = 0.995
"""The share of the way to the boundary that a step goes."""
REGULARISATION = 100.0
"""Added to the diagonal of the normal matrix, in units of rounding: it slows steps without curvature, and moves no solution."""


class _State(NamedTuple):
    u: Float[Array, " variable"]
    slack: Float[Array, " inequality"]
    dual: Float[Array, " inequality"]
    steps: Int[Array, ""]
    gap: Float[Array, ""]


def constrained_least_squares(
    matrix: Float[Array, "row variable"],
    target: Float[Array, " row"],
    linear: Float[Array, " variable"],
    inequalities: Float[Array, "inequality variable"],
    bounds: Float[Array, " inequality"],
    start: Float[Array, " variable"],
) -> Float[Array, " variable"]:
    r"""The minimiser of $\frac12 |A u - b|^2 + q \cdot u$ under $C u \le d$.

    A, b and the solution should be of order 1. Where the minimum is 0 its accuracy is that of rounding, as far as A's condition allows.

    Args:
        matrix: A; columns of zeros do no harm.
        target: b.
        linear: q.
        inequalities: C; the feasible set must have an interior.
        bounds: d.
        start: in that interior.

    Returns:
        u, one of them where the minimiser is not unique.

    Reference:
        Mehrotra (1992), On the implementation of a primal-dual interior point method, for convex quadratic programs (Nocedal & Wright 2006,
        algorithm 16.4).
    """
    eps = jnp.finfo(matrix.dtype).eps
    square = matrix.T @ matrix
    floor = REGULARISATION * eps * jnp.maximum(jnp.max(jnp.diagonal(square), initial=0.0), eps)
    number = bounds.size

    def step(state: _State) -> _State:
        u, slack, dual = state.u, state.slack, state.dual
        stationarity = matrix.T @ (matrix @ u - target) + linear + inequalities.T @ dual
        primal = inequalities @ u + slack - bounds
        gap = slack @ dual / number
        normal = square + (inequalities.T * (dual / slack)[None, :]) @ inequalities
        factor = jsl.cho_factor(normal + floor * jnp.eye(u.size, dtype=u.dtype))

        def direction(complementarity: Array) -> tuple[Array, Array, Array]:
            right = -stationarity - inequalities.T @ ((dual * primal - complementarity) / slack)
            du = jsl.cho_solve(factor, right)
            ds = -primal - inequalities @ du
            return du, ds, (-complementarity - dual * ds) / slack

        _, ds, dz = direction(slack * dual)
        affine = (slack + _length(slack, ds, 1.0) * ds) @ (dual + _length(dual, dz, 1.0) * dz) / number
        centre = jnp.clip(affine / gap, 0.0, 1.0) ** 3
        du, ds, dz = direction(slack * dual + ds * dz - centre * gap)
        length = jnp.minimum(_length(slack, ds, BACK), _length(dual, dz, BACK))
        new = _State(u + length * du, slack + length * ds, dual + length * dz, state.steps + 1, gap)
        good = jnp.all(jnp.isfinite(new.u)) & jnp.all(jnp.isfinite(new.slack)) & jnp.all(jnp.isfinite(new.dual))
        stopped = state._replace(steps=jnp.full_like(state.steps, MAX_STEPS))
        return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, stopped)

    def goes_on(state: _State) -> Array:
        return (state.steps < MAX_STEPS) & (state.slack @ state.dual / number > 0.01 * eps**2)

    slack = bounds - inequalities @ start
    first = _State(start, slack, jnp.ones_like(slack), jnp.zeros((), int), jnp.asarray(jnp.inf, matrix.dtype))
    return jax.lax.while_loop(goes_on, step, first).u


def _length(values: Array, change: Array, back: float) -> Array:
    """How far, at most 1, positive values may go."""
    falling = change < 0
    return jnp.minimum(1.0, back * jnp.min(jnp.where(falling, -values / jnp.where(falling, change, -1.0), jnp.inf)))
