"""One lane from its start to its end, recording on the way."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi  # the only library with a loop of unknown length that can be differentiated in reverse
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .lane import Lane
from .outcome import Outcome
from .state import LaneState, Stretch

FORWARD_ONLY = "a solution can be differentiated in reverse mode (jax.grad, jax.jacrev) where its call says solve(..., checkpoints=64)."

Followed = tuple[LaneState, Float[Array, "time param"], Float[Array, " time"]]


def is_running(carry: Any) -> Array:
    """Whether the lane whose state comes first in a loop's carry goes on.

    Args:
        carry: of the loop.

    Returns:
        A truth value.
    """
    return carry[0].outcome == int(Outcome.running)


def follow(lane: Lane, state: LaneState, ts: Float[Array, " time"] | None, capacity: int) -> Followed:
    """Steps until the lane ends, with forward-mode derivatives.

    Args:
        lane: what is integrated.
        state: where it begins.
        ts: when to record; None records every accepted step.
        capacity: how many records at most.

    Returns:
        The state at the end, the recorded states, and when they were recorded. Rows from the state's `next_record` on mean nothing.
    """
    buffer = jnp.full((capacity, state.y.size), jnp.nan, state.y.dtype)
    if ts is None:
        state, buffer, times = _first_record(state, buffer)

        def body(carry: Followed) -> Followed:
            before, buffer, times = carry
            state, stretch = lane.step(before)
            accepted = _accepted(before, state)
            where = jnp.where(accepted, state.next_record, capacity)
            state = _recorded(state, state.next_record + accepted)
            return state, buffer.at[where].set(stretch.y, mode="drop"), times.at[where].set(stretch.t_after, mode="drop")

    else:
        times = ts
        if lane.settings.rules:  # one that is met at the start takes no step, which would record it
            ended = ~is_running((state,)) & (state.outcome != int(Outcome.not_finite_at_start))
            here = ended & (ts <= state.t)
            buffer = jnp.where(here[:, None], state.y, buffer)
            state = _recorded(state, state.next_record + jnp.sum(here))

        def body(carry: Followed) -> Followed:
            state, buffer, times = carry
            state, stretch = lane.step(state)
            index, buffer = record_passed(lane, stretch, state.next_record, buffer, times)
            return _recorded(state, index), buffer, times

    end = jax.lax.while_loop(is_running, body, (state, buffer, times))
    return eqxi.nondifferentiable_backward(end, msg=FORWARD_ONLY)


def follow_reversibly(lane: Lane, state: LaneState, ts: Float[Array, " time"] | None, capacity: int) -> Followed:
    """The same with reverse-mode derivatives, from as many checkpoints as the lane's settings say.

    Args:
        lane: see `follow`.
        state: see `follow`.
        ts: see `follow`.
        capacity: see `follow`.

    Returns:
        See `follow`.
    """
    buffer = jnp.full((capacity, state.y.size), jnp.nan, state.y.dtype)
    how = {"kind": "checkpointed", "checkpoints": lane.settings.checkpoints}
    like = lane.unravel(jnp.zeros_like(state.y))

    def step(state: LaneState) -> tuple[LaneState, Stretch]:
        return _step((lane.flow, lane.settings, like, state))

    if ts is None:
        begin = _first_record(state, buffer)

        def keep(carry: Any) -> Any:
            before, buffer, times = carry
            state, stretch = step(before)
            accepted, where = _accepted(before, state), jnp.minimum(before.next_record, capacity - 1)
            state = _recorded(state, state.next_record + accepted)
            return state, buffer.at[where].set(stretch.y, pred=accepted), times.at[where].set(stretch.t_after, pred=accepted)

        return eqxi.while_loop(is_running, keep, begin, buffers=lambda carry: (carry[1], carry[2]), **how)

    times, last = ts, capacity - 1

    def body(carry: Any) -> Any:
        # a turn either records or steps, so that both are done as often as it takes and no loop is within a loop
        state, stretch, buffer = carry
        writes, where = _pending(stretch, state.next_record, times), jnp.minimum(state.next_record, last)
        row = jax.lax.cond(writes, lambda: lane.read(stretch, times[where]), lambda: jnp.zeros_like(state.y))
        state, stretch = jax.lax.cond(writes, lambda: (_recorded(state, state.next_record + 1), stretch), lambda: step(state))
        return state, stretch, buffer.at[where].set(row, pred=writes)

    def goes_on(carry: Any) -> Array:
        return is_running(carry) | _pending(carry[1], carry[0].next_record, times)

    state, _, buffer = eqxi.while_loop(goes_on, body, (state, _before(lane, state), buffer), buffers=lambda carry: carry[2], **how)
    return state, buffer, times


# The loop traces its body and the derivatives of it ten times over. So they are functions of everything they depend on, which jit traces
# once.


@eqx.filter_jit
def _plain_step(inputs: Any) -> tuple[LaneState, Stretch]:
    flow, settings, like, state = inputs
    return Lane(flow, settings, like).step(state)


@eqx.filter_jit
def _pulled_back(moving: Any, still: Any, cotangents: Any) -> Any:
    """Cotangents of a step to those of what moves; None is none."""
    matters = jax.tree.map(lambda cotangent: cotangent is not None, cotangents, is_leaf=lambda leaf: leaf is None)
    pull = jax.vjp(lambda moving: eqx.filter(_plain_step(eqx.combine(moving, still)), matters), moving)[1]
    return pull(cotangents)[0]


@eqx.filter_custom_vjp
def _step(inputs: Any) -> tuple[LaneState, Stretch]:
    return _plain_step(inputs)


def _step_forth(perturbed: Any, inputs: Any) -> tuple[tuple[LaneState, Stretch], None]:
    del perturbed
    return _plain_step(inputs), None


def _step_back(residuals: None, cotangents: Any, perturbed: Any, inputs: Any) -> Any:
    del residuals
    return _pulled_back(*eqx.partition(inputs, perturbed), cotangents)


_step.def_fwd(_step_forth)
_step.def_bwd(_step_back)


def _before(lane: Lane, state: LaneState) -> Stretch:
    """A stretch that ends where the state stands."""
    shapes = jax.eval_shape(lane.step, state)[1]
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return eqx.tree_at(
        lambda s: (s.t_before, s.t_after, s.length, s.y), nothing, (state.t, state.t, jnp.ones_like(nothing.length), state.y)
    )


def _first_record(state: LaneState, buffer: Array) -> Followed:
    times = jnp.full(buffer.shape[0], jnp.nan, state.t.dtype)
    return _recorded(state, state.next_record + 1), buffer.at[0].set(state.y), times.at[0].set(state.t)


def _recorded(state: LaneState, index: Array) -> LaneState:
    return eqx.tree_at(lambda s: s.next_record, state, index)


def _accepted(before: LaneState, after: LaneState) -> Array:
    return after.certificate.num_accepted_steps > before.certificate.num_accepted_steps


def record_passed(lane: Lane, stretch: Stretch, index: Array, buffer: Array, ts: Array) -> tuple[Array, Array]:
    """Writes the states at all record times that the stretch passed.

    Args:
        lane: what is integrated.
        stretch: what the last step passed.
        index: of the next record.
        buffer: the records.
        ts: their times.

    Returns:
        The index and the records after it.
    """

    def write(carry):
        index, buffer = carry
        return index + 1, buffer.at[index].set(lane.read(stretch, ts[index]))

    return jax.lax.while_loop(lambda carry: _pending(stretch, carry[0], ts), write, (index, buffer))


def _pending(stretch: Stretch, index: Array, ts: Array) -> Array:
    """Whether the stretch has passed the next record time."""
    return (index < ts.shape[0]) & (ts[jnp.minimum(index, ts.shape[0] - 1)] <= stretch.t_after)
