"""Lanes in Zarr: blocks of them, each block its own region, with a done mark that is written last.

A store is a Zarr group with an array for each quantity, whose first axis is the place of a lane in the queue, in chunks of one block;
`seed` and `cell` say which lane stands at a place (-1 where a block is padded), `order` in which order the seeds were asked for, and
`done` holds for each block 0, or a checksum of all its bytes together with the store's settings, the block's number, its seeds and its
cells. So a kill at any moment leaves whole blocks and missing blocks, and a block that is damaged or stands where it does not belong is
found when it is read.
"""

import json
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import zarr

from .._describe import named_difference
from .integrity import checksum, checksum_of_format_2, identity, seal
from .root import consolidate, forget_consolidated, uncached, writing

FORMAT = 3
NEW = {"format": "not whole yet"}
"""Attributes of a group while its arrays are made: a kill leaves nothing to go on from. Used as a copy: Zarr keeps it."""
LISTS = ("seed", "cell", "order")
"""What says which lane stands at a place."""
MOST_BLOCKS = 10**6
"""That a kill may have added before they belonged to the store; more is damage."""
MISSING = -1
"""Outcome of a lane that is not done."""


class Column(NamedTuple):
    """A quantity that is kept for every lane: shape and dtype of one lane's part, names of its dimensions."""

    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]


def blank(dtype: Any, key: str = "") -> Any:
    """What stands where there is no value: NaN, or 0 where there is no NaN; -1 as an outcome."""
    kind = np.dtype(dtype)
    return kind.type(np.nan) if kind.kind in "fc" else kind.type(MISSING if key == "outcome" else 0)


class LaneStore:
    """One group of lanes that share their shapes."""

    def __init__(self, group: zarr.Group, name: str):
        """A store in a Zarr group that `create` or `find_store` made.

        Args:
            group: the Zarr group.
            name: how messages call it.
        """
        self.group, self.name = group, name
        self._cache: dict[str, zarr.Array] = {}
        self._lists: tuple[np.ndarray, ...] | None = None
        self._identity: bytes | None = None

    @staticmethod
    def create(
        parent: zarr.Group,
        path: str,
        name: str,
        columns: Mapping[str, Column],
        settings: dict,
        block: int,
        attributes: dict,
        beside: Mapping[str, Any] | None = None,
    ) -> "LaneStore":
        """An empty store.

        Args:
            parent: where to.
            path: name of its group in it; '' for the parent itself.
            name: how messages call it.
            columns: what is kept.
            settings: what made it; another run must have the same.
            block: lanes a block.
            attributes: what else to write beside the data; texts, integers, and lists of them.
            beside: what `xarray.open_zarr` shows beside the lanes: `axes` (dtype and attributes of what the grid has for each lane, by
                name), `time` (the record times, or None) and `outcome` (attributes of the outcomes).

        Returns:
            The store.

        Raises:
            ValueError: the place cannot be written, or a group has the name of one of the arrays.
        """
        beside = beside or {}
        axes, times = beside.get("axes", {}), beside.get("time")
        with writing(name):
            if path:
                parent.require_group(path)
            group = uncached(parent, path)
            forget_consolidated(group)
            group.attrs.put(dict(NEW))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a file that a kill left behind
                left, taken = ([key for key, _ in some] for some in (group.arrays(), group.groups()))
            if clash := {*columns, *LISTS, *axes, "time", "done"} & {*taken}:
                raise ValueError(f"{name} has a group of the name {min(clash)!r}, which this sweep needs: name another place, or a group=.")
            for key in left:
                del group[key]
            for key, column in columns.items():
                group.create_array(
                    key,
                    shape=(0, *column.shape),
                    chunks=(block, *(max(1, n) for n in column.shape)),
                    dtype=column.dtype,
                    fill_value=blank(column.dtype, key),
                    dimension_names=("lane", *column.dims),
                    attributes=beside.get(key),
                )
            for key in LISTS:
                group.create_array(key, shape=(0,), chunks=(block,), dtype="int64", fill_value=-1, dimension_names=("lane",))
            for key, (dtype, about) in axes.items():
                group.create_array(key, shape=(0,), chunks=(block,), dtype=dtype, dimension_names=("lane",), attributes=about)
            if times is not None:
                group.create_array("time", data=np.asarray(times, float), dimension_names=("time",))
            group.create_array("done", shape=(0,), chunks=(1,), dtype="int64", fill_value=0, dimension_names=("block",))
            layout = {key: [list(column.shape), column.dtype, list(column.dims)] for key, column in columns.items()}
            own = {"format": FORMAT, "block": block, "places": 0, "queue": 0, "columns": layout, "settings": json.dumps(settings)}
            own |= {"axes": sorted(axes), "coordinates": " ".join([*LISTS, *sorted(axes)])}
            whole = json.loads(json.dumps({**attributes, **own}))
            group.attrs.put({**whole, "seal": seal(whole)})  # one write: all of them or none
        return LaneStore(group, name)

    @property
    def format(self) -> int:
        """The format that it is written in: 3, or 2 for one that can only be read."""
        return int(self.attributes["format"])

    @property
    def block(self) -> int:
        """Lanes a block."""
        return int(self.attributes["block"])

    @property
    def places(self) -> int:
        """Lanes in all, padding included."""
        return int(self.attributes["places"])

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.places // self.block

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
        found = named_difference(json.loads(self.attributes["settings"]), json.loads(json.dumps(settings)))
        if found:
            raise ValueError(
                f"{self.name} was made with {found}: "
                "take the same settings to go on, or another place for the new run; nothing was changed."
            )

    def array(self, key: str) -> zarr.Array:
        """One of its arrays.

        Args:
            key: a column, or `seed`, `cell`, `order`, `done`.

        Returns:
            The Zarr array.
        """
        if key not in self._cache:
            array = self.group[f"data/{key}" if self.format == 2 and key in self.columns else key]
            assert isinstance(array, zarr.Array)
            self._cache[key] = array
        return self._cache[key]

    def _resize(self, places: int) -> None:
        lanes = (*self.columns, *LISTS, *self.attributes["axes"])
        for key, length in {**dict.fromkeys(lanes, places), "done": places // self.block}.items():
            array = self.array(key)
            if array.shape[0] - length > MOST_BLOCKS * array.chunks[0]:  # Zarr would list them all
                raise ValueError(f"the array {key} of {self.name} has {array.shape[0]} lanes instead of {length}: name another place.")
            if array.shape[0] != length:
                array.resize((length, *array.shape[1:]))

    def trim(self) -> None:
        """Sets right what a kill left between two states of growth."""
        with writing(self.name):
            self._resize(self.places)

    def lanes(self) -> tuple[np.ndarray, np.ndarray]:
        """Seed and cell at each place; -1 where there is none.

        Returns:
            Both, as integers. Damaged ones are a `ValueError`.
        """
        return self.lists()[:2]  # pyright: ignore[reportReturnType]

    def lists(self) -> tuple[np.ndarray, ...]:
        """Seed and cell at each place, and the position of the seed in the order in which the seeds were asked for.

        Returns:
            The three, as integers; a store of format 2 has no order.

        Raises:
            ValueError: they are damaged.
        """
        if self._lists is None:
            keys = LISTS if self.format > 2 else LISTS[:2]
            try:
                if self.places and int(np.asarray(self.array("seed")[self.places - self.block])) < 0:
                    raise ValueError("the last block has no lane")  # before memory is taken for all of them
                found = {key: np.asarray(self.array(key)[: self.places]) for key in keys}
            except Exception as error:
                raise ValueError(self._lost(f" ({type(error).__name__})")) from error
            if self.places and self._checksum("lanes", found) != self.attributes["queue"]:
                raise ValueError(self._lost(""))
            self._lists = tuple(found[key] for key in keys)
        return self._lists

    def _lost(self, why: str) -> str:
        return f"{self.name} has lost its list of lanes{why}: choose another place, or delete it."

    def _checksum(self, where: Any, rows: Mapping[str, np.ndarray]) -> int:
        if self.format == 2:
            return checksum_of_format_2(rows)
        if self._identity is None:
            self._identity = identity(self.attributes)
        return checksum(self._identity, where, rows)

    def extend(self, seed: np.ndarray, cell: np.ndarray, order: np.ndarray, axes: Mapping[str, np.ndarray] | None = None) -> None:
        """Adds lanes at the end, from a new block on.

        Args:
            seed: their seeds, in the order of the queue.
            cell: their cells.
            order: the positions of their seeds among all that were asked for.
            axes: what the grid has for each.
        """
        before, padding = self.lists(), np.full(-len(seed) % self.block, -1)
        after = {
            key: np.concatenate([old, new, padding]).astype(np.int64)
            for key, old, new in zip(LISTS, before, (seed, cell, order), strict=True)
        }
        old, places = self.places, len(after["seed"])
        with writing(self.name):
            forget_consolidated(self.group)
            self._resize(places)
            for key, values in after.items():
                self.array(key)[old:] = values[old:]
            for key, values in (axes or {}).items():
                self.array(key)[old : old + len(values)] = values
        # from here on they belong to the store
        self.note(places=places, queue=self._checksum("lanes", after))
        self._lists = tuple(after.values())

    def note(self, **attributes: Any) -> None:
        """Writes attributes beside the data, all of them or none.

        Args:
            **attributes: by name.
        """
        new = {**self.attributes, **attributes}
        with writing(self.name):
            self.group.attrs.put({**new, "seal": seal(new)})

    def consolidate(self) -> None:
        """Copies the metadata of all arrays to those of the root, for `xarray.open_zarr`."""
        with writing(self.name):
            consolidate(self.group)

    def state(self, blocks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Which blocks are done, and which are damaged.

        Args:
            blocks: the blocks that are looked at, all by default.

        Returns:
            For each block of the store whether it is finished and whole, and whether it has a mark that it does not fit.
        """
        done, damaged = np.zeros(self.blocks, bool), np.zeros(self.blocks, bool)
        for block in np.arange(self.blocks) if blocks is None else blocks:
            rows = self._rows(int(block))
            done[block], damaged[block] = isinstance(rows, dict), rows is False
        return done, damaged

    def _region(self, block: int) -> slice:
        return slice(block * self.block, (block + 1) * self.block)

    def _mark(self, block: int, rows: Mapping[str, np.ndarray]) -> int:
        return self._checksum([block, *(values[self._region(block)].tolist() for values in self.lanes())], rows)

    def _rows(self, block: int) -> dict[str, np.ndarray] | bool | None:
        """The block; None if it is not done, False if it is damaged."""
        try:
            mark = int(np.asarray(self.array("done")[block]))
            if mark == 0:
                return None
            rows = {key: np.asarray(self.array(key)[self._region(block)]) for key in self.columns}
        except Exception:  # whatever a torn chunk makes of the decoder
            return False
        return rows if self._mark(block, rows) == mark else False

    def write(self, block: int, rows: Mapping[str, np.ndarray]) -> None:
        """Writes a block, then its mark.

        Args:
            block: which.
            rows: for each quantity the lanes of the block, padded to its length.
        """
        exact = {key: _plain(rows[key], column.dtype) for key, column in self.columns.items()}
        with writing(self.name):
            for key, values in exact.items():
                self.array(key)[self._region(block)] = values
            self.array("done")[block] = self._mark(block, exact)

    def values(self, key: str, block: int) -> np.ndarray:
        """One quantity of the lanes of a block that is done.

        Args:
            key: which.
            block: of which block.

        Returns:
            Its values, the places first.
        """
        return np.asarray(self.array(key)[self._region(block)])

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
        if not isinstance(rows, dict):
            raise ValueError(f"{self.name} is damaged in block {block}: run the sweep again, which repeats only that block.")
        return rows


def _plain(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values with one kind of NaN: a chunk of nothing but NaN is not written, and comes back as the fill value."""
    values = np.array(values, dtype)
    if values.dtype.kind == "f":
        values[np.isnan(values)] = np.nan
    return values
