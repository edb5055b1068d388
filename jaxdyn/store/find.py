"""Stores that are there already, looked at before anything is trusted."""

from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from .._describe.difference import short
from .integrity import seal
from .lanes import FORMAT, LISTS, NEW, LaneStore
from .root import uncached

READABLE = (2, FORMAT)


def find_stores(root: zarr.Group, name: str) -> list[LaneStore]:
    """The stores of a run: one in its own group, or one for each group of lanes of equal shapes, in `lanes_0`, `lanes_1`, ...

    Args:
        root: the run's group; nothing in it is changed.
        name: how messages call it.

    Returns:
        The stores in order; those that a kill left half made are not among them.
        What is no store of lanes, or a damaged one, is a `ValueError`.
    """
    found = [_find(root, "", name)]
    number = 0
    while (path := f"lanes_{number}") in root or _has_files(root, path):
        found.append(_find(root, path, name))
        number += 1
    return [store for store in found if store is not None]


def _has_files(root: zarr.Group, path: str) -> bool:
    """Whether a group has lost its own file, but not what is in it."""
    if not isinstance(root.store, LocalStore):
        return False
    folder = Path(root.store.root) / root.path / path
    return folder.is_dir() and any(part.is_file() and part.suffix != ".partial" for part in folder.rglob("*"))


def _find(root: zarr.Group, path: str, name: str) -> LaneStore | None:
    try:
        group = uncached(root, path)
        attrs = dict(group.attrs)
        if attrs == NEW or (not path and not attrs and "done" not in group and not _has_files(group, "done")):
            return None
        form = attrs["format"]
        if form in READABLE:
            store = LaneStore(group, name)
            _check(store, attrs)
            return store
    except Exception as error:  # whatever a torn or missing file makes of the reader
        message = f"{name} is not a whole store of lanes ({type(error).__name__}: {short(error)}): choose another place, or delete it."
        raise ValueError(message) from error
    raise ValueError(f"{name} has the format {form}, which this version of jaxdyn does not know: choose another place for the new run.")


def _check(store: LaneStore, attrs: dict[str, Any]) -> None:
    """Looks at attributes and shapes before memory is taken for anything.

    Args:
        store: the store.
        attrs: its attributes.

    Raises:
        ValueError: they do not fit each other.
    """
    for key in ("block", "places", "queue", "settings", "columns", "param"):
        attrs[key]
    if store.format > 2 and attrs["seal"] != seal(attrs):
        raise ValueError("its attributes are damaged")
    if store.block < 1 or store.places < 0 or store.places % store.block:
        raise ValueError("its blocks do not fit its places")
    for key, column in store.columns.items():
        array = store.array(key)
        chunks = (store.block, *(max(1, n) for n in column.shape))
        if array.shape[1:] != column.shape or str(array.dtype) != column.dtype or array.chunks != chunks:
            raise ValueError(f"{key} has another shape")
        if getattr(array.metadata, "dimension_names", None) != ("lane", *column.dims):
            raise ValueError(f"{key} has other dimensions")
    for key in (*(LISTS if store.format > 2 else LISTS[:2]), "done", *attrs.get("axes", ())):
        array = store.array(key)
        if array.ndim != 1 or array.chunks != ((1,) if key == "done" else (store.block,)):
            raise ValueError(f"{key} has another shape")
    sizes = [_size(shape) for _, shape in attrs["param"]]
    if "params" not in store.columns or sum(sizes) != store.columns["params"].shape[0]:
        raise ValueError("the shapes of the parameters do not fit their number")


def _size(shape: list[int]) -> int:
    total = 1
    for n in shape:
        total *= int(n)
    return total
