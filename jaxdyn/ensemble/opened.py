"""Stores read without the script that made them."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..store import LaneStore, find_stores, groups_of, read_root
from .dataset import assemble, grid_of
from .grid import OF_THE_SOLVE, Axis, axis_names


def open(path: str | Path, group: str | None = None) -> xr.Dataset:
    """Reads the store of a sweep without the flow that made it.

    It can be read while the sweep runs. Only whole blocks count: a lane whose block is not done, or is damaged, has the outcome -1
    (`missing`) and no values; `ds.where(ds.outcome >= 0)` leaves such lanes out.

    Args:
        path: the directory that `sweep` was given as `out`.
        group: the group within it, where `sweep` was given one.

    Returns:
        The Dataset that `sweep` returned, of all seeds in the store in the order in which they were asked for. A store of format 2 has
        them in ascending order.

    Raises:
        ValueError: there is no such store, it holds several sweeps and none is named, or what it says of itself is damaged.
    """
    root, name = read_root(path, group)
    stores = find_stores(root, name)
    if not stores:
        there = groups_of(root)
        if there:
            raise ValueError(f"{name} holds several sweeps: name one, group={' or '.join(map(repr, there))}.")
        raise ValueError(f"there is no run in {name}: name the directory that a sweep was given as out=.")
    lists = [store.lists() for store in stores]
    if stores[0].format == 2:
        grid, cells = _of_format_2(stores)
        ids = np.unique(np.concatenate([seed[seed >= 0] for seed, _ in lists]))
    else:
        grid = json.loads(stores[0].attributes["grid"])
        cells = [[tuple(cell) for cell in store.attributes["cells"]] for store in stores]
        missing = int(np.prod([size for _, size in grid["dims"]])) - sum(map(len, cells))
        if missing:  # a kill while the groups of lanes were made
            grid_cells = f"{missing} of its points of the grid"
            raise ValueError(f"{name} is not whole yet, {grid_cells} have no place: run the sweep again.")
        order = {int(s): int(o) for seed, _, place in lists for s, o in zip(seed, place, strict=True) if s >= 0}
        ids = np.asarray(sorted(order, key=order.__getitem__), np.int64)
    return assemble(list(zip(stores, cells, strict=True)), grid, ids, partial=True)


def _of_format_2(stores: list[LaneStore]) -> tuple[dict[str, Any], list[list[tuple[int, ...]]]]:
    """The grid and the cells of each group, from the settings: the second format kept neither.

    Args:
        stores: the groups.

    Returns:
        As `assemble` takes them.

    Raises:
        ValueError: which cells are in which group cannot be known.
    """
    asked = json.loads(stores[0].attributes["settings"])["grid"]
    paths = [tuple(axis["paths"]) for axis in asked]
    axes = [Axis(name, of, [tuple(row) for row in axis["values"]]) for name, of, axis in zip(axis_names(paths), paths, asked, strict=True)]
    cells = list(np.ndindex(*(len(axis.values) for axis in axes)))
    numbers = [int(store.lanes()[1].max(initial=0)) + 1 for store in stores]
    static = [k for k, axis in enumerate(axes) if not set(axis.paths) <= set(OF_THE_SOLVE)]
    fits = []
    for count in range(len(static) + 1):
        for which in itertools.combinations(static, count):
            kinds: dict[tuple, list[tuple[int, ...]]] = {}
            for cell in cells:
                kinds.setdefault(tuple(cell[k] for k in which), []).append(cell)
            if [len(some) for some in kinds.values()] == numbers and list(kinds.values()) not in fits:
                fits.append(list(kinds.values()))
    if len(fits) != 1:
        raise ValueError(f"{stores[0].name} has the format 2, which does not say which lanes are in which group: read it with that jaxdyn.")
    return grid_of(axes, _times(stores)), fits[0]


def _times(stores: list[LaneStore]) -> np.ndarray | None:
    """The record times that all lanes have in common, if each was reached by one of them."""
    found = [store.read(int(block))["t"] for store in stores for block in np.flatnonzero(store.state()[0])]
    if not found or len({rows.shape[1] for rows in found}) > 1:
        return None
    rows = np.concatenate(found)
    rows = rows[np.isfinite(rows).any(axis=1)]
    if not len(rows) or not np.isfinite(rows).any(axis=0).all():
        return None
    first = np.nanmax(rows, axis=0)
    return first if np.all(np.isnan(rows) | (rows == first)) else None
