"""The free gates that bring a gradient nearest to a target."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._direction import Direction
from ._gates import FreeGates, box_inequalities, distances
from ._quadratic import constrained_least_squares

GAUSS_NEWTON_STEPS = 100
SHORTER = 6
"""How often a step of Gauss and Newton may be halved."""


def box_least_squares(matrix: Float[Array, "row variable"], target: Float[Array, " row"]) -> Float[Array, " variable"]:
    """The minimiser of |A u - b| over 0 <= u <= 1.

    Args:
        matrix: A, at any scale.
        target: b.

    Returns:
        u.
    """
    scale = jnp.maximum(jnp.max(jnp.abs(matrix), initial=0.0), jnp.max(jnp.abs(target), initial=0.0))
    scale = jnp.where(scale > 0, scale, 1.0)
    number = matrix.shape[1]
    inequalities, bounds = box_inequalities(number, matrix.dtype)
    half = jnp.full(number, 0.5, matrix.dtype)
    return jnp.clip(constrained_least_squares(matrix / scale, target / scale, jnp.zeros_like(half), inequalities, bounds, half), 0.0, 1.0)


def gates_by_neuron(
    direction: Direction,
    towards: Float[Array, " sample"],
    gradient: Callable[..., Float[Array, " param"]],
    multiplier: Float[Array, ""],
    zero: float,
    slots: int,
) -> tuple[Float[Array, "sample hidden"], Int[Array, ""]]:
    """The gates of one hidden layer that minimise |gradient - multiplier w|: a box-constrained least squares for each neuron.

    Args:
        direction: w, with the network.
        towards: by how much each output enters the gradient.
        gradient: `gradient(w, gates)`.
        multiplier: of w.
        zero: as in `correlation_kkt`.
        slots: of each neuron.

    Returns:
        All gates, and the number of free ones.
    """
    base, w = direction.base, direction.flat
    model, x = base.model, base.data.x.astype(w.dtype)
    weights = direction.params(w)
    neurons = model.neurons(weights, x)
    distance = distances(model, weights, x, zero)
    is_free = distance <= zero
    closed = jnp.where(is_free, 0.0, model.preactivations(weights, x) > 0).astype(w.dtype)

    def inner(flat: Array) -> Array:  # a plain selection of params, 0 where they are frozen
        still = jax.tree.map(jnp.zeros_like, weights)
        moving = direction.params(flat)
        own = jax.tree.map(lambda leaf, moves, rest: leaf if moves else rest, moving, base.trainable(weights), still)
        return model.neurons(own, x).inner

    moves = inner(jnp.ones_like(w))
    wanted = inner(multiplier * w - gradient(w, closed))
    low, high = base.slopes or (0.0, 1.0)

    def of_one(distance: Array, free: Array, outer: Array, moves: Array, wanted: Array) -> Array:
        _, index = jax.lax.top_k(-distance, min(slots, distance.size))
        columns = jnp.where(free[index], (high - low) * outer * towards[index], 0.0)[None, :] * neurons.inputs[index].T * moves[:, None]
        values = box_least_squares(columns, wanted)
        return jnp.zeros_like(distance).at[index].set(jnp.where(free[index], values, 0.0))

    found = jax.vmap(of_one)(distance.T, is_free.T, neurons.outer, moves.T, wanted.T)
    return closed + found.T, jnp.sum(is_free)


def gates_by_gauss_newton(free: FreeGates, residual: Callable[[PyTree], Float[Array, " row"]]) -> Float[Array, " slot"]:
    """The gates that minimise |residual(gates)|, at least locally: linearised within the box, the step halved while it does not descend.

    The best of four starts.

    Args:
        free: the slots.
        residual: a smooth function of all gates.

    Returns:
        The slots' gates.

    Reference:
        Nocedal & Wright (2006), Numerical Optimization, section 10.3.
    """

    def of_slots(values: Array) -> Array:
        return residual(free.gates(values))

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        values, size, steps = state
        here, jacobian = of_slots(values), jax.jacfwd(of_slots)(values)
        full = box_least_squares(jacobian, jacobian @ values - here)
        lengths = 0.5 ** jnp.arange(SHORTER, dtype=values.dtype)
        tried = values[None, :] + lengths[:, None] * (full - values)[None, :]
        sizes = jax.vmap(lambda values: jnp.linalg.norm(of_slots(values)))(tried)
        best = jnp.argmin(sizes)
        better = sizes[best] < size
        ends = ~(sizes[best] < size * (1 - 1e-9))
        return (
            jnp.where(better, tried[best], values),
            jnp.where(better, sizes[best], size),
            jnp.where(ends, GAUSS_NEWTON_STEPS, steps + 1),
        )

    def descend(start: Array) -> tuple[Array, Array, Array]:
        first = (start, jnp.linalg.norm(of_slots(start)), jnp.zeros((), int))
        return jax.lax.while_loop(lambda state: state[2] < GAUSS_NEWTON_STEPS, step, first)

    number = free.free.size
    spread = (0.618 * (1 + jnp.arange(number, dtype=free.closed.dtype))) % 1
    starts = jnp.stack([jnp.full(number, 0.5, spread.dtype), jnp.full(number, 0.9, spread.dtype), spread, 1 - spread])
    values, sizes, _ = jax.vmap(descend)(starts)
    return values[jnp.argmin(sizes)]
