"""Solve one lane."""

import os
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._checks import check_count, shown
from .._types import Params
from ..flows import check_independent
from .checked import check_call, check_memory
from .choice import attempts, check_remembered, going_on_from, named_in, passed_on, steps_of
from .descent import offers_steps
from .follow import Followed, follow, follow_reversibly
from .lane import Lane
from .observe import Observable, evaluate, observables
from .outcome import Outcome
from .records import RecordRequest, num_records, record_times
from .rules import AbstractStopRule
from .settings import (
    Tolerances,
    as_rules,
    check_key,
    check_limit,
    check_methods,
    check_params,
    check_times,
    describe_method,
    is_concrete,
    make_settings,
)
from .solution import Solution, check_same_flow, read_solution, remember_flow, saved_method
from .state import LaneState, Settings

DEFAULT_MAX_RECORDED_STEPS = 4096
NO_FURTHER = (Outcome.diverged, Outcome.step_too_small, Outcome.not_finite_at_start, Outcome.root_find_failed)
"""Outcomes after which a lane cannot be continued with the same solver."""


def solve(
    flow: Any,
    start: Params | Solution,
    t1: float | Array,
    *,
    t0: float = 0.0,
    record: RecordRequest = 50,
    observe: dict[str, Observable] | None = None,
    stop: AbstractStopRule | Callable | Sequence[AbstractStopRule | Callable] = (),
    solver: dfx.AbstractSolver | None = None,
    controller: dfx.AbstractStepSizeController | None = None,
    rtol: float | Array | None = None,
    atol: float | Array | None = None,
    dt0: float | Array | None = None,
    max_steps: int | None = None,
    norm_bound: float = 1e8,
    locate_kinks: bool = True,
    checkpoints: int | None = None,
    key: PRNGKeyArray | None = None,
) -> Solution:
    """Integrates one lane of a flow.

    Compiled on the first call and pure, so it can be used under `jit` and `vmap`, and differentiated: in forward mode (`jax.jvp`,
    `jax.jacfwd`), or in reverse mode (`jax.grad`, `jax.jacrev`) where `checkpoints` are given. Steps are kept as they are, so a derivative
    is that of the solution up to its tolerance. For many seeds use `jaxdyn.sweep`, which does not wait for its slowest lane as `vmap` does.

    Args:
        flow: what to integrate.
        start: the parameters; or an earlier solution, to go on from where it stands: with its solver, or, where none is named, with another
            one where a first call would take that.
        t1: end time, in the unit of the loss's convention; infinity for the flow's limit, whose error `sol.certificate.accumulated_error`
            estimates: the flow is followed until what is left of it is linear. A saddle point is no limit, see `Outcome.saddle`.
        t0: start time; ignored when going on.
        record: a number of times (log-spaced), the times themselves, or "steps" for every accepted step.
        observe: functions `(flow, t, params)` or `(flow, t, params, start)`, evaluated at the recorded states; `start` is where this call
            starts, also when going on.
        stop: rules that end the lane before t1, checked at the start and after every step. Those that are the zero of a number are
            located inside the step, see `AbstractStopRule`.
        solver: any diffrax solver. By default Tsit5; where that would take too long for a flow that is a loss of outputs, and for its
            limit, KernelExponential, which restarts the lane; where that fails, or turns out to be slower, Tsit5 again. Under `jit` and
            other transformations it is always Tsit5.
        controller: any diffrax step-size controller; PI control with rtol and atol by default.
        rtol: relative tolerance; 1e-6 in float64, 1e-4 in float32 by default.
        atol: absolute tolerance; by default rtol/100 times the largest absolute entry of what moves of the start, at most 1 (1 where that
            entry is 0 and for a `DirectionClock`, whose directions have norm 1).
        dt0: first step; chosen by the controller by default.
        max_steps: accepted and rejected steps allowed, those of an earlier solution included; a million by default. With
            record="steps", whose memory it bounds, 4096 more by default.
        norm_bound: the lane has diverged once the norm of its parameters exceeds this times (1 + norm of the start).
        locate_kinks: whether to step through the kinks of gated (ReLU) networks, which a plain solver does not see; where that is not
            possible `sol.method` says why.
        checkpoints: states to keep for reverse-mode derivatives, which then replace forward-mode ones; 64 is a good number. Memory is so
            many times that of a step; each step is computed about three times up to (checkpoints + 1) (checkpoints + 2) / 2 steps, and
            once more for each such power beyond (Stumm & Walther 2010, eq. 2.2).
        key: of what the flow draws, for flows such as `StochasticDescent`; `jax.random.key(0)` by default. That of a sweep's lane is
            `fold_in(key, seed)`, with the sweep's key. Ignored when going on.

    Returns:
        The end, the records, the outcome and the certificate. Numerical failure is an outcome, never an exception.

    Raises:
        ValueError: the call makes no sense; the sentence names the mend.
    """
    going_on = isinstance(start, Solution)
    params = start.params if going_on else start
    key, rules, watch = check_key(key), as_rules(stop), observables(observe)
    dtype = check_params(params)
    check_methods(flow)
    recorded_steps, allowed = None, max_steps
    if isinstance(record, str) and record == "steps":
        recorded_steps = DEFAULT_MAX_RECORDED_STEPS if max_steps is None else check_count("max_steps", max_steps)
        if max_steps is None:
            allowed = recorded_steps + (_steps_so_far(start) if going_on else 0)
    begins: float | Array = t0
    if going_on:
        begins = start.t
        if jnp.ndim(start.outcome):
            raise ValueError("these are several lanes: go on with jax.vmap(lambda sol: solve(flow, sol, t1))(solutions).")
        if is_concrete(start.outcome) and int(start.outcome) in NO_FURTHER:
            raise ValueError(f"this lane ended as {start.fate.name} and cannot go on: start again from other parameters.")
        check_same_flow(start, flow)
    check_times(begins, t1)
    check_memory(num_records(record) if recorded_steps is None else recorded_steps, params)
    how = Tolerances(solver, controller, rtol, atol, dt0, allowed, norm_bound, locate_kinks, checkpoints)
    check_limit(flow, t1)
    check_call(flow, params, rules, watch)
    check_independent(flow, params)
    tried = attempts(flow, params, t1, how)
    if going_on:
        tried = going_on_from(start.method, tried)
        same = next(attempt.how for attempt in tried if not attempt.restarts)
        now = describe_method(flow, make_settings(dtype, t1, rules, same, begins, record), params)
        if start.method != now:
            raise ValueError(f"this lane was solved by {start.method}, not {now}: name the same, or start from sol.params.")
    if going_on and offers_steps(flow):
        check_remembered(flow, params, start.state.solver_state)
    if recorded_steps is None:
        ts = record_times(record, begins, t1)
        capacity = ts.shape[0]
    else:
        ts, capacity = None, int(recorded_steps) + 1
    begin = start.state if going_on else params
    begins = jnp.asarray(begins, jnp.result_type(float))  # a Python number would be compiled in
    projected: Any = start.certificate.projected_steps if going_on else jnp.asarray(jnp.nan, dtype)
    for attempt in cycle(tried):
        settings = make_settings(dtype, t1, rules, attempt.how, begins, record, attempt.gives_up)
        followed = _follow(flow, begin, params, begins, settings, ts, capacity, key, projected, attempt.restarts)
        end = followed[0][0]
        if not attempt.handed_over or int(end.outcome) not in attempt.handed_over:
            break
        projected = jnp.asarray(passed_on(end.outcome, end.certificate.projected_steps), dtype)
    return remember_flow(_report(flow, params, settings, followed, watch), flow)  # pyright: ignore[reportPossiblyUnbound]


def _steps_so_far(solution: Solution) -> Array:
    return solution.certificate.num_accepted_steps + solution.certificate.num_rejected_steps


@eqx.filter_jit
def _follow(
    flow: Any,
    begin: Any,
    like: Params,
    t0: Any,
    settings: Settings,
    ts: Any,
    capacity: int,
    key: PRNGKeyArray,
    projected: Any = jnp.nan,
    restarts: bool = False,
) -> tuple[Followed, Params]:
    """What was followed, and the parameters at the start; `restarts` where another solver reached the state to go on from."""
    lane = Lane(flow, settings, like)
    if isinstance(begin, LaneState):
        if restarts:
            begin = lane.start(lane.unravel(begin.y), begin.t, key, projected, begin)
        outcome, next_record = (jnp.asarray(n, jnp.result_type(int)) for n in (int(Outcome.running), 0))
        parts = lambda s: (s.outcome, s.next_record, s.certificate.projected_steps)  # noqa: E731
        state = eqx.tree_at(parts, begin, (outcome, next_record, projected))
        state = lane.checked(state)
    else:
        state = lane.start(begin, t0, key, projected)
    first = lane.unravel(state.y)
    return (follow if settings.checkpoints is None else follow_reversibly)(lane, state, ts, capacity), first


@eqx.filter_jit
def _report(flow: Any, like: Params, settings: Settings, followed: tuple[Followed, Params], watch: dict) -> Solution:
    return as_solution(Lane(flow, settings, like), *followed[0], followed[1], watch)


def as_solution(lane: Lane, state: LaneState, buffer: Array, times: Array, start: Params, watch: dict[str, Observable]) -> Solution:
    """What was followed, as the caller gets it.

    Args:
        lane: what was integrated.
        state: where it ended.
        buffer: the recorded states; rows from the state's `next_record` on mean nothing.
        times: when they were recorded.
        start: the parameters at the start.
        watch: the observables.

    Returns:
        The solution.
    """
    reached = jnp.arange(times.shape[0]) < state.next_record
    times = jnp.where(reached, times, jnp.nan)
    return Solution(
        params=lane.unravel(state.y),
        t=state.t,
        outcome=state.outcome,
        certificate=state.certificate,
        ts=times,
        states=jax.vmap(lane.unravel)(buffer),
        observed=evaluate(watch, lane.flow, times, buffer, start, lane.unravel, reached),
        state=eqx.tree_at(lambda s: s.stops, state, None, is_leaf=lambda leaf: leaf is None),
        method=describe_method(lane.flow, lane.settings, start),
        convention=getattr(lane.flow, "convention", "not declared"),
    )


def load_solution(
    path: str | os.PathLike,
    flow: Any,
    *,
    like: Params | None = None,
    observe: dict[str, Observable] | None = None,
    solver: dfx.AbstractSolver | None = None,
    controller: dfx.AbstractStepSizeController | None = None,
    dt0: float | None = None,
    locate_kinks: bool = True,
) -> Solution:
    """Reads a saved solution, to look at or to go on from.

    Args:
        path: a file that `Solution.save` wrote.
        flow: the flow that it is of.
        like: parameters of the same shapes; by default those of `flow.init`.
        observe: the observables that were recorded.
        solver: the solver that was named then, if one was.
        controller: the controller that was named then, if one was.
        dt0: the first step, if a controller without a default needs one.
        locate_kinks: as it was then.

    Returns:
        The solution.

    Raises:
        ValueError: the file is broken, or is of another flow or solver.
    """
    check_methods(flow)
    if like is None and not callable(getattr(flow, "init", None)):
        raise ValueError("this flow has no init(key): give parameters of the shapes that were solved, like=params.")
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be that of a file, not {shown(path)}.")
    params = like if like is not None else eqx.filter_eval_shape(lambda f: f.init(jax.random.key(0)), flow)
    dtype, watch = check_params(params), observables(observe)
    check_call(flow, params, (), watch)
    how = steps_of(flow, 1.0, Tolerances(solver, controller, dt0=dt0, locate_kinks=locate_kinks))
    settings = make_settings(dtype, 1.0, (), how._replace(solver=named_in(saved_method(path), how.solver)))

    def shapes(flow, params, settings, ts, watch) -> PyTree:
        return _report(
            flow, params, settings, _follow(flow, params, params, jnp.zeros_like(settings.t1), settings, ts, 2, jax.random.key(0)), watch
        )

    skeleton = eqx.filter_eval_shape(shapes, flow, params, settings, jnp.asarray([0.0, 1.0]), watch)
    return read_solution(path, skeleton, describe_method(flow, settings, params), flow)
