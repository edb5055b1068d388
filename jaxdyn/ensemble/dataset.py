"""From blocks of lanes to a labelled Dataset, and back to parameters."""

import json
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._checks import check_count, is_real, shown
from ..solve import Outcome
from ..store import LaneStore, blank
from .grid import Axis, Group


def label(like: PyTree) -> list[list]:
    """Names and shapes of the parameters, in the order of the flat vector."""
    return [[jtu.keystr(path, simple=True, separator="."), list(leaf.shape)] for path, leaf in jtu.tree_leaves_with_path(like)]


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


def _sizes(parts: list[tuple[LaneStore, Group]]) -> dict[str, int]:
    """The size of each dimension: the largest in any group."""
    sizes: dict[str, int] = {}
    for store, _ in parts:
        for column in store.columns.values():
            for dim, size in zip(column.dims, column.shape, strict=True):
                sizes[dim] = max(size, sizes.get(dim, 0))
    return sizes


def _scatter(parts: list[tuple[LaneStore, Group]], axes: list[Axis], ids: np.ndarray) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The variables over the grid and the seeds, read block by block."""
    outer, grid = (*(len(axis.values) for axis in axes), len(ids)), (*(axis.name for axis in axes), "seed")
    sizes, place_of = _sizes(parts), {int(seed): k for k, seed in enumerate(ids)}
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for key in dict.fromkeys(key for store, _ in parts for key in store.columns):
        having = [store.columns[key] for store, _ in parts if key in store.columns]
        dims, dtype = having[0].dims, np.result_type(*(column.dtype for column in having))
        found[key] = ((*grid, *dims), np.full((*outer, *(sizes[dim] for dim in dims)), blank(dtype), dtype))
    for store, group in parts:
        seed, cell = store.lanes()
        asked = np.isin(seed, ids)
        for block in np.flatnonzero(asked.reshape(-1, store.block).any(axis=1)):
            rows, first = store.read(int(block)), int(block) * store.block
            slots = np.flatnonzero(asked[first : first + store.block])
            where = tuple(np.asarray([(*group.cells[cell[first + k]], place_of[int(seed[first + k])]) for k in slots]).T)
            for key, values in rows.items():
                found[key][1][(*where, *(slice(0, n) for n in values.shape[1:]))] = values[slots]
    return found


def assemble(parts: list[tuple[LaneStore, Group]], axes: list[Axis], ids: np.ndarray, times: np.ndarray | None) -> xr.Dataset:
    """One Dataset of all groups of a sweep.

    Args:
        parts: each group's store and cells.
        axes: the grid.
        ids: the seeds that are asked for.
        times: the record times, if all lanes have the same.

    Returns:
        The Dataset; where groups differ in shape the shorter arrays are padded with NaN.
    """
    variables = _scatter(parts, axes, ids)
    coords: dict[str, Any] = {"seed": ids}
    for axis in axes:
        for k, path in enumerate(axis.paths):
            coords[axis.name if k == 0 else path] = (axis.name, _coordinate(axis, k))
    if times is not None:
        coords["time"] = times
        del variables["t"]  # it would say once more which records were made
    stores = [store for store, _ in parts]
    first = stores[0].attributes
    same_params = all(store.attributes["param"] == first["param"] for store in stores)
    if same_params:
        coords["param"] = _param_names(first["param"])
    attributes = {
        "settings": first["settings"],
        "convention": first["convention"],
        "method": first["method"],
        "versions": json.dumps(first["versions"]),
        "platform": json.dumps(first["platform"]),
        "width": [int(store.attributes["width"]) for store in stores],
        "devices": int(first["devices"]),
        "param_layout": json.dumps(first["param"]) if same_params else "differs between groups",
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
    try:
        flat = np.asarray(ds["params"].sel(seed=seed, **cell))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the Dataset has no lane with seed={seed} {cell}: see its coordinates.") from error
    like = eqx.filter_eval_shape(lambda f, k: f.init(k), flow, jax.random.key(0))
    vector, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))
    if vector.size > flat.size or not np.all(np.isnan(flat[vector.size :])):
        raise ValueError(f"the flow has {vector.size} parameters, but the lane has others: give the flow with the cell's static settings.")
    return unravel(jnp.asarray(flat[: vector.size], vector.dtype))


def summarise(ds: xr.Dataset, quantiles: tuple[float, ...] = (0.1, 0.5, 0.9), bootstrap: int = 1000) -> xr.Dataset:
    """Over the seeds: quantiles, and the bootstrap's standard error of the median.

    Args:
        ds: a sweep's Dataset.
        quantiles: which; 0.5 is the median.
        bootstrap: resamplings of the seeds (with a fixed seed of its own).

    Returns:
        For each floating variable X: X over `quantile`, and X_stderr. NaN lanes are left out.

    Raises:
        ValueError: a quantile is not in [0, 1], or there are fewer than two resamplings.
    """
    if not isinstance(ds, xr.Dataset) or "seed" not in ds.sizes:
        raise ValueError(f"summarise takes the Dataset of a sweep, with the dimension seed, not {shown(ds)}.")
    bootstrap = check_count("bootstrap", bootstrap, 2)
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
            medians = np.stack([np.nanmedian(values[draw], axis=0) for draw in draws])
            found[f"{name}_stderr"] = (dims, np.nanstd(medians, axis=0, ddof=1))
    kept = {name: coord for name, coord in ds.coords.items() if "seed" not in coord.dims and "param" not in coord.dims}
    return xr.Dataset(found, coords={"quantile": list(quantiles), **kept}, attrs=dict(ds.attrs))


def outcome_counts(ds: xr.Dataset) -> dict[str, int]:
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
    return {Outcome(int(value)).name: int(count) for value, count in zip(values, counts, strict=True)}
