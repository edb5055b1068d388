"""Which lanes take longest: a guess, so that they start first and none of them runs alone at the end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from .batch import Problem

CHUNK = 512
"""Lanes a call; the last call is padded, so that their number compiles nothing."""
TURNS = 4
LONG = 1e9
"""What stands for an infinite end time."""


@eqx.filter_jit
def guess_cost(problem: Problem, seed: Int[Array, " lane"], cell: Int[Array, " lane"]) -> Float[Array, " lane"]:
    """A cheap guess of how many steps each lane will take: the end time times the stiffness at the start.

    The stiffness is the largest growth of a vector under the field's Jacobian after some power iterations; for an explicit solver
    the number of steps grows like it times the end time.

    Args:
        problem: what the lanes share.
        seed: their seeds.
        cell: their cells.

    Returns:
        A number a lane, in no particular unit.
    """

    def one(which: tuple) -> Array:
        seed, cell = which
        lane = problem.lane(problem.values(cell))
        y = ravel_pytree(lane.flow.init(jr.fold_in(problem.key, seed)))[0]
        zero = jnp.zeros((), lane.dtype)
        if lane.descends:
            steps = lane.settings.t1 / lane.term.rate(y, lane.term.begin(y, problem.key))
            return steps.astype(lane.dtype)

        def turn(_: int, carry: tuple) -> tuple:
            v, _ = carry
            w = jax.jvp(lambda y: lane.term.vf(zero, y, (jnp.zeros((), lane.time_dtype), None)), (y,), (v,))[1]
            norm = jnp.linalg.norm(w)
            return w / jnp.where(norm > 0, norm, 1.0), norm

        v = jnp.ones_like(y) / np.sqrt(y.size)
        _, stiffness = jax.lax.fori_loop(0, TURNS, turn, (v, zero))
        guess = stiffness * jnp.minimum(lane.settings.t1, LONG).astype(lane.dtype)
        return jnp.where(jnp.isfinite(guess), guess, 0.0)

    return jax.lax.map(one, (seed, cell), batch_size=32)


def order_by_cost(problem: Problem, seed: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Lanes with the longest first, by a cheap guess; ties keep their order.

    Args:
        problem: what the lanes share.
        seed: their seeds.
        cell: their cells.

    Returns:
        A permutation.
    """
    costs, unwatched = [], problem.unwatched()
    for first in range(0, len(seed), CHUNK):
        some = slice(first, first + CHUNK)
        fill = CHUNK - len(seed[some])
        padded = (jnp.asarray(np.pad(seed[some], (0, fill)), jnp.uint32), jnp.asarray(np.pad(cell[some], (0, fill))))
        costs.append(np.asarray(guess_cost(unwatched, *padded))[: CHUNK - fill])
    return np.argsort(-np.concatenate(costs), kind="stable")
