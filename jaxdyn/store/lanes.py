"""Lanes in Zarr: blocks of them, each block its own region, with a done mark that is written last.

A store is a Zarr group with an array for each quantity, whose first axis is the place of a lane in the queue, in chunks of one block;
`seed` and `cell` say which lane stands at a place (-1 where a block is padded), and `done` holds for each block 0, or 1 + the CRC-32 of
all its bytes. So a kill at any moment leaves whole blocks and missing blocks, and damage is seen when it is read.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
import zarr.storage

from .describe import first_difference

FORMAT = 1


class Column(NamedTuple):
    """A quantity that is kept for every lane: shape and dtype of one lane's part, names of its dimensions."""

    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]


def _fill(dtype: str) -> Any:
    kind = np.dtype(dtype)
    return kind.type(np.nan) if kind.kind == "f" else kind.type(0)


class LaneStore:
    """One group of lanes that share their shapes."""

    def __init__(self, group: zarr.Group, name: str):
        """A store in a Zarr group that `create` or `open` made.

        Args:
            group: the Zarr group.
            name: how messages call it.
        """
        self.group, self.name = group, name
        self._cache: dict[str, zarr.Array] | None = None

    @staticmethod
    def create(parent: zarr.Group, path: str, name: str, columns: Mapping[str, Column], settings: dict, block: int, attributes: dict) -> "LaneStore":
        """An empty store.

        Args:
            parent: where to.
            path: name of the new group in it.
            name: how messages call it.
            columns: what is kept.
            settings: what made it; another run must have the same.
            block: lanes a block.
            attributes: what else to write beside the data.

        Returns:
            The store.
        """
        group = parent.create_group(path, overwrite=True)
        for key, column in columns.items():
            group.create_array(
                f"data/{key}",
                shape=(0, *column.shape),
                chunks=(block, *(max(1, n) for n in column.shape)),
                dtype=column.dtype,
                fill_value=_fill(column.dtype),
                dimension_names=("lane", *column.dims),
            )
        for key in ("seed", "cell"):
            group.create_array(key, shape=(0,), chunks=(block,), dtype="int64", fill_value=-1, dimension_names=("lane",))
        group.create_array("done", shape=(0,), chunks=(1,), dtype="int64", fill_value=0, dimension_names=("block",))
        group.attrs.update({"format": FORMAT, "block": block, "places": 0, "settings": json.dumps(settings), **attributes})
        return LaneStore(group, name)

    @staticmethod
    def open(group: zarr.Group, name: str) -> "LaneStore":
        """A store that is there already; whatever a kill left between two states of growth is set right.

        Args:
            group: the Zarr group.
            name: how messages call it.

        Returns:
            The store.

        Raises:
            ValueError: it is not a store of this kind, or not whole.
        """
        try:
            attrs = dict(group.attrs)
            if attrs["format"] != FORMAT:
                raise ValueError(f"{name} has the format {attrs['format']} and this version of jaxdyn writes {FORMAT}: choose another place for the new run.")
            store, places = LaneStore(group, name), int(attrs["places"])
            store._resize(places, only_if_other=True)
        except (KeyError, TypeError, json.JSONDecodeError, FileNotFoundError) as error:
            raise ValueError(f"{name} is not a whole store of lanes ({error!r}): choose another place, or delete it.") from error
        return store

    @property
    def block(self) -> int:
        """Lanes a block."""
        return int(self.group.attrs["block"])  # pyright: ignore[reportArgumentType]

    @property
    def attributes(self) -> dict[str, Any]:
        """What stands beside the data."""
        return dict(self.group.attrs)

    def check_settings(self, settings: dict) -> None:
        """Refuses to mix runs.

        Args:
            settings: those of the run that wants to write here.

        Raises:
            ValueError: the store was made with others.
        """
        found = first_difference(json.loads(str(self.group.attrs["settings"])), json.loads(json.dumps(settings)))
        if found:
            path, old, new = found
            raise ValueError(
                f"{self.name} was made with {path} = {_short(old)}, not {_short(new)}: "
                "take the same settings to go on, or another place for the new run; nothing was changed."
            )

    def _arrays(self) -> dict[str, zarr.Array]:
        if self._cache is None:
            self._cache = dict(self.group["data"].arrays())  # pyright: ignore[reportAttributeAccessIssue]
        return self._cache

    def _resize(self, places: int, only_if_other: bool = False) -> None:
        lengths = [(array, places) for array in [*self._arrays().values(), self.group["seed"], self.group["cell"]]]
        lengths.append((self.group["done"], places // self.block))
        for array, length in lengths:
            if not only_if_other or array.shape[0] != length:  # pyright: ignore[reportAttributeAccessIssue]
                array.resize((length, *array.shape[1:]))  # pyright: ignore[reportAttributeAccessIssue]

    def lanes(self) -> tuple[np.ndarray, np.ndarray]:
        """Seed and cell at each place; -1 where there is none."""
        return np.asarray(self.group["seed"][:]), np.asarray(self.group["cell"][:])  # pyright: ignore[reportIndexIssue]

    def extend(self, seed: np.ndarray, cell: np.ndarray) -> None:
        """Adds lanes at the end, from a new block on.

        Args:
            seed: their seeds, in the order of the queue.
            cell: their cells.
        """
        old = int(self.group.attrs["places"])  # pyright: ignore[reportArgumentType]
        padding = -len(seed) % self.block
        places = old + len(seed) + padding
        self._resize(places)
        for key, values in (("seed", seed), ("cell", cell)):
            self.group[key][old:] = np.append(values, np.full(padding, -1))  # pyright: ignore[reportIndexIssue]
        self.group.attrs["places"] = places

    def done(self) -> np.ndarray:
        """Whether each block is finished and undamaged."""
        marks = self._marks()
        return np.asarray([mark != 0 and self._checksum(b) == mark for b, mark in enumerate(marks)], bool)

    def _marks(self) -> np.ndarray:
        array = self.group["done"]
        marks = np.zeros(array.shape[0], np.int64)  # pyright: ignore[reportAttributeAccessIssue]
        for b in range(len(marks)):
            try:
                marks[b] = array[b]  # pyright: ignore[reportIndexIssue]
            except Exception:  # a torn mark: the block is done again
                marks[b] = 0
        return marks

    def _region(self, block: int) -> slice:
        return slice(block * self.block, (block + 1) * self.block)

    def _checksum(self, block: int) -> int:
        try:
            return _crc({key: np.asarray(array[self._region(block)]) for key, array in self._arrays().items()})
        except Exception:  # whatever a torn chunk makes of the decoder
            return -1

    def write(self, block: int, rows: Mapping[str, np.ndarray]) -> None:
        """Writes a block, then its mark.

        Args:
            block: which.
            rows: for each quantity the lanes of the block, padded to its length.
        """
        for key, array in self._arrays().items():
            array[self._region(block)] = rows[key]
        self.group["done"][block] = _crc(rows)  # pyright: ignore[reportIndexIssue]

    def read(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Everything.

        Returns:
            For each block whether it is finished, and the quantities over all places.

        Raises:
            ValueError: a block is damaged.
        """
        marks = self._marks()
        try:
            data = {key: np.asarray(array[:]) for key, array in self._arrays().items()}
        except Exception as error:
            raise ValueError(f"{self.name} is damaged ({type(error).__name__}): run or resume it again, whole blocks are kept.") from error
        for b in np.flatnonzero(marks):
            if _crc({key: values[self._region(int(b))] for key, values in data.items()}) != marks[b]:
                raise ValueError(f"{self.name} is damaged in block {b}: run or resume it again, only that block is done anew.")
        return marks != 0, data


def _crc(rows: Mapping[str, np.ndarray]) -> int:
    total = 0
    for key in sorted(rows):
        total = zlib.crc32(np.ascontiguousarray(rows[key]).tobytes(), zlib.crc32(key.encode(), total))
    return 1 + total


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def open_root(out: str | Path | None, group: str | None) -> tuple[zarr.Group, str]:
    """The Zarr group of a run, made if need be.

    Args:
        out: a directory; None keeps the run in memory.
        group: a group within it; None is its root.

    Returns:
        The group, and how messages call it.

    Raises:
        ValueError: the place cannot be written, or is something else already.
    """
    name = ("memory" if out is None else str(out)) + (f"/{group}" if group else "")
    if out is None:
        return zarr.open_group(zarr.storage.MemoryStore(), mode="a", path=group or ""), name
    path = Path(out)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: name a directory for the store.")
    if path.exists() and any(path.iterdir()) and not (path / "zarr.json").exists():
        raise ValueError(f"{path} is a directory with other things in it: name a new one for the store.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(str(path), mode="a")
        return (root.require_group(group) if group else root), name
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}): name another place, or mend its permissions.") from error
    except Exception as error:
        raise ValueError(f"{path} is not a whole Zarr store ({type(error).__name__}): choose another place, or delete it.") from error
