"""The tangent flow: how perturbations of a start travel along a lane.

A tangent vector is the derivative of a step, kinks and all, by the state that it begins from. So that tangents are as accurate as the
lane, their error too decides over a step: where the lane itself has come to rest it would allow steps of any length.
"""

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._checks import shown
from .._types import Params
from ..flows import check_independent
from .checked import check_call, check_memory
from .follow import is_running, record_passed
from .lane import MAX_REJECTIONS, Lane
from .outcome import Outcome
from .records import RecordRequest, num_records, record_times
from .settings import Tolerances, check_params, make_settings
from .solution import Solution
from .solve import as_solution
from .state import LaneState, Settings, Stretch


class TangentOptions(TypedDict, total=False):
    """Keywords of `solve` that say how a lane is stepped."""

    solver: dfx.AbstractSolver | None
    controller: dfx.AbstractStepSizeController | None
    rtol: float | Array | None
    atol: float | Array | None
    dt0: float | Array | None
    max_steps: int | None
    norm_bound: float
    locate_kinks: bool


def tangents(
    flow: Any,
    start: Params,
    directions: Params,
    t1: float | Array,
    *,
    t0: float = 0.0,
    record: RecordRequest = 50,
    **how: Unpack[TangentOptions],
) -> tuple[Solution, Params]:
    r"""Integrates one lane together with perturbations of its start: $D\phi_t \, v$ for each direction v, with $\phi_t$ the flow.

    The lane is stepped once, whatever the number of directions; a direction costs a forward derivative of each step. Kinks are passed
    with the jump that they give a tangent (Filippov's saltation matrix). A step's error in a tangent, relative to that tangent's
    Euclidean norm, is held below `rtol`; other controllers than diffrax's PID, and solvers without an error estimate, know of the lane's
    own error only. Use it under `jit`, `vmap` and `jax.jvp`.

    Args:
        flow: what to integrate.
        start: the parameters.
        directions: perturbations of the start, a pytree like it, each leaf with a leading axis `direction`.
        t1: end time.
        t0: start time.
        record: a number of times (log-spaced), or the times themselves.
        **how: `solver`, `controller`, `rtol`, `atol`, `dt0`, `max_steps`, `norm_bound` and `locate_kinks`, as in `solve`.

    Returns:
        The solution, and the perturbations at its `ts`: a pytree like the parameters, each leaf with the leading axes `direction` and
        `time`; NaN after the end of a lane that ended early.

    Raises:
        ValueError: the call makes no sense; the sentence names the mend.
    """
    if isinstance(record, str):
        raise ValueError(f"record={shown(record)} is for solve: give tangents a number of times, or the times themselves.")
    settings, directions = prepared(flow, start, directions, t0, t1, how)
    check_memory(num_records(record), start, 1 + jax.tree.leaves(directions)[0].shape[0])
    return _tangents(flow, start, directions, jnp.asarray(t0, settings.t1.dtype), settings, record_times(record, t0, t1))


def prepared(flow: Any, start: Params, directions: Params, t0: Any, t1: Any, how: Any) -> tuple[Settings, Params]:
    """Checks a call.

    Args:
        flow: as in `tangents`.
        start: as in `tangents`.
        directions: as in `tangents`.
        t0: as in `tangents`.
        t1: as in `tangents`.
        how: the other keywords.

    Returns:
        The settings, and the directions in the precision of the parameters.

    Raises:
        ValueError: the call makes no sense.
    """
    dtype = check_params(start)
    check_call(flow, start, (), {})
    check_independent(flow, start)
    refused = sorted(set(how) - set(TangentOptions.__annotations__))
    if refused:
        raise ValueError(f"{refused[0]!r} is none of the keywords here, which are {', '.join(TangentOptions.__annotations__)}.")
    if jax.tree.structure(directions) != jax.tree.structure(start):
        raise ValueError(f"the directions must be a pytree like the parameters, {jax.tree.structure(start)}.")
    if not all(jnp.issubdtype(jnp.result_type(v), jnp.floating) for v in jax.tree.leaves(directions)):
        raise ValueError("each leaf of the directions must be an array of real floats, like the parameters.")
    shapes = [(jnp.shape(v), jnp.shape(p)) for v, p in zip(jax.tree.leaves(directions), jax.tree.leaves(start), strict=True)]
    if any(v[1:] != p or not v for v, p in shapes) or len({v[0] for v, _ in shapes}) > 1:
        raise ValueError(
            "each leaf of the directions must be shaped like that of the parameters, with a leading axis `direction`: for one direction "
            "add it with jax.tree.map(lambda leaf: leaf[None], direction)."
        )
    settings = make_settings(dtype, t1, (), Tolerances(**how), t0)
    return settings, jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), directions, start)


@eqx.filter_jit
def _tangents(flow: Any, start: Params, directions: Params, t0: Array, settings: Settings, ts: Array) -> tuple[Solution, Params]:
    lane = Lane(flow, settings, start)
    state, moves = pushed(lambda start: lane.start(start, t0), start, directions)
    first = state.y
    buffer = jnp.full((ts.shape[0], state.y.size), jnp.nan, state.y.dtype)
    buffers = jnp.broadcast_to(buffer, (moves.y.shape[0], *buffer.shape))

    def body(carry: Any) -> Any:
        state, moves, buffer, buffers = carry
        state, moves, *stretch = step_along(lane, state, moves)

        def record(stretch: Stretch, buffer: Array) -> tuple[Array, Array]:
            return record_passed(lane, stretch, state.next_record, buffer, ts)

        (index, buffer), (_, buffers) = pushed(lambda both: record(*both), (stretch[0], buffer), (stretch[1], buffers))
        return eqx.tree_at(lambda s: s.next_record, state, index), moves, buffer, buffers

    state, _, buffer, buffers = jax.lax.while_loop(is_running, body, (state, moves, buffer, buffers))
    return as_solution(lane, state, buffer, ts, lane.unravel(first), {}), jax.vmap(jax.vmap(lane.unravel))(buffers)


def pushed(function: Callable[[Any], Any], at: PyTree, along: PyTree) -> tuple[Any, Any]:
    """A function's value, computed once, and its derivatives along several directions.

    Args:
        function: of a pytree.
        at: where.
        along: a pytree like it, each leaf with a leading axis, None where nothing moves.

    Returns:
        The value, and the derivatives: None for what is not made of floats, a leading axis elsewhere.
    """

    def one(direction: PyTree) -> tuple[Any, Any]:
        value, change = eqx.filter_jvp(function, (at,), (direction,))
        return value, eqx.combine(change, jax.tree.map(jnp.zeros_like, eqx.filter(value, eqx.is_inexact_array)))  # None is no change

    return eqx.filter_vmap(one, out_axes=(None, 0))(along)


def step_along(lane: Lane, state: LaneState, moves: LaneState) -> tuple[LaneState, LaneState, Stretch, Stretch]:
    """One trial step of a lane and of perturbations of its state.

    Args:
        lane: what is integrated.
        state: where it stands.
        moves: perturbations, each leaf with a leading axis, None where nothing moves.

    Returns:
        The state and its perturbations after the step, the stretch that was passed and its perturbations.
    """
    (after, stretch), (moved, stretches) = pushed(lane.step, state, moves)
    controller = lane.settings.controller
    if stretch.error is None or not isinstance(controller, dfx.PIDController):
        return after, moved, stretch, stretches
    errors, before, now = (jnp.linalg.norm(jax.lax.stop_gradient(v), axis=1) for v in (stretches.error, moves.y, moved.y))
    # as diffrax's I control has it, with its safety and bounds
    size = controller.rtol * jnp.maximum(before, now)
    error = jnp.max(jnp.where(errors == 0, 0.0, errors / jnp.where(size > 0, size, 1.0)))
    error = jnp.where(jnp.isfinite(error), error, jnp.inf)
    order: Any = lane.settings.solver.error_order(lane.term)
    reach = stretch.length * jnp.clip(0.9 * jnp.maximum(error, 1e-30) ** (-1 / order), 0.2, 10.0)
    rejected = (after.certificate.num_accepted_steps > state.certificate.num_accepted_steps) & ~(error <= 1)
    hopeless = rejected & (state.rejections + 1 >= MAX_REJECTIONS)
    again = eqx.tree_at(
        lambda s: (s.rejections, s.outcome, s.certificate.num_rejected_steps),
        state,
        (
            state.rejections + 1,
            jnp.where(hopeless, int(Outcome.step_too_small), state.outcome),
            state.certificate.num_rejected_steps + 1,
        ),
    )
    after, moved = (jax.tree.map(lambda new, old: jnp.where(rejected, old, new), *pair) for pair in ((after, again), (moved, moves)))
    shorter = jnp.minimum(after.step_size, reach)
    after = eqx.tree_at(lambda s: s.step_size, after, jnp.where(rejected, reach, shorter).astype(after.step_size.dtype))
    stretch = eqx.tree_at(lambda s: s.t_after, stretch, jnp.where(rejected, stretch.t_before, stretch.t_after))
    return after, moved, stretch, stretches
