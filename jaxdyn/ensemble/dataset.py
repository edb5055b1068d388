"""From blocks of lanes to a labelled Dataset, and back to parameters."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import xarray as xr
from jaxtyping import PyTree

from ..solve import Outcome
from ..store import LaneStore
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


def assemble(parts: list[tuple[LaneStore, Group]], axes: list[Axis], ids: np.ndarray) -> xr.Dataset:
    """One Dataset of all groups of a sweep.

    Args:
        parts: each group's store and cells.
        axes: the grid.
        ids: the seeds that are asked for.

    Returns:
        The Dataset; where groups differ in shape the shorter arrays are padded with NaN.
    """
    read = [(store.read(), store.lanes(), group) for store, group in parts]
    grid_shape = tuple(len(axis.values) for axis in axes)
    grid_dims = tuple(axis.name for axis in axes)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    keys = list(dict.fromkeys(key for (_, data), _, _ in read for key in data))
    for key in keys:
        having = [(data[key], lanes, group) for (_, data), lanes, group in read if key in data]
        tail = tuple(np.max([values.shape[1:] for values, _, _ in having], axis=0)) if having[0][0].ndim > 1 else ()
        dtype = np.result_type(*(values.dtype for values, _, _ in having))
        full = np.full((*grid_shape, len(ids), *map(int, tail)), np.nan if dtype.kind == "f" else 0, dtype)
        for values, (seed, cell), group in having:
            position = {int(s): k for k, s in enumerate(ids)}
            places = np.flatnonzero(np.isin(seed, ids))
            where = np.asarray([[*group.cells[cell[p]], position[int(seed[p])]] for p in places]).T
            region = tuple(slice(0, n) for n in values.shape[1:])
            full[(*where, *region)] = values[places]
        own = parts[0][0].group[f"data/{key}"].metadata.dimension_names[1:]  # pyright: ignore[reportAttributeAccessIssue, reportOptionalSubscript]
        variables[key] = ((*grid_dims, "seed", *own), full)
    coords: dict[str, Any] = {"seed": ids}
    for axis in axes:
        for k, path in enumerate(axis.paths):
            name = axis.name if k == 0 else path
            coords[name] = (axis.name, _coordinate(axis, k))
    t = variables.pop("t")[1]
    flat = t.reshape(-1, t.shape[-1])
    longest = flat[np.argmax(np.isfinite(flat).sum(1))]
    if np.all(np.isnan(flat) | (flat == longest)) and np.all(np.isfinite(longest)):
        coords["time"] = longest
    else:
        variables["t"] = ((*grid_dims, "seed", "time"), t)
    stores = [store for store, _ in parts]
    if len(stores) == 1:
        coords["param"] = _param_names(stores[0].attributes["param"])
    first = stores[0].attributes
    attributes = {
        "settings": first["settings"],
        "convention": first["convention"],
        "method": first["method"],
        "versions": json.dumps(first["versions"]),
        "platform": json.dumps(first["platform"]),
        "width": [int(store.attributes["width"]) for store in stores],
        "devices": int(first["devices"]),
        "param_layout": json.dumps(first["param"]) if len(stores) == 1 else "differs between groups",
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
    """
    like = jax.eval_shape(lambda: flow.init(jax.random.key(0)))
    flat = np.asarray(ds["params"].sel(seed=seed, **cell))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    vector, unravel = jax.flatten_util.ravel_pytree(zeros)
    return unravel(jnp.asarray(flat[: vector.size], vector.dtype))


def summarise(ds: xr.Dataset, quantiles: tuple[float, ...] = (0.1, 0.5, 0.9), bootstrap: int = 1000) -> xr.Dataset:
    """Over the seeds: quantiles, and the bootstrap's standard error of the median.

    Args:
        ds: a sweep's Dataset.
        quantiles: which; 0.5 is the median.
        bootstrap: resamplings of the seeds (with a fixed seed of its own).

    Returns:
        For each floating variable X: X over `quantile`, and X_stderr. NaN lanes are left out.
    """
    numeric = ds[[name for name in ds.data_vars if "seed" in ds[name].dims and ds[name].dtype.kind == "f" and name not in ("params", "gates")]]
    found = numeric.quantile(list(quantiles), dim="seed", skipna=True)
    rng = np.random.default_rng(0)
    draws = [numeric.isel(seed=rng.integers(0, ds.sizes["seed"], ds.sizes["seed"])).median("seed") for _ in range(bootstrap)]
    errors = xr.concat(draws, dim="draw").std("draw")
    found = found.merge(errors.rename({name: f"{name}_stderr" for name in errors.data_vars}))
    found.attrs = dict(ds.attrs)
    return found


def outcome_counts(ds: xr.Dataset) -> dict[str, int]:
    """How many lanes ended for which reason; outcomes that did not happen are left out."""
    values, counts = np.unique(np.asarray(ds["outcome"]), return_counts=True)
    return {Outcome(int(value)).name: int(count) for value, count in zip(values, counts, strict=True)}
