"""Seeds times a grid of settings, as one labelled Dataset."""

import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
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
from .._checks import check_count, check_untraced
from ..flows import check_independent
from ..solve import (
    AbstractStopRule,
    KernelExponential,
    Observable,
    Outcome,
    RecordRequest,
    Settings,
    Tolerances,
    as_rules,
    begin_with,
    check_call,
    check_key,
    check_limit,
    check_memory,
    describe_method,
    make_settings,
    num_records,
    observables,
    record_times,
)
from ..store import Column, LaneStore, describe, only_writer, open_root
from .batch import Problem
from .cost import order_by_cost
from .dataset import assemble, label
from .grid import Group, Over, Plan, make_axes, make_groups
from .kept import columns
from .progress import progress_bar
from .run import Batch, Blocks, choose_width
from .shapes import check_devices, check_progress, like_start


class _Run(NamedTuple):
    """One group of a sweep, ready to go: where it is kept, which places are still to do, and how those too stiff for it begin anew."""

    problem: Problem
    again: Problem | None
    store: LaneStore
    seed: np.ndarray
    cell: np.ndarray
    todo: np.ndarray


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
        raise ValueError(f"seeds must be a number of seeds or a list of ids, not {seeds!r}.")
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
        solver: as for `solve`; by default each lane that is too stiff for Tsit5 begins anew with KernelExponential, and is `switched`.
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
        progress: whether to draw a bar, or its label.

    Returns:
        A Dataset over the grid's dimensions, `seed`, `time` and more, with per lane: `params` (flat, see `final_params`), `gates`,
        `t_end`, `outcome`, `switched`, the certificate's fields, the observables; attributes say what was done, in which convention of
        time.

    Raises:
        ValueError: the call makes no sense, `out` holds a run of other settings, or another run is writing there; nothing is changed
            then.
        KeyboardInterrupt: Ctrl-C; what is done is kept in `out`.
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

    def grouped(how: Tolerances) -> tuple[list[Group], list[Problem]]:
        groups = make_groups(
            flow, axes, lambda own: partial(_settle, own, jnp.result_type(*jax.tree.leaves(like_start((own, key)))), t1, rules, how, record)
        )
        return groups, [_problem(one, record, watch, key, rules) for one in groups]

    groups, problems = grouped(how)
    again: list[Problem | None] = [None] * len(groups)
    if any(_may_switch(problem) for problem in problems):
        others = grouped(how._replace(solver=KernelExponential()))[1]
        again = [replace(other, again=True) if _may_switch(problem) else None for problem, other in zip(problems, others, strict=True)]
    taken = tuple(axis.name for axis in axes)
    kept = [columns(problem, taken) for problem in problems]
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
    root, name = open_root(out, group)
    with only_writer(out):
        found = [LaneStore.find(root, f"lanes_{k}", name) for k in range(len(groups))]
        for store in found:
            if store is not None:
                _check_store(store, asked, width)
        runs = []
        for k, (one, problem) in enumerate(zip(groups, problems, strict=True)):
            store = found[k]
            if store is None:
                store = _new_store(root, k, name, (problem, again[k]), len(ids) * len(one.cells), kept[k], asked, width, where, out is None)
            runs.append(_prepare(store, problem, again[k], len(one.cells), ids, where))
        left = [np.append(run.todo, _too_stiff(run)) for run in runs]
        finished = len(ids) * sum(len(one.cells) for one in groups) - sum(
            int(np.isin(run.seed[places], ids).sum()) for run, places in zip(runs, left, strict=True)
        )
        total = finished + sum(map(len, left))
        bar = progress if isinstance(progress, str) else "sweep"
        with progress_bar(bar, total, finished, bool(progress)) as tick:
            try:
                for run in runs:
                    for done in _carry_out(run, where):
                        finished += done
                        tick(finished)
            except KeyboardInterrupt:
                if out is not None:
                    print(f"\nStopped. Whole blocks are kept in {name}: the same call again does what is missing.", file=sys.stderr)
                raise
        return assemble([(run.store, one) for run, one in zip(runs, groups, strict=True)], axes, ids, _common_times(problems, groups))


def _may_switch(problem: Problem) -> bool:
    return any(rule.outcome is Outcome.too_stiff for rule in problem.settings.rules)


def _settle(flow: Any, dtype: jnp.dtype, t1: Any, stop: Any, how: Tolerances, record: Any, values: dict[str, Any]) -> Settings:
    """A lane's settings, with those that the grid varies."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number | np.ndarray | jax.Array) or np.ndim(value) > 0:
            raise ValueError(f"the grid's values for {name!r} must be numbers, not {value!r:.60}.")
    end = values.get("t1", t1)
    how = how._replace(**{name: value for name, value in values.items() if name != "t1"})
    how, watch_out = begin_with(flow, end, how)
    return make_settings(dtype, end, (*as_rules(stop), *watch_out), how, record=record)


def _problem(group: Group, record: Any, watch: dict, key: PRNGKeyArray, rules: tuple[AbstractStopRule, ...]) -> Problem:
    """What the lanes of a group share."""
    end = float(group.ends.min())
    relative = isinstance(record, int | np.integer) and bool(np.isfinite(end))
    check_limit(group.flow, end)
    like = like_start((group.flow, key))
    check_call(group.flow, like, rules, {})
    check_independent(group.flow, None, key)
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
    store.check_settings(asked)
    kept = int(store.attributes["width"])
    if width is not None and width != kept:
        raise ValueError(f"{store.name} was made with width={kept}, on which the last bits of a lane depend: leave width out to go on.")
    if store.attributes["versions"] != _platform.versions():
        warnings.warn(
            f"{store.name} was begun with other versions of the packages: the new lanes may differ in their last bits.", stacklevel=3
        )


def _new_store(
    root: Any,
    number: int,
    name: str,
    both: tuple[Problem, Problem | None],
    lanes: int,
    kept: dict[str, Column],
    asked: dict,
    width: int | None,
    devices: list,
    in_memory: bool,
) -> LaneStore:
    problem, *others = (one for one in both if one is not None)
    methods = [describe_method(one.flow, one.settings, one.like) for one in (problem, *others)]
    width = choose_width(lanes, problem.size, devices) if width is None else int(width)
    # a block is what a kill may lose, a sixty-fourth of the run; and a file for each variable, which takes a millisecond
    block = 256 if in_memory else int(np.clip(max(width * len(devices), lanes // 64), 8, 256))
    attributes = {
        "width": width,
        "devices": len(devices),
        "versions": _platform.versions(),
        "platform": _platform.describe(),
        "convention": getattr(problem.flow, "convention", "not declared"),
        "method": "; where switched: ".join(methods),
        "param": label(problem.like),
        "fingerprint": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16],
    }
    return LaneStore.create(root, f"lanes_{number}", name, kept, asked, block, attributes)


def _prepare(store: LaneStore, problem: Problem, again: Problem | None, cells: int, ids: np.ndarray, devices: list) -> _Run:
    """Extends a store by the seeds that are new, and finds what is still to do."""
    store.mend()
    seed, cell = store.lanes()
    new = ids[~np.isin(ids, seed)]
    if len(new):
        fresh_seed, fresh_cell = np.repeat(new, cells), np.tile(np.arange(cells), len(new))
        if len(fresh_seed) > int(store.attributes["width"]) * len(devices):  # or all of them start at once
            order = order_by_cost(problem, fresh_seed, fresh_cell)
            fresh_seed, fresh_cell = fresh_seed[order], fresh_cell[order]
        store.extend(fresh_seed, fresh_cell)
        seed, cell = store.lanes()
    needed = np.isin(seed, ids).reshape(-1, store.block).any(axis=1)
    todo = np.flatnonzero(np.repeat(needed & ~store.done(), store.block) & (seed >= 0))
    return _Run(problem, again, store, seed, cell, todo)


def _too_stiff(run: _Run) -> np.ndarray:
    """Places in blocks that are done whose lanes are to begin anew."""
    if run.again is None:
        return np.zeros(0, int)
    stiff = (run.seed >= 0) & (run.store.values("outcome") == int(Outcome.too_stiff))
    stiff[run.todo] = False
    return np.flatnonzero(stiff)


def _carry_out(run: _Run, devices: list) -> Iterator[int]:
    """Does what is still to do; yields the number of lanes as they are done."""
    yield from _advance(run, run.problem, run.todo, Blocks(run.store, run.seed >= 0), devices)
    if run.again is not None:
        stiff = _too_stiff(run._replace(todo=run.todo[:0]))
        coming = np.zeros(len(run.seed), bool)
        coming[stiff] = True
        yield from _advance(run, run.again, stiff, Blocks(run.store, coming, over=True), devices)


def _advance(run: _Run, problem: Problem, todo: np.ndarray, blocks: Blocks, devices: list) -> Iterator[int]:
    """Solves the lanes at some places."""
    if not len(todo):
        return
    width = int(run.store.attributes["width"])
    batch = Batch(problem, run.seed[todo], run.cell[todo], width, devices[: min(len(devices), len(todo))])
    try:
        for places, rows in batch.run():
            for k, place in enumerate(todo[places]):
                blocks.add(int(place), {key: values[k] for key, values in rows.items()})
            yield int(np.sum(rows["outcome"] != int(Outcome.too_stiff)))
    finally:
        before = int(run.store.attributes.get("lane_steps_computed", 0))
        run.store.note(lane_steps_computed=before + batch.iterations * width)
