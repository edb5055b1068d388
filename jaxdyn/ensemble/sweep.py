"""Seeds times a grid of settings, as one labelled Dataset."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from .. import _platform
from ..solve import AbstractStopRule, Observable, Outcome, RecordRequest, Tolerances, check_flow, describe_method, make_settings, observables, record_times
from ..store import Column, LaneStore, describe, open_root
from .batch import Problem, gates_of
from .dataset import assemble, label
from .grid import Axis, Group, Over, Plan, make_axes, make_groups
from .progress import progress_bar
from .run import Batch, Blocks, choose_width, order_by_cost


class _Run(NamedTuple):
    """One group of a sweep, ready to go: where it is kept and which places are still to do."""

    problem: Problem
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
    ids = np.arange(int(seeds)) if np.ndim(seeds) == 0 else np.asarray(seeds)
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
    key: PRNGKeyArray | None = None,
    out: str | Path | None = None,
    group: str | None = None,
    width: int | None = None,
    devices: Sequence[jax.Device] | None = None,
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
        t1: end time, unless the grid has it.
        record: a number of times (log-spaced up to each lane's t1), or the times themselves.
        observe: functions `(flow, t, params)` or `(flow, t, params, start)`; each becomes a variable over (..., seed, time) and,
            at the lane's end, `NAME_end`. A function's attribute `dims` names further dimensions.
        stop: as for `solve`.
        solver: as for `solve`.
        controller: as for `solve`.
        rtol: as for `solve`.
        atol: as for `solve`.
        dt0: as for `solve`.
        max_steps: as for `solve`.
        norm_bound: as for `solve`.
        key: the root key; `jax.random.key(0)` by default.
        out: a directory for the Zarr store; None keeps everything in memory.
        group: a group within the store, for several sweeps in one.
        width: slots a device; chosen for the device by default. Lanes agree bit for bit at one width, and to the solver's tolerance
            across widths.
        devices: all of the default backend's by default.
        progress: whether to draw a bar, or its label.

    Returns:
        A Dataset over the grid's dimensions, `seed`, `time` and more, with per lane: `params` (flat, see `final_params`), `gates`,
        `t_end`, `outcome`, the certificate's fields, the observables; attributes say what was done, in which convention of time.

    Raises:
        ValueError: the call makes no sense, or `out` holds a run of other settings; nothing is changed then.
    """
    ids = check_seeds(seeds)
    key = jr.key(0) if key is None else key
    if width is not None and (not isinstance(width, int | np.integer) or width < 1):
        raise ValueError(f"width={width!r} must be a positive integer, or None to have it chosen.")
    where = list(jax.devices() if devices is None else devices)
    if not where:
        raise ValueError("devices is empty: name at least one, or leave it out.")
    axes = make_axes(flow, over)
    groups = make_groups(flow, axes)
    gridded = [path for axis in axes for path in axis.paths]
    if t1 is None and "t1" not in gridded:
        raise ValueError("give an end time, t1=, or put 't1' on the grid.")
    how = Tolerances(solver, controller, rtol, atol, dt0 if "dt0" not in gridded else 1.0, max_steps, norm_bound)
    watch = observables(observe)
    asked = {
        "grid": [{"paths": list(axis.paths), "values": [describe(list(row)) for row in axis.values]} for axis in axes],
        "flow": describe(flow),
        "t1": t1,
        "record": describe(record),
        "solve": describe(how._asdict()) | {"stop": describe(stop)},
        "observe": {name: describe(function) for name, function in watch.items()},
        "key": describe(jr.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key),
    }
    problems = [_problem(group_, t1, record, stop, how, watch, key, gridded, axes) for group_ in groups]
    root, name = open_root(out, group)
    runs = [
        _prepare(root, f"lanes_{number}", name, problem, len(group_.cells), ids, asked, width, where)
        for number, (group_, problem) in enumerate(zip(groups, problems, strict=True))
    ]
    total = len(ids) * sum(len(group_.cells) for group_ in groups)
    finished = total - sum(int(np.isin(run.seed[run.todo], ids).sum()) for run in runs)
    bar = progress if isinstance(progress, str) else "sweep"
    with progress_bar(bar, total, finished, bool(progress)) as tick:
        for run in runs:
            blocks = Blocks(run.store, run.seed >= 0)
            own_width = int(run.store.attributes["width"])
            own_devices = where[: max(1, min(len(where), len(run.todo)))]
            batch = Batch(run.problem, run.seed[run.todo], run.cell[run.todo], own_width, own_devices)
            try:
                for places, kept in batch.run() if len(run.todo) else ():
                    rows = _rows(kept)
                    for k, place in enumerate(run.todo[places]):
                        blocks.add(int(place), {key: values[k] for key, values in rows.items()})
                    finished += len(places)
                    tick(finished)
            except KeyboardInterrupt:
                if out is not None:
                    print(f"\nStopped. Whole blocks are kept in {name}: the same call again does what is missing.")
                raise
            if len(run.todo):
                run.store.group.attrs["lane_steps_computed"] = int(run.store.attributes.get("lane_steps_computed", 0)) + batch.iterations * own_width
    return assemble([(run.store, group_) for run, group_ in zip(runs, groups, strict=True)], axes, ids)


def _problem(
    group: Group, t1: float | None, record: Any, stop: Any, how: Tolerances, watch: dict, key: PRNGKeyArray, gridded: list[str], axes: list[Axis]
) -> Problem:
    """What the lanes of a group share, with everything checked before the first of them runs."""
    flow = group.flow
    if not callable(getattr(flow, "init", None)):
        raise ValueError("a sweep starts every seed with flow.init(key), which this flow lacks.")
    like = eqx.filter_eval_shape(lambda f, k: f.init(k), flow, key)
    check_flow(flow, like)
    dtype = jnp.result_type(*jax.tree.leaves(like))
    column = {path: [row[k] for row in axis.values] for axis in axes for k, path in enumerate(axis.paths)}
    ends = [float(value) for value in column["t1"]] if "t1" in column else [t1]
    for values in zip(*(column.get(name, [getattr(how, name)]) for name in ("rtol", "atol")), strict=False):
        for end in ends:
            settings = make_settings(dtype, end, stop, how._replace(rtol=values[0], atol=values[1]))
    for value in column.get("rtol", []):
        _platform.check_tolerance(float(value), dtype)
    relative = isinstance(record, int | np.integer)
    if isinstance(record, str):
        raise ValueError("a sweep records at given times: give a number of times or the times; record='steps' is for solve.")
    times = record_times(record, 0.0, 1.0 if relative else min(ends))
    plan = Plan(group.paths, how.atol is None and "atol" not in gridded, times, relative)
    problem = Problem(flow, settings, plan, group.table, key, like, watch)
    return problem


def _prepare(
    root: Any, path: str, name: str, problem: Problem, cells: int, ids: np.ndarray, asked: dict, width: int | None, devices: list
) -> _Run:
    """Opens or makes the store of a group, extends it by the seeds that are new, and finds what is still to do."""
    params = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(problem.like))
    if path in root:
        store = LaneStore.open(root[path], name)
        store.check_settings(asked)
        kept = int(store.attributes["width"])
        if width is not None and width != kept:
            raise ValueError(f"{name} was made with width={kept}, on which the last bits of a lane depend: leave width out to go on.")
        if store.attributes["versions"] != _platform.versions():
            warnings.warn(f"{name} was begun with other versions of the packages: the new lanes may differ in their last bits.", stacklevel=4)
    else:
        width = choose_width(len(ids) * cells, params, devices) if width is None else int(width)
        block = int(np.clip(width * len(devices), 8, 256))
        attributes = {
            "width": width,
            "devices": len(devices),
            "versions": _platform.versions(),
            "platform": _platform.describe(),
            "convention": getattr(problem.flow, "convention", "not declared"),
            "method": describe_method(problem.settings),
            "param": label(problem.like),
            "fingerprint": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16],
        }
        store = LaneStore.create(root, path, name, _columns(problem), asked, block, attributes)
    seed, cell = store.lanes()
    new = np.setdiff1d(ids, seed)
    if len(new):
        new = ids[np.isin(ids, new)]  # in the order given
        fresh_seed, fresh_cell = np.repeat(new, cells), np.tile(np.arange(cells), len(new))
        order = order_by_cost(problem, fresh_seed, fresh_cell)
        store.extend(fresh_seed[order], fresh_cell[order])
        seed, cell = store.lanes()
    todo = np.flatnonzero(np.repeat(~store.done(), store.block) & (seed >= 0))
    return _Run(problem, store, seed, cell, todo)


def _columns(problem: Problem) -> dict[str, Column]:
    """What is kept of a lane, found by shapes alone."""

    def kept(problem: Problem) -> dict:
        values = problem.values(jnp.asarray(0))
        lane = problem.lane(values)
        params = lane.flow.init(problem.key)
        state = lane.start(params)
        times = problem.times(values)
        seen = {name: function for name, function in problem.watch.items()}
        from ..solve import evaluate

        states = jnp.broadcast_to(state.y, (times.size + 1, state.y.size))
        observed = evaluate(seen, lane.flow, jnp.append(times, state.t), states, params, lane.unravel, jnp.ones(times.size + 1, bool))
        return {
            "t": times,
            "t_end": state.t,
            "outcome": state.outcome,
            "certificate": state.certificate,
            "params": state.y,
            "gates": gates_of(lane.flow, params),
            "observed": observed,
        }

    try:
        shapes = eqx.filter_eval_shape(kept, problem)
    except (TypeError, IndexError, KeyError, AttributeError) as error:
        raise ValueError(f"an observable does not fit this flow: {' '.join(str(error).split())[:300]}") from error
    rows = _rows(jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), (1, *leaf.shape)), shapes))
    dims = {"t": ("time",), "params": ("param",), "gates": ("sample", "hidden")}
    for name, function in problem.watch.items():
        extra = rows[f"{name}_end"].ndim - 1
        own = getattr(function, "dims", None) or tuple(f"{name}_{k}" for k in range(extra))
        if len(own) != extra:
            raise ValueError(f"the observable {name!r} names the dimensions {own}, but has {extra}.")
        dims[f"{name}_end"], dims[name] = own, ("time", *own)
    return {key: Column(values.shape[1:], str(values.dtype), dims.get(key, ())) for key, values in rows.items()}


def _rows(kept: dict) -> dict[str, np.ndarray]:
    """What is kept of some lanes, flat: one array a variable, lanes first."""
    rows = {key: kept[key] for key in ("t", "t_end", "outcome", "params", "gates") if kept[key] is not None}
    rows |= {name: getattr(kept["certificate"], name) for name in kept["certificate"].__dataclass_fields__}
    for name, values in kept["observed"].items():
        rows[name], rows[f"{name}_end"] = values[:, :-1], values[:, -1]
    return {key: np.asarray(values) for key, values in rows.items()}


OUTCOMES = {outcome.name: int(outcome) for outcome in Outcome}
"""Names to the integers that stand in a Dataset's `outcome`."""
