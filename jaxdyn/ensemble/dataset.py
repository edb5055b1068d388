"""From blocks of lanes to a labelled Dataset, and back to parameters."""

import json
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._checks import check_count, is_real, shown
from .._describe import describe, named_difference
from .._repr import table_html
from ..solve import Outcome
from ..solve.solution import layout
from ..store import MISSING, LaneStore, blank
from .grid import OF_THE_SOLVE, Axis

MOST_RESAMPLINGS = 10**6
"""Of a bootstrap."""
RESAMPLED = 10**7
"""Medians that it holds at once."""
Part = tuple[LaneStore, list[tuple[int, ...]]]
"""A store, and the places of its cells on the grid."""


def _coordinate(axis: Axis, position: int) -> list[Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, bool | int | float | str):
            return value
        if hasattr(value, "shape") and np.ndim(value) == 0:
            return np.asarray(value).item()
        name = getattr(value, "name", None)
        return name if isinstance(name, str) else None

    values = [plain(row[position]) for row in axis.values]
    return list(range(len(values))) if any(value is None for value in values) or len({str(v) for v in values}) < len(values) else values


def _sizes(parts: list[Part]) -> dict[str, int]:
    """The size of each dimension: the largest in any group."""
    sizes: dict[str, int] = {}
    for store, _ in parts:
        for column in store.columns.values():
            for dim, size in zip(column.dims, column.shape, strict=True):
                sizes[dim] = max(size, sizes.get(dim, 0))
    return sizes


def grid_of(axes: list[Axis], times: np.ndarray | None) -> dict[str, Any]:
    """The grid as plain values, so that a store can be read without the flow.

    Args:
        axes: its axes.
        times: the record times, if all lanes have the same.

    Returns:
        Keys `dims` (names and sizes), `coords` (name, dimension and values of each) and `times`.
    """
    return {
        "dims": [[axis.name, len(axis.values)] for axis in axes],
        "coords": [[path if k else axis.name, axis.name, _coordinate(axis, k)] for axis in axes for k, path in enumerate(axis.paths)],
        "times": None if times is None else times.tolist(),
    }


def _scatter(parts: list[Part], grid: dict[str, Any], ids: np.ndarray, partial: bool) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The variables over the grid and the seeds, read block by block."""
    names, outer = (*(name for name, _ in grid["dims"]), "seed"), (*(size for _, size in grid["dims"]), len(ids))
    sizes, place_of = _sizes(parts), {int(seed): k for k, seed in enumerate(ids)}
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for key in dict.fromkeys(key for store, _ in parts for key in store.columns):
        having = [store.columns[key] for store, _ in parts if key in store.columns]
        dims, dtype = having[0].dims, np.result_type(*(column.dtype for column in having))
        found[key] = ((*names, *dims), np.full((*outer, *(sizes[dim] for dim in dims)), blank(dtype, key), dtype))
    for store, cells in parts:
        seed, cell = store.lanes()
        asked = np.isin(seed, ids)
        blocks = np.flatnonzero(asked.reshape(-1, store.block).any(axis=1))
        if partial:
            done, damaged = store.state(blocks)
            warn_of_damage(store, damaged, "its lanes are left out")
            blocks = blocks[done[blocks]]
        for block in blocks:
            rows, first = store.read(int(block)), int(block) * store.block
            slots = np.flatnonzero(asked[first : first + store.block])
            where = tuple(np.asarray([(*cells[cell[first + k]], place_of[int(seed[first + k])]) for k in slots]).T)
            for key, values in rows.items():
                found[key][1][(*where, *(slice(0, n) for n in values.shape[1:]))] = values[slots]
    return found


def warn_of_damage(store: LaneStore, damaged: np.ndarray, what: str) -> None:
    """Warns of blocks that do not fit their marks.

    Args:
        store: the store.
        damaged: whether each block is.
        what: what is done about it.
    """
    if damaged.any():
        named = ", ".join(map(str, np.flatnonzero(damaged)[:10])) + (", ..." if damaged.sum() > 10 else "")
        warnings.warn(f"{store.name} is damaged in block {named}, or it stands in the wrong place: {what}.", stacklevel=4)


def outcome_flags() -> dict[str, Any]:
    """The outcomes as CF flags (CF conventions 1.11, section 3.5)."""
    named = {"missing": MISSING, **{outcome.name: int(outcome) for outcome in Outcome}}
    return {"flag_values": list(named.values()), "flag_meanings": " ".join(named)}


def assemble(parts: list[Part], grid: dict[str, Any], ids: np.ndarray, *, partial: bool = False) -> xr.Dataset:
    """One Dataset of all groups of a sweep.

    Args:
        parts: each group's store and the places of its cells on the grid.
        grid: as `grid_of` makes it.
        ids: the seeds that are asked for.
        partial: whether lanes may be missing; they have the outcome -1 then.

    Returns:
        The Dataset; where groups differ in shape the shorter arrays are padded with NaN.
    """
    variables: dict[str, Any] = dict(_scatter(parts, grid, ids, partial))
    variables["outcome"] = (*variables["outcome"], outcome_flags())
    coords: dict[str, Any] = {"seed": ids}
    coords |= {name: (dim, values) for name, dim, values in grid["coords"]}
    if grid["times"] is not None:
        coords["time"] = np.asarray(grid["times"], float)
        del variables["t"]  # it would say once more which records were made
    stores = [store for store, _ in parts]
    first = stores[0].attributes
    layouts = [store.attributes["param"] for store in stores]
    different = [layout for k, layout in enumerate(layouts) if layout not in layouts[:k]]
    if len(different) == 1:
        coords["param"] = _param_names(first["param"])
    else:
        which = np.zeros([size for _, size in grid["dims"]], int)
        for (_, cells), layout in zip(parts, layouts, strict=True):
            which[tuple(np.asarray(cells).T)] = different.index(layout)
        coords["layout"] = ([name for name, _ in grid["dims"]], which)
    attributes = {
        "settings": first["settings"],
        "convention": first["convention"],
        "method": first["method"],
        "versions": json.dumps(first["versions"]),
        "platform": json.dumps(first["platform"]),
        "width": [int(store.attributes["width"]) for store in stores],
        "devices": int(first["devices"]),
        "param_layout": json.dumps(different[0] if len(different) == 1 else different),
        "outcomes": json.dumps({outcome.name: int(outcome) for outcome in Outcome}),
        "fingerprint": first["fingerprint"],
        "lane_steps_computed": sum(int(store.attributes.get("lane_steps_computed", 0)) for store in stores),
    }
    return xr.Dataset(variables, coords=coords, attrs=attributes)


def _param_names(layout: list[list]) -> list[str]:
    names: list[str] = []
    for path, shape in layout:
        names += [path + (f"[{','.join(map(str, index))}]" if shape else "") for index in np.ndindex(*shape)]
    return names


def final_params(ds: xr.Dataset, flow: Any, seed: int, **cell: Any) -> PyTree:
    """The parameters at the end of one lane, as the flow wants them.

    Args:
        ds: a sweep's Dataset.
        flow: its flow (with the static settings of the cell, where those were varied).
        seed: the lane's seed.
        **cell: its coordinates on the grid, by the names of the Dataset's dimensions.

    Returns:
        The parameters.

    Raises:
        ValueError: there is no such lane, or several, or it is of another flow.
    """
    if not isinstance(ds, xr.Dataset) or "params" not in ds:
        raise ValueError(f"final_params takes the Dataset of a sweep, not {shown(ds)}.")
    if not callable(getattr(flow, "init", None)):
        raise ValueError(f"final_params takes the sweep's flow, which has init(key), not {shown(flow)}.")
    check_count("seed", seed, 0)
    grid = [str(dim) for dim in ds["params"].dims if dim not in ("seed", "param")]
    if set(cell) != set(grid):
        raise ValueError(
            f"name the lane's place on the grid by {', '.join(grid) or 'nothing but the seed'}, not by {', '.join(cell) or 'nothing'}."
        )
    for name, value in cell.items():
        if np.ndim(value) != 0:
            raise ValueError(f"{name}={shown(value)} must be one value of the grid.")
    try:
        flat = np.asarray(ds["params"].sel(seed=seed, **cell))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the Dataset has no lane with seed={seed} {cell}: see its coordinates.") from error
    like = eqx.filter_eval_shape(lambda f, k: f.init(k), flow, jax.random.key(0))
    vector, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))
    if vector.size > flat.size or not np.all(np.isnan(flat[vector.size :])):
        raise ValueError(f"the flow has {vector.size} parameters, but the lane has others: give the flow with the cell's static settings.")
    if "param_layout" not in ds.attrs:
        raise ValueError(
            "the Dataset has lost its attributes, so nothing says which parameters these are: take the one that sweep returned."
        )
    layouts = json.loads(ds.attrs["param_layout"])
    there = layouts[int(ds["layout"].sel(cell) if cell else ds["layout"])] if "layout" in ds.coords else layouts
    if difference := named_difference(there, layout(like), "params"):
        raise ValueError(f"the lane is of another network, with {difference}: give the flow with the cell's static settings.")
    check_same_flow(ds.attrs.get("settings"), flow)
    return unravel(jnp.asarray(flat[: vector.size], vector.dtype))


def check_same_flow(settings: str | None, flow: Any) -> None:
    """Refuses a flow that differs from the one that was swept, other than in what the grid varies.

    Args:
        settings: the attribute of the Dataset; None where it is lost, which compares nothing.
        flow: the flow.

    Raises:
        ValueError: it differs.
    """
    if settings is None:
        return
    swept = json.loads(settings)
    old, new = swept["flow"], json.loads(json.dumps(describe(flow)))
    for axis in swept["grid"]:
        for path in (path for path in axis["paths"] if path not in OF_THE_SOLVE):
            for tree in (old, new):
                _drop(tree, path.split("."))
        if any(isinstance(value, dict) for row in axis["values"] for value in row):  # what is varied may bring code of its own
            shared = [set(tree.get("uses", ())) for tree in (old, new)]
            for tree in (old, new):
                tree["uses"] = {key: value for key, value in tree.get("uses", {}).items() if key in shared[0] & shared[1]}
    if difference := named_difference(old, new, "flow"):
        raise ValueError(f"the Dataset was made with {difference}: give the flow that was swept.")


def _drop(tree: Any, path: list[str]) -> None:
    """Takes what a path leads to out of a description."""
    for part in path[:-1]:
        tree = tree[int(part)] if isinstance(tree, list) else tree.get(part, {})
    if isinstance(tree, list):
        tree[int(path[-1])] = None
    else:
        tree.pop(path[-1], None)


def summarise(ds: xr.Dataset, quantiles: tuple[float, ...] = (0.1, 0.5, 0.9), bootstrap: int = 1000) -> xr.Dataset:
    """Over the seeds: quantiles, and the bootstrap's standard error of the median.

    Args:
        ds: a sweep's Dataset.
        quantiles: which; 0.5 is the median.
        bootstrap: resamplings of the seeds (with a fixed seed of its own).

    Returns:
        For each floating variable X: X over `quantile`, and X_stderr. NaN lanes are left out.

    Raises:
        ValueError: a quantile is not in [0, 1], or there are not between 2 and 1e6 resamplings.
    """
    if not isinstance(ds, xr.Dataset) or "seed" not in ds.sizes:
        raise ValueError(f"summarise takes the Dataset of a sweep, with the dimension seed, not {shown(ds)}.")
    bootstrap = check_count("bootstrap", bootstrap, 2, MOST_RESAMPLINGS)
    listed = isinstance(quantiles, list | tuple | np.ndarray)
    if not listed or len(quantiles) == 0 or not all(is_real(q) and 0 <= q <= 1 for q in quantiles):
        raise ValueError(f"quantiles={shown(quantiles)} must be a list of numbers in [0, 1], at least one.")
    draws = np.random.default_rng(0).integers(0, ds.sizes["seed"], (bootstrap, ds.sizes["seed"]))
    found: dict[str, tuple[tuple, np.ndarray]] = {}
    for name, variable in ds.data_vars.items():
        if "seed" not in variable.dims or variable.dtype.kind != "f" or name in ("params", "gates"):
            continue
        dims = tuple(dim for dim in variable.dims if dim != "seed")
        values = np.moveaxis(np.asarray(variable), variable.dims.index("seed"), 0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice|Degrees of freedom", RuntimeWarning)
            found[str(name)] = (("quantile", *dims), np.nanquantile(values, quantiles, axis=0))
            found[f"{name}_stderr"] = (dims, _error_of_median(values.reshape(len(values), -1).T, draws).reshape(values.shape[1:]))
    kept = {name: coord for name, coord in ds.coords.items() if "seed" not in coord.dims and "param" not in coord.dims}
    return xr.Dataset(found, coords={"quantile": list(quantiles), **kept}, attrs=dict(ds.attrs))


def _error_of_median(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The standard error of the median over the last axis, by resampling; NaN is left out."""
    found, rows = np.empty(len(values)), max(1, RESAMPLED // len(draws))
    whole = ~np.any(np.isnan(values), axis=1)
    for which, median in ((whole, np.median), (~whole, np.nanmedian)):  # the second is ten times as slow
        places = np.flatnonzero(which)
        for some in (places[k : k + rows] for k in range(0, len(places), rows)):
            medians = np.stack([median(values[some[:, None], draw[None, :]], axis=1) for draw in draws])
            found[some] = np.nanstd(medians, axis=0, ddof=1)
    return found


class OutcomeCounts(dict[str, int]):
    """Names of outcomes to numbers of lanes: a dictionary that notebooks show as a table."""

    def _repr_html_(self) -> str:
        return table_html("Outcomes", {name: str(count) for name, count in self.items()}, f"of {sum(self.values())} lanes")


def outcome_counts(ds: xr.Dataset) -> OutcomeCounts:
    """How many lanes ended for which reason; outcomes that did not happen are left out.

    Args:
        ds: a sweep's Dataset.

    Returns:
        Names of outcomes to numbers of lanes.

    Raises:
        ValueError: it is no such Dataset.
    """
    if not isinstance(ds, xr.Dataset) or "outcome" not in ds:
        raise ValueError(f"outcome_counts takes the Dataset of a sweep, not {shown(ds)}.")
    values, counts = np.unique(np.asarray(ds["outcome"]), return_counts=True)
    names = {MISSING: "missing", **{int(outcome): outcome.name for outcome in Outcome}}
    return OutcomeCounts({names[int(value)]: int(count) for value, count in zip(values, counts, strict=True)})
