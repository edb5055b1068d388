"""Lanes in Zarr: blocks of them, each block its own region, with a done mark that is written last.

A store is a Zarr group with an array for each quantity, whose first axis is the place of a lane in the queue, in chunks of one block;
`seed` and `cell` say which lane stands at a place (-1 where a block is padded), and `done` holds for each block 0, or 1 + the CRC-32 of
all its bytes. So a kill at any moment leaves whole blocks and missing blocks, and damage is seen when it is read.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import zarr

from .._describe import first_difference

FORMAT = 2
NEW = {"format": "not whole yet"}
"""Attributes of a group while its arrays are made: a kill leaves nothing to go on from. Used as a copy: Zarr keeps it."""


class Column(NamedTuple):
    """A quantity that is kept for every lane: shape and dtype of one lane's part, names of its dimensions."""

    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]


def blank(dtype: Any) -> Any:
    """What stands where there is no value: NaN, or 0 where there is no NaN."""
    kind = np.dtype(dtype)
    return kind.type(np.nan) if kind.kind in "fc" else kind.type(0)


class LaneStore:
    """One group of lanes that share their shapes."""

    def __init__(self, group: zarr.Group, name: str):
        """A store in a Zarr group that `create` or `open` made.

        Args:
            group: the Zarr group.
            name: how messages call it.
        """
        self.group, self.name = group, name
        self._cache: dict[str, zarr.Array] = {}

    @staticmethod
    def create(
        parent: zarr.Group, path: str, name: str, columns: Mapping[str, Column], settings: dict, block: int, attributes: dict
    ) -> "LaneStore":
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

        Raises:
            ValueError: the place cannot be written.
        """
        try:
            group = parent.create_group(path, overwrite=True, attributes=dict(NEW))
            for key, column in columns.items():
                group.create_array(
                    f"data/{key}",
                    shape=(0, *column.shape),
                    chunks=(block, *(max(1, n) for n in column.shape)),
                    dtype=column.dtype,
                    fill_value=blank(column.dtype),
                    dimension_names=("lane", *column.dims),
                )
            for key in ("seed", "cell"):
                group.create_array(key, shape=(0,), chunks=(block,), dtype="int64", fill_value=-1, dimension_names=("lane",))
            group.create_array("done", shape=(0,), chunks=(1,), dtype="int64", fill_value=0, dimension_names=("block",))
            layout = {key: [list(column.shape), column.dtype, list(column.dims)] for key, column in columns.items()}
            own = {"format": FORMAT, "block": block, "places": 0, "queue": 0, "columns": layout, "settings": json.dumps(settings)}
            group.attrs.put({**attributes, **own})  # one write: all of them or none
        except OSError as error:
            raise ValueError(
                f"{name} cannot be written ({error.strerror or error}): name another place, or mend its permissions."
            ) from error
        return LaneStore(group, name)

    @staticmethod
    def find(parent: zarr.Group, path: str, name: str) -> "LaneStore | None":
        """A store that is there already; nothing is changed.

        Args:
            parent: where.
            path: name of its group.
            name: how messages call it.

        Returns:
            The store; None if there is none, or a kill left it half made.

        Raises:
            ValueError: it is not a store of this kind, or damaged.
        """
        try:
            if path not in parent:
                return None
            group = parent[path]
            assert isinstance(group, zarr.Group)
            attrs = dict(group.attrs)
            if attrs == NEW:
                return None
            found = attrs["format"]
            if found == FORMAT:
                store = LaneStore(group, name)
                for key in ("block", "places", "queue", "settings"):
                    attrs[key]
                for key, column in store.columns.items():
                    array = store._array(f"data/{key}")
                    if array.shape[1:] != column.shape or str(array.dtype) != column.dtype:
                        raise ValueError(f"{key} has another shape")
                for key in ("seed", "cell", "done"):
                    store._array(key)
                return store
        except Exception as error:  # whatever a torn or missing file makes of the reader
            message = f"{name} is not a whole store of lanes ({type(error).__name__}: {_short(error)}): choose another place, or delete it."
            raise ValueError(message) from error
        raise ValueError(f"{name} has the format {found} and this version of jaxdyn writes {FORMAT}: choose another place for the new run.")

    @property
    def block(self) -> int:
        """Lanes a block."""
        return int(self.attributes["block"])

    @property
    def places(self) -> int:
        """Lanes in all, padding included."""
        return int(self.attributes["places"])

    @property
    def columns(self) -> dict[str, Column]:
        """What is kept."""
        return {key: Column(tuple(shape), dtype, tuple(dims)) for key, (shape, dtype, dims) in self.attributes["columns"].items()}

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
        found = first_difference(json.loads(self.attributes["settings"]), json.loads(json.dumps(settings)))
        if found:
            path, old, new = found
            raise ValueError(
                f"{self.name} was made with {path} = {_short(old)}, not {_short(new)}: "
                "take the same settings to go on, or another place for the new run; nothing was changed."
            )

    def _array(self, key: str) -> zarr.Array:
        if key not in self._cache:
            array = self.group[key]
            assert isinstance(array, zarr.Array)
            self._cache[key] = array
        return self._cache[key]

    def _resize(self, places: int) -> None:
        lengths = {f"data/{key}": places for key in self.columns} | {"seed": places, "cell": places, "done": places // self.block}
        for key, length in lengths.items():
            array = self._array(key)
            if array.shape[0] != length:
                array.resize((length, *array.shape[1:]))

    def mend(self) -> None:
        """Sets right what a kill left between two states of growth."""
        self._resize(self.places)

    def lanes(self) -> tuple[np.ndarray, np.ndarray]:
        """Seed and cell at each place; -1 where there is none.

        Returns:
            Both, as integers.

        Raises:
            ValueError: they are damaged.
        """
        try:
            both = [np.asarray(self._array(key)[: self.places]) for key in ("seed", "cell")]
        except Exception as error:
            raise ValueError(
                f"{self.name} has lost its list of lanes ({type(error).__name__}): choose another place, or delete it."
            ) from error
        if _crc(dict(zip(("seed", "cell"), both, strict=True))) != self.attributes["queue"] and self.places:
            raise ValueError(f"{self.name} has lost its list of lanes: choose another place, or delete it.")
        return both[0], both[1]

    def extend(self, seed: np.ndarray, cell: np.ndarray) -> None:
        """Adds lanes at the end, from a new block on.

        Args:
            seed: their seeds, in the order of the queue.
            cell: their cells.
        """
        before, padding = self.lanes(), np.full(-len(seed) % self.block, -1)
        after = [np.concatenate([old, new, padding]).astype(np.int64) for old, new in zip(before, (seed, cell), strict=True)]
        old, places = self.places, len(after[0])
        self._resize(places)
        for key, values in zip(("seed", "cell"), after, strict=True):
            self._array(key)[old:] = values[old:]
        # from here on they belong to the store
        self.note(places=places, queue=_crc(dict(zip(("seed", "cell"), after, strict=True))))

    def note(self, **attributes: Any) -> None:
        """Writes attributes beside the data, all of them or none.

        Args:
            **attributes: by name.
        """
        self.group.attrs.put({**self.attributes, **attributes})

    def done(self) -> np.ndarray:
        """Whether each block is finished and undamaged."""
        return np.asarray([self._rows(b) is not None for b in range(self.places // self.block)], bool)

    def _region(self, block: int) -> slice:
        return slice(block * self.block, (block + 1) * self.block)

    def _rows(self, block: int) -> dict[str, np.ndarray] | None:
        try:
            mark = int(np.asarray(self._array("done")[block]))
            if mark == 0:
                return None
            rows = {key: np.asarray(self._array(f"data/{key}")[self._region(block)]) for key in self.columns}
        except Exception:  # whatever a torn chunk makes of the decoder
            return None
        return rows if _crc(rows) == mark else None

    def write(self, block: int, rows: Mapping[str, np.ndarray]) -> None:
        """Writes a block, then its mark.

        Args:
            block: which.
            rows: for each quantity the lanes of the block, padded to its length.
        """
        exact = {key: _plain(rows[key], column.dtype) for key, column in self.columns.items()}
        for key, values in exact.items():
            self._array(f"data/{key}")[self._region(block)] = values
        self._array("done")[block] = _crc(exact)

    def values(self, key: str) -> np.ndarray:
        """One quantity of all lanes; it means something in blocks that are done.

        Args:
            key: which.

        Returns:
            Its values, the places first.
        """
        return np.asarray(self._array(f"data/{key}")[: self.places])

    def read(self, block: int) -> dict[str, np.ndarray]:
        """The quantities of a block that is done.

        Args:
            block: which.

        Returns:
            For each quantity the lanes of the block.

        Raises:
            ValueError: it is not done, or damaged.
        """
        rows = self._rows(block)
        if rows is None:
            raise ValueError(f"{self.name} is damaged in block {block}: run it again, only that block is done anew.")
        return rows


def _plain(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values with one kind of NaN: a chunk of nothing but NaN is not written, and comes back as the fill value."""
    values = np.array(values, dtype)
    if values.dtype.kind == "f":
        values[np.isnan(values)] = np.nan
    return values


def _crc(rows: Mapping[str, np.ndarray]) -> int:
    total = 0
    for key in sorted(rows):
        total = zlib.crc32(np.ascontiguousarray(rows[key]).tobytes(), zlib.crc32(key.encode(), total))
    return 1 + total


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
