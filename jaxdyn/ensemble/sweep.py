"""Seeds times a grid of settings, as one labelled Dataset."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, cast

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from .. import _platform
from .._checks import check_count, check_untraced, shown
from .._describe import describe, source_digest
from ..flows import check_independent
from ..solve import (
    AbstractStopRule,
    Observable,
    Outcome,
    RecordRequest,
    Settings,
    Tolerances,
    as_rules,
    attempts,
    check_call,
    check_key,
    check_limit,
    check_memory,
    describe_method,
    make_settings,
    num_records,
    observables,
    passed_on,
    record_times,
)
from ..solve.solution import layout
from ..store import FORBIDDEN, FORMAT, Column, LaneStore, find_stores, open_root
from .batch import Problem
from .cost import order_by_cost
from .dataset import assemble, grid_of, outcome_flags, warn_of_damage
from .grid import Axis, Group, Over, Plan, make_axes, make_groups
from .kept import columns
from .progress import Shown, progress_bar
from .run import Batch, Blocks, choose_width
from .shapes import check_devices, check_progress, like_start


class _Run(NamedTuple):
    """One group of a sweep: what is tried in turn, its store, its lanes, the places still to do, the blocks that are asked for."""

    problems: list[Problem]
    handed_over: list[tuple[Outcome, ...]]
    store: LaneStore
    seed: np.ndarray
    cell: np.ndarray
    todo: np.ndarray
    needed: np.ndarray


def check_seeds(seeds: int | Sequence[int] | np.ndarray) -> np.ndarray:
    """Seed ids.

    Args:
        seeds: a number k, for 0 to k - 1, or the ids themselves.

    Returns:
        The ids.

    Raises:
        ValueError: there are none, they are no ids, or one comes twice.
    """
    if isinstance(seeds, bool) or (np.ndim(seeds) == 0 and not isinstance(seeds, int | np.integer)):
        raise ValueError(f"seeds must be a number of seeds or a list of ids, not {shown(seeds)}.")
    ids = np.arange(seeds) if isinstance(seeds, int | np.integer) else np.asarray(seeds)
    if ids.size == 0 or ids.ndim != 1:
        raise ValueError("a sweep needs at least one seed: give a positive number, or a list of ids.")
    if ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= 2**32:
        raise ValueError("seed ids must be integers from 0 to 2**32 - 1.")
    twice = [int(seed) for seed, count in zip(*np.unique(ids, return_counts=True), strict=True) if count > 1]
    if twice:
        raise ValueError(f"the seeds {twice[:5]} are given twice: name each once.")
    return ids.astype(np.int64)


def sweep(
    flow: Any,
    seeds: int | Sequence[int] | np.ndarray,
    over: Over | None = None,
    *,
    t1: float | None = None,
    record: RecordRequest = 50,
    observe: dict[str, Observable] | None = None,
    stop: AbstractStopRule | Callable | Sequence[AbstractStopRule | Callable] = (),
    solver: dfx.AbstractSolver | None = None,
    controller: dfx.AbstractStepSizeController | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    dt0: float | None = None,
    max_steps: int | None = None,
    norm_bound: float = 1e8,
    locate_kinks: bool = True,
    key: PRNGKeyArray | None = None,
    out: str | Path | None = None,
    group: str | None = None,
    width: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: bool | str = True,
) -> xr.Dataset:
    """Solves a flow for many seeds and settings, and never waits for the slowest lane.

    Each lane is the `solve` of one seed and one point of the grid; the start is `flow.init(fold_in(key, seed))`, so a lane does not
    depend on what ran beside it. Lanes run in a batch of constant width that is refilled from the queue, one batch a device. With
    `out` the lanes are kept in Zarr, block by block: calling again after a kill, with the same settings, does only what is missing and
    gives the same result, and more seeds extend the store.

    Args:
        flow: the flow, with the settings that do not vary.
        seeds: a number k (0 to k - 1), or ids.
        over: the grid, `{"model.init_scale": [0.1, 1.0]}`; paths lead into the flow, or are t1, rtol, atol, max_steps, dt0. A tuple of
            paths moves several settings together, each value being a tuple. Settings that change a shape cost a compilation each.
        t1: end time, unless the grid has it; infinity for the flow's limit.
        record: a number of times (log-spaced up to each lane's t1), or the times themselves.
        observe: functions `(flow, t, params)` or `(flow, t, params, start)`; each becomes a variable over (..., seed, time) and,
            at the lane's end, `NAME_end`. A function's attribute `dims` names further dimensions.
        stop: as for `solve`.
        solver: as for `solve`; by default each lane that is too stiff for Tsit5 restarts with KernelExponential, and is `switched`.
        controller: as for `solve`.
        rtol: as for `solve`.
        atol: as for `solve`.
        dt0: as for `solve`.
        max_steps: as for `solve`.
        norm_bound: as for `solve`.
        locate_kinks: as for `solve`.
        key: the root key, of the starts and of what descents draw; `jax.random.key(0)` by default.
        out: a directory for the Zarr store; None keeps everything in memory.
        group: a group within the store, for several sweeps in one.
        width: slots a device; chosen for the device by default. Lanes agree bit for bit at one width, and to the solver's tolerance
            across widths.
        devices: all of the default backend's by default.
        progress: whether to show how far it is, or the label to show: a bar on a terminal and in a notebook, elsewhere a line per minute on
            stderr.

    Returns:
        A Dataset over the grid's dimensions, `seed`, `time` and more, with per lane: `params` (flat, see `final_params`), `gates`,
        `t_end`, `outcome`, `switched`, the certificate's fields, the observables; attributes say what was done, in which convention of
        time.

    Raises:
        ValueError: the call makes no sense, `out` holds a run of other settings, or another run is writing there; nothing is changed
            then.
        KeyboardInterrupt: Ctrl-C, with a sentence that says how to resume; what is done is kept in `out`.
    """
    check_untraced("sweep", flow, seeds, over, t1, record, rtol, atol, dt0, max_steps, norm_bound, key)
    ids = check_seeds(seeds)
    key, rules = check_key(key), as_rules(stop)
    width = None if width is None else check_count("width", width)
    where = check_devices(devices)
    check_progress(progress)
    axes = make_axes(flow, over)
    if t1 is None and not any("t1" in axis.paths for axis in axes):
        raise ValueError("give an end time, t1=, or put 't1' on the grid.")
    if isinstance(record, str):
        raise ValueError("a sweep records at given times: give a number of times or the times; record='steps' is for solve.")
    if record is None:
        raise ValueError("record=None is not known: give a number of times, or the times.")
    how = Tolerances(solver, controller, rtol, atol, dt0, max_steps, norm_bound, locate_kinks)
    watch = observables(observe)
    bar, lanes = progress if isinstance(progress, str) else "sweep", len(ids) * math.prod(len(axis.values) for axis in axes)
    try:
        with progress_bar(bar, lanes, 0, bool(progress)) as shown:
            return _sweep(shown, flow, ids, axes, t1, record, watch, stop, rules, how, key, out, group, width, where)
    except KeyboardInterrupt:
        kept = "nothing is kept without out=DIRECTORY" if out is None else f"whole blocks are kept in {out}: the same call again resumes"
        raise KeyboardInterrupt(f"The sweep was stopped; {kept}.") from None


def _sweep(
    shown: Shown,
    flow: Any,
    ids: np.ndarray,
    axes: list[Axis],
    t1: float | None,
    record: RecordRequest,
    watch: dict[str, Observable],
    stop: Any,
    rules: tuple[AbstractStopRule, ...],
    how: Tolerances,
    key: PRNGKeyArray,
    out: str | Path | None,
    group: str | None,
    width: int | None,
    where: list[Any],
) -> xr.Dataset:
    """What `sweep` does once its arguments are checked, while a bar shows how far it is."""

    def grouped(turn: int) -> tuple[list[Group], list[Problem]]:
        def settle(own: Any) -> Any:
            shown.say("preparing the settings")
            return partial(_settle, own, like_start((own, key)), t1, rules, how, record, turn)

        groups = make_groups(flow, axes, settle)
        return groups, [_problem(one, record, watch, key, rules) for one in groups]

    groups, problems = grouped(0)
    tried = [attempts(one.flow, like_start((one.flow, key)), float(one.ends.min()), how) for one in groups]
    turns = [problems, *(grouped(turn)[1] for turn in range(1, max(map(len, tried))))]
    ladders = [
        [replace(turns[turn][k], switched=attempt.how.solver != mine[0].how.solver) for turn, attempt in enumerate(mine)]
        for k, mine in enumerate(tried)
    ]
    taken = tuple(axis.name for axis in axes)
    kept = []
    for k, problem in enumerate(problems):
        shown.say(f"preparing {k + 1} of {len(problems)} settings")
        kept.append(columns(problem, taken))
    asked = {
        "grid": [{"paths": list(axis.paths), "values": [describe(list(row)) for row in axis.values]} for axis in axes],
        "flow": describe(flow),
        "params": kept[0]["params"].dtype,
        "t1": describe(t1),
        "record": describe(record),
        "solve": describe(how._asdict()) | {"stop": describe(stop)},
        "observe": {name: describe(function) for name, function in watch.items()},
        "key": describe(jr.key_data(key)),
    }
    with open_root(out, group) as (root, name):
        grid = grid_of(axes, _common_times(problems, groups))
        found = {int(store.attributes.get("number", 0)): store for store in find_stores(root, name)}
        for store in found.values():
            _check_store(store, asked, width)
        if not set(found) <= set(range(len(groups))):
            raise ValueError(f"{name} has other groups of lanes than this version of jaxdyn makes: choose another place for the new run.")
        runs = []
        for k, one in enumerate(groups):
            store = found.get(k)
            if store is None:
                path = f"lanes_{k}" if len(groups) > 1 else ""  # a single group's arrays are where xarray.open_zarr looks
                attributes = _attributes(ladders[k], k, one.cells, grid, asked, len(ids) * len(one.cells), width, where)
                store = _new_store(root, path, name, kept[k], grid, asked, attributes, out is None)
            runs.append(_survey(store, ladders[k], [attempt.handed_over for attempt in tried[k]], ids))
        total = len(ids) * sum(len(one.cells) for one in groups)
        done_before = [_count_done(run, ids) for run in runs]
        finished = sum(done_before)
        shown.expect(total, finished)
        for k, (one, run) in enumerate(zip(groups, runs, strict=True)):
            part = f" ({k + 1} of {len(groups)} settings)" if len(groups) > 1 else ""
            # not before the groups in front of it are done: it compiles a program
            shown.say(f"ordering the lanes by cost{part}")
            run = _extend(run, one.cells, grid, ids, where)
            left = len(run.todo) + sum(len(_waiting(run, turn)) for turn in range(len(run.problems)))
            if not left:
                continue
            # other lanes in the same blocks are solved again with those that are asked for
            total += left - (len(ids) * len(one.cells) - done_before[k])
            shown.expect(total, finished)
            shown.say(f"compiling{part}")
            for done in _carry_out(run, where):
                finished += done
                shown(finished)
        runs[0].store.consolidate()
        return assemble([(run.store, one.cells) for run, one in zip(runs, groups, strict=True)], grid, ids)


def _count_done(run: _Run, ids: np.ndarray) -> int:
    """How many of the lanes that are asked for are in whole blocks, and not to be solved again by another solver."""
    left = np.concatenate([run.todo, *(_waiting(run, turn) for turn in range(len(run.problems)))])
    there = np.isin(run.seed, ids)
    there[left] = False
    return int(np.sum(there))


def _settle(flow: Any, like: Any, t1: Any, stop: Any, how: Tolerances, record: Any, turn: int, values: dict[str, Any]) -> Settings:
    """A lane's settings in a turn, with those that the grid varies."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number | np.ndarray | jax.Array) or np.ndim(value) > 0:
            raise ValueError(f"the grid's values for {name!r} must be numbers, not {shown(value)}.")
    end = values.get("t1", t1)
    how = how._replace(**{name: value for name, value in values.items() if name != "t1"})
    tried = attempts(flow, like, end, how)
    attempt = tried[min(turn, len(tried) - 1)]
    dtype = jnp.result_type(*jax.tree.leaves(like))
    return make_settings(dtype, end, as_rules(stop), attempt.how, record=record, gives_up=attempt.gives_up)


def _problem(group: Group, record: Any, watch: dict, key: PRNGKeyArray, rules: tuple[AbstractStopRule, ...]) -> Problem:
    """What the lanes of a group share."""
    end = float(group.ends.min())
    relative = isinstance(record, int | np.integer) and bool(np.isfinite(end))
    check_limit(group.flow, end)
    like = like_start((group.flow, key))
    check_call(group.flow, like, rules, {})
    for flow in group.flows:
        check_independent(flow, None, key)
    check_memory(num_records(cast(Any, record)), like)
    times = record_times(cast(Any, record), 0.0, 1.0 if relative else end)
    plan = Plan(group.moving, times, relative)
    return Problem(group.flow, group.settings, plan, group.table, key, like, watch)


def _common_times(problems: list[Problem], groups: list[Group]) -> np.ndarray | None:
    """The record times, where all lanes have the same."""
    times = [
        np.asarray(problem.plan.times(jnp.asarray(end))) for problem, one in zip(problems, groups, strict=True) for end in set(one.ends)
    ]
    return times[0] if all(np.array_equal(some, times[0]) for some in times) else None


def _check_store(store: LaneStore, asked: dict, width: int | None) -> None:
    if store.format != FORMAT:
        raise ValueError(
            f"{store.name} has the format {store.format} of an earlier jaxdyn, which can be read with jaxdyn.open but not continued: "
            "name another place for the new run."
        )
    store.check_settings(asked)
    kept = int(store.attributes["width"])
    if width is not None and width != kept:
        raise ValueError(f"{store.name} was made with width={kept}, on which the last bits of a lane depend: leave width out to go on.")
    then, now = store.attributes["versions"], _versions()
    other = [f"{name} {then.get(name)} instead of {now.get(name)}" for name in {**then, **now} if then.get(name) != now.get(name)]
    if other:
        warnings.warn(
            f"{store.name} was begun with other versions of the packages ({', '.join(other)}): the new lanes may differ.", stacklevel=3
        )


def _versions() -> dict[str, str]:
    """The versions of the packages; of a jaxdyn that is not installed but worked on, also a hash of its source."""
    source = source_digest()
    return _platform.versions() | ({} if source is None else {"source of jaxdyn": source})


def _attributes(
    ladder: list[Problem],
    number: int,
    cells: list[tuple[int, ...]],
    grid: dict,
    asked: dict,
    lanes: int,
    width: int | None,
    devices: list,
) -> dict[str, Any]:
    """What a store says beside its data."""
    problem = ladder[0]
    methods = dict.fromkeys(describe_method(one.flow, one.settings, one.like) for one in ladder)
    return {
        "number": number,
        "width": choose_width(lanes, problem.size, devices) if width is None else int(width),
        "devices": len(devices),
        "lanes_at_first": lanes,
        "versions": _versions(),
        "platform": _platform.describe(),
        "convention": getattr(problem.flow, "convention", "not declared"),
        "method": "; where switched: ".join(methods),
        "param": layout(problem.like),
        "grid": json.dumps(grid),
        "cells": [list(map(int, cell)) for cell in cells],
        "fingerprint": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16],
    }


def _new_store(
    root: Any, path: str, name: str, kept: dict[str, Column], grid: dict, asked: dict, attributes: dict, in_memory: bool
) -> LaneStore:
    lanes, together = attributes["lanes_at_first"], attributes["width"] * attributes["devices"]
    # a block is what a kill may lose, a sixty-fourth of the run; and a file for each variable, which takes a millisecond
    block = 256 if in_memory else int(np.clip(max(together, lanes // 64), 8, 256))
    axes = {axis: (str(values.dtype), about) for axis, (values, about) in _lane_axes(grid).items()}
    beside = {"axes": axes, "time": grid["times"], "outcome": outcome_flags()}
    return LaneStore.create(root, path, name, kept, asked, block, attributes, beside)


def _lane_axes(grid: dict) -> dict[str, tuple[np.ndarray, dict]]:
    """The values of each axis of the grid that a file can be named after, as arrays; of what is no number the position, with the values."""
    found = {}
    for name, dim, values in grid["coords"]:
        if name == dim and not set(name) & FORBIDDEN:
            numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            found[name] = (np.asarray(values), {}) if numbers else (np.arange(len(values)), {"values": [str(value) for value in values]})
    return found


def _survey(store: LaneStore, ladder: list[Problem], handed_over: list[tuple[Outcome, ...]], ids: np.ndarray) -> _Run:
    """What is in a store of the lanes that are asked for, and which of them are still to do."""
    store.trim()
    seed, cell = store.lanes()
    needed = np.flatnonzero(np.isin(seed, ids).reshape(-1, store.block).any(axis=1))
    done, damaged = store.state(needed)
    warn_of_damage(store, damaged, "its lanes are computed again")
    open_blocks = np.isin(np.arange(store.blocks), needed) & ~done
    todo = np.flatnonzero(np.repeat(open_blocks, store.block) & (seed >= 0))
    return _Run(ladder, handed_over, store, seed, cell, todo, needed)


def _extend(run: _Run, cells: list[tuple[int, ...]], grid: dict, ids: np.ndarray, devices: list) -> _Run:
    """The same after the store has been extended by the seeds that are new."""
    store, (seed, _, order) = run.store, run.store.lists()
    new = ids[~np.isin(ids, seed)]
    if not len(new):
        return run
    fresh_seed, fresh_cell = np.repeat(new, len(cells)), np.tile(np.arange(len(cells)), len(new))
    fresh_order = np.repeat(order.max(initial=-1) + 1 + np.arange(len(new)), len(cells))
    if len(fresh_seed) > int(store.attributes["width"]) * len(devices):  # or all of them start at once
        by_cost = order_by_cost(run.problems[0], fresh_seed, fresh_cell)
        fresh_seed, fresh_cell, fresh_order = fresh_seed[by_cost], fresh_cell[by_cost], fresh_order[by_cost]
    dims, where = [name for name, _ in grid["dims"]], np.asarray(cells).reshape(len(cells), -1)[fresh_cell]
    axes = {name: values[where[:, dims.index(name)]] for name, (values, _) in _lane_axes(grid).items()}
    before = store.blocks
    store.extend(fresh_seed, fresh_cell, fresh_order, axes)
    seed, cell = store.lanes()
    fresh = before * store.block + np.flatnonzero(seed[before * store.block :] >= 0)
    blocks = np.arange(before, store.blocks)
    return run._replace(seed=seed, cell=cell, todo=np.append(run.todo, fresh), needed=np.append(run.needed, blocks))


def _values(run: _Run, key: str, places: np.ndarray) -> np.ndarray:
    """A quantity at places in blocks that are done."""
    blocks, which = np.unique(places // run.store.block, return_inverse=True)
    if not len(blocks):
        return np.zeros(0)
    return np.stack([run.store.values(key, int(block)) for block in blocks])[which, places % run.store.block]


def _waiting(run: _Run, turn: int) -> np.ndarray:
    """Places in blocks that are done whose lanes wait for a turn, because the other solver handed them over."""
    other = turn - 1
    if not run.handed_over[other]:
        return run.todo[:0]
    done = np.repeat(np.isin(np.arange(run.store.blocks), np.setdiff1d(run.needed, run.todo // run.store.block)), run.store.block)
    places = np.flatnonzero(done & (run.seed >= 0))
    there = np.isin(_values(run, "outcome", places), [int(one) for one in run.handed_over[other]])
    return places[there & (_values(run, "switched", places) == run.problems[other].switched)]


def _carry_out(run: _Run, devices: list) -> Iterator[int]:
    """Does what is still to do; yields the number of lanes as they are done."""
    yield from _advance(run, 0, run.todo, np.full(len(run.todo), np.nan), Blocks(run.store, run.seed >= 0), devices)
    run = run._replace(todo=run.todo[:0])
    for number, turn in enumerate(cycle(reversed(range(len(run.problems))))):
        todo = _waiting(run, turn)
        if number and not len(todo):  # only the turn before can have handed lanes over to this one
            return
        coming = np.zeros(len(run.seed), bool)
        coming[todo] = True
        projected = passed_on(_values(run, "outcome", todo), _values(run, "projected_steps", todo))
        yield from _advance(run, turn, todo, projected, Blocks(run.store, coming, over=True), devices)


def _advance(run: _Run, turn: int, todo: np.ndarray, projected: np.ndarray, blocks: Blocks, devices: list) -> Iterator[int]:
    """Solves the lanes at some places; yields how many of them are not handed over."""
    if not len(todo):
        return
    width = int(run.store.attributes["width"])
    goes_on = [int(one) for one in run.handed_over[turn]]
    batch = Batch(run.problems[turn], run.seed[todo], run.cell[todo], projected, width, devices[: min(len(devices), len(todo))])
    try:
        for places, rows in batch.run():
            for k, place in enumerate(todo[places]):
                blocks.add(int(place), {key: values[k] for key, values in rows.items()})
            yield int(np.sum(~np.isin(rows["outcome"], goes_on)))
    finally:  # after a full disk this fails with the same sentence
        before = int(run.store.attributes.get("lane_steps_computed", 0))
        run.store.note(lane_steps_computed=before + batch.iterations * width)
