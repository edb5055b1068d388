"""The host's part of a batch: feed the queue, collect what has ended, keep it in blocks."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..store import LaneStore, blank
from .batch import Pool, Problem, Queue, advance, make_pool, pool_shapes
from .kept import keep_all

SECONDS_A_CALL = 0.5
"""How long the compiled program runs before the host looks in: progress, files, Ctrl-C."""
FIRST_CALL = 32
"""Iterations of the first call, of which nobody knows yet how long they take."""
RESULT_BYTES = 64 * 2**20
"""Memory for the recorded states of lanes that are in flight or not yet collected, a device."""
MAX_ROWS = 1024
TOGETHER_PARAMS = 8192
"""Parameters of all lanes that step together on a CPU: their stages stay in a core's cache of 1 or 2 MiB."""
MIN_TOGETHER = 4
"""Fewer lanes than these gain nothing from it, and single ones compile to slower code."""
COLLECT = 8
"""Lanes whose observables are computed at a time."""


def choose_width(lanes: int, params: int, devices: list) -> int:
    """A batch width for the device.

    On a CPU the cost of a lane-step hardly falls beyond 8 lanes, and a narrow batch idles less at the end; an accelerator wants
    thousands of lanes.

    Args:
        lanes: lanes in all.
        params: parameters of one lane.
        devices: the devices.

    Returns:
        Slots a device.
    """
    share = max(1, lanes // len(devices))
    if devices[0].platform == "cpu":
        return int(min(max(8, 2 ** int(np.log2(max(1, share // 32)))), 64, 2 ** int(np.ceil(np.log2(share))), max(1, 2**22 // params)))
    return int(min(2 ** int(np.ceil(np.log2(share))), 8192, max(1, 2**28 // params)))


def choose_together(width: int, params: int, devices: list) -> int:
    """How many slots of a batch step together.

    On a CPU the stages of some lanes fit into a core's own cache and those of many do not (two-layer ReLU network of 128 neurons, 64
    slots: 14.7 us a lane-step with 16 together, 19.2 with all; `benchmarks/overhead.py`).

    Args:
        width: slots a device.
        params: parameters of one lane.
        devices: the devices.

    Returns:
        A divisor of the width.
    """
    if devices[0].platform != "cpu":
        return width
    fit = max(TOGETHER_PARAMS // params, MIN_TOGETHER)
    return max((n for n in range(MIN_TOGETHER, min(fit, width) + 1) if width % n == 0), default=width)


class Batch:
    """A batch on each device, and the lanes that wait for it."""

    def __init__(self, problem: Problem, seed: np.ndarray, cell: np.ndarray, projected: np.ndarray, width: int, devices: list):
        """A batch that will run these lanes in this order.

        Args:
            problem: what they share.
            seed: their seeds.
            cell: their cells.
            projected: the steps that an earlier solver was estimated to need for each; NaN for lanes that come for the first time.
            width: slots a device.
            devices: where to run.
        """
        self.problem, self.seed, self.cell, self.projected = problem, seed, cell, projected
        self.width, self.count = width, len(devices)
        self.mesh = Mesh(np.asarray(devices), ("device",)) if len(devices) > 1 else None
        room = RESULT_BYTES // (8 * (problem.plan.record.shape[0] + 1) * problem.size)
        # a shape of the compiled program, so the number of lanes must not enter
        self.rows = int(max(min(room, MAX_ROWS), 2 * width))
        self.together = choose_together(width, problem.size, devices)
        self.iterations = 0

    def _place(self, per_device: np.ndarray) -> Any:
        return jnp.asarray(per_device if self.mesh is not None else per_device[0])

    def run(self) -> Iterator[tuple[np.ndarray, dict]]:
        """Steps until every lane has ended.

        Yields:
            Places (indices into the lanes) and what is kept of the lanes there, as they are collected.
        """
        shared = (self.problem, self.mesh)
        stepping = (self.problem.unwatched(), self.mesh, self.together)
        pool = make_pool((pool_shapes((stepping[0], self.width, self.rows)), self.mesh))
        # row -> place of the lane that writes there, -1 where the row is free
        owner = np.full((self.count, self.rows), -1)
        waiting = deque(range(len(self.seed)))
        finished, limit = 0, FIRST_CALL
        while finished < len(self.seed):
            free = [np.flatnonzero(rows < 0) for rows in owner]
            dealt = self._deal(waiting, free)
            queue = self._queue(dealt, free)
            more = self._place(np.full(self.count, len(waiting) > 0))
            begin, before = time.perf_counter(), np.asarray(pool.iterations).max()
            pool, position = advance(stepping, pool, queue, self._place(np.full(self.count, limit)), more)
            started = np.asarray(position).reshape(-1)
            done = int(np.asarray(pool.iterations).max() - before)
            if done == limit:
                seconds = max(time.perf_counter() - begin, 1e-3)
                limit = int(np.clip(limit * SECONDS_A_CALL / seconds, max(limit // 4, 8), limit * 4))
            for d in range(self.count):
                owner[d, free[d][: started[d]]] = dealt[d][: started[d]]
            # what was not started is dealt anew, or one device would run out of lanes while another has some left
            waiting.extendleft(sorted((place for d in range(self.count) for place in dealt[d][started[d] :]), reverse=True))
            self.iterations = int(np.asarray(pool.iterations).sum())
            for places, kept in self._collect(shared, pool, owner):
                finished += len(places)
                yield places, kept

    def _deal(self, waiting: deque[int], free: list[np.ndarray]) -> list[list[int]]:
        """Gives out places to the devices in turn, as long as they have free rows."""
        dealt: list[list[int]] = [[] for _ in range(self.count)]
        for turn in range(self.rows):
            for d in range(self.count):
                if waiting and turn < len(free[d]):
                    dealt[d].append(waiting.popleft())
        return dealt

    def _queue(self, dealt: list[list[int]], free: list[np.ndarray]) -> Queue:
        lanes = np.zeros((3, self.count, self.rows), np.int64)
        projected = np.full((self.count, self.rows), np.nan)
        for d, places in enumerate(dealt):
            lanes[:, d, : len(places)] = self.seed[places], self.cell[places], free[d][: len(places)]
            projected[d, : len(places)] = self.projected[places]
        lengths = np.asarray([len(places) for places in dealt])
        parts = (lanes[0].astype(np.uint32), lanes[1], projected, lanes[2], lengths)
        return Queue(*(self._place(part) for part in parts))

    def _collect(self, shared: tuple, pool: Pool, owner: np.ndarray) -> Iterator[tuple[np.ndarray, dict]]:
        """What is kept of the lanes that have ended; their rows are free then."""
        row = np.asarray(pool.slots.row).reshape(self.count, -1)
        idle = np.asarray(pool.slots.idle).reshape(self.count, -1)
        ended = [np.setdiff1d(np.flatnonzero(owner[d] >= 0), row[d][~idle[d]]) for d in range(self.count)]
        for k in range(0, max(len(rows) for rows in ended), COLLECT):
            rows = [some[k : k + COLLECT] for some in ended]
            padded = np.asarray([np.pad(some, (0, COLLECT - len(some))) for some in rows]).astype(np.int64)
            places = np.maximum(np.take_along_axis(owner, padded, axis=1), 0)
            arguments = (self._place(a) for a in (padded, self.seed[places].astype(np.uint32), self.cell[places]))
            kept = jax.device_get(keep_all(shared, pool.results, *arguments))
            take = np.concatenate([d * COLLECT + np.arange(len(some)) for d, some in enumerate(rows)])
            axes = 2 if self.mesh is not None else 1
            yield (
                np.concatenate([owner[d, some] for d, some in enumerate(rows)]),
                {key: np.asarray(values).reshape(-1, *values.shape[axes:])[take] for key, values in kept.items()},
            )
        for d, rows in enumerate(ended):
            owner[d, rows] = -1


class Blocks:
    """Gathers lanes as they come, and writes a block to the store when it is whole."""

    def __init__(self, store: LaneStore, coming: np.ndarray, over: bool = False):
        """Blocks of a store.

        Args:
            store: where to.
            coming: whether a lane will be added at each place.
            over: whether the blocks are there already and the lanes replace those at their places.
        """
        self.store, self.over = store, over
        size = store.block
        self.missing = coming.reshape(-1, size).sum(1)
        self.partial: dict[int, dict[str, np.ndarray]] = {}

    def add(self, place: int, row: dict[str, np.ndarray]) -> None:
        """Takes a lane; writes its block if that was the last.

        Args:
            place: where it stands.
            row: what is kept of it.
        """
        size = self.store.block
        block, slot = divmod(place, size)
        if block not in self.partial and self.over:
            self.partial[block] = self.store.read(block)
        elif block not in self.partial:
            self.partial[block] = {
                key: np.full((size, *np.shape(value)), blank(np.asarray(value).dtype, key), np.asarray(value).dtype)
                for key, value in row.items()
            }
        for key, value in row.items():
            self.partial[block][key][slot] = value
        self.missing[block] -= 1
        if self.missing[block] == 0:
            self.store.write(block, self.partial.pop(block))
