"""The host's part of a batch: feed the queue, collect what has ended, keep it in blocks."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..store import LaneStore
from .batch import Problem, Queue, advance, guess_cost, make_pool, observe

SECONDS_A_CALL = 0.5
"""How long the compiled program runs before the host looks in: progress, files, Ctrl-C."""
RESULT_BYTES = 128 * 2**20
"""Memory for the recorded states of lanes that are in flight or not yet collected, a device."""
COLLECT = 8
"""Lanes whose observables are computed at a time."""
MAX_ROWS = 4096


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


def order_by_cost(problem: Problem, seed: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Lanes with the longest first, by a cheap guess; ties keep their order.

    Args:
        problem: what the lanes share.
        seed: their seeds.
        cell: their cells.

    Returns:
        A permutation.
    """
    padded = 2 ** int(np.ceil(np.log2(max(1, len(seed)))))
    fill = padded - len(seed)
    cost = guess_cost(problem, jnp.asarray(np.pad(seed, (0, fill)), jnp.uint32), jnp.asarray(np.pad(cell, (0, fill))))
    return np.argsort(-np.asarray(cost)[: len(seed)], kind="stable")


class Batch:
    """A batch on each device, and the lanes that wait for it."""

    def __init__(self, problem: Problem, seed: np.ndarray, cell: np.ndarray, width: int, devices: list):
        """A batch that will run these lanes in this order.

        Args:
            problem: what they share.
            seed: their seeds.
            cell: their cells.
            width: slots a device.
            devices: where to run.
        """
        self.problem, self.seed, self.cell = problem, seed, cell
        self.width, self.count = width, len(devices)
        self.mesh = Mesh(np.asarray(devices), ("device",)) if len(devices) > 1 else None
        records = problem.plan.record.shape[0] + 1
        params = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(problem.like))
        room = RESULT_BYTES // (8 * records * params)
        share = -(-len(seed) // self.count)
        self.rows = int(min(max(room, 2 * width), MAX_ROWS, share + width))
        self.iterations = 0

    def _place(self, per_device: np.ndarray) -> Any:
        return jnp.asarray(per_device if self.mesh is not None else per_device[0])

    def run(self) -> Iterator[tuple[np.ndarray, dict]]:
        """Steps until every lane has ended.

        Yields:
            Places (indices into the lanes) and what is kept of the lanes there, as they are collected.
        """
        shared = (self.problem, self.mesh)
        pool = make_pool(shared, self.width, self.rows)
        free = [list(range(self.rows)) for _ in range(self.count)]
        # row -> place of the lane that writes there
        owner = np.full((self.count, self.rows), -1)
        waiting: list[list[int]] = [[] for _ in range(self.count)]  # places given out to a device, not started
        upcoming = iter(range(len(self.seed)))
        left, finished, limit = len(self.seed), 0, 32
        queue_length = self.rows
        while finished < len(self.seed):
            self._deal(waiting, upcoming, free)
            left_on_host = left - sum(map(len, waiting))
            lanes = np.zeros((3, self.count, queue_length), np.int64)
            for d, places in enumerate(waiting):
                rows = free[d][: len(places)]
                lanes[:, d, : len(places)] = self.seed[places], self.cell[places], rows
            lengths = np.asarray([len(places) for places in waiting])
            queue = Queue(
                self._place(lanes[0].astype(np.uint32)),
                self._place(lanes[1]),
                self._place(lanes[2]),
                self._place(lengths),
            )
            more = self._place(np.full(self.count, left_on_host > 0))
            begin = time.perf_counter()
            before = np.asarray(pool.iterations).max()
            pool, position = advance(shared, pool, queue, self._place(np.full(self.count, limit)), more)
            position = np.atleast_1d(np.asarray(position))
            seconds = time.perf_counter() - begin
            done = int(np.asarray(pool.iterations).max() - before)
            if done == limit:
                limit = int(np.clip(limit * SECONDS_A_CALL / max(seconds, 1e-3), max(limit // 4, 8), limit * 4))
            for d in range(self.count):
                started = int(position[d])
                owner[d, free[d][:started]] = waiting[d][:started]
                free[d], waiting[d], left = free[d][started:], waiting[d][started:], left - started
            for d, rows in enumerate(self._ended(pool, owner)):
                free[d] += rows.tolist()
            for places, kept in self._collect(shared, pool, owner):
                finished += len(places)
                yield places, kept
        self.iterations = int(np.asarray(pool.iterations).sum())

    def _deal(self, waiting: list[list[int]], upcoming: Iterator[int], free: list[list[int]]) -> None:
        """Gives out places to the devices in turn, as long as they have free rows."""
        for _ in range(self.rows):
            for d in sorted(range(self.count), key=lambda d: len(waiting[d])):
                if len(waiting[d]) < len(free[d]):
                    place = next(upcoming, None)
                    if place is None:
                        return
                    waiting[d].append(place)

    def _ended(self, pool: Any, owner: np.ndarray) -> list[np.ndarray]:
        """Rows of each device whose lanes have ended and been written."""
        row = np.asarray(pool.row).reshape(self.count, -1)
        idle = np.asarray(pool.idle).reshape(self.count, -1)
        ended = []
        for d in range(self.count):
            busy = row[d][~idle[d]]
            ended.append(np.setdiff1d(np.flatnonzero(owner[d] >= 0), busy))
        self._rows_ended = ended
        return ended

    def _collect(self, shared: tuple, pool: Any, owner: np.ndarray) -> Iterator[tuple[np.ndarray, dict]]:
        ended = self._rows_ended
        rounds = -(-max(len(rows) for rows in ended) // COLLECT)
        for k in range(rounds):
            rows = [some[k * COLLECT : (k + 1) * COLLECT] for some in ended]
            padded = np.asarray([np.pad(some, (0, COLLECT - len(some))) for some in rows]).astype(np.int64)
            places = np.take_along_axis(owner, padded, axis=1)
            places = np.where(places < 0, 0, places)
            arguments = (self._place(a) for a in (padded, self.seed[places].astype(np.uint32), self.cell[places]))
            kept = jax.device_get(observe(shared, pool, *arguments))
            take = np.concatenate([d * COLLECT + np.arange(len(some)) for d, some in enumerate(rows)])
            flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[(2 if self.mesh is not None else 1) :])[take], kept)
            yield np.concatenate([owner[d, some] for d, some in enumerate(rows)]), flat
        for d, rows in enumerate(ended):
            owner[d, rows] = -1


class Blocks:
    """Gathers lanes as they come, and writes a block to the store when it is whole."""

    def __init__(self, store: LaneStore, real: np.ndarray):
        """Blocks of a store.

        Args:
            store: where to.
            real: whether a lane stands at each place (False where a block is padded).
        """
        self.store = store
        size = store.block
        self.missing = real.reshape(-1, size).sum(1)
        self.partial: dict[int, dict[str, np.ndarray]] = {}

    def add(self, place: int, row: dict[str, np.ndarray]) -> None:
        """Takes a lane; writes its block if that was the last.

        Args:
            place: where it stands.
            row: what is kept of it.
        """
        size = self.store.block
        block, slot = divmod(place, size)
        if block not in self.partial:
            self.partial[block] = {
                key: np.full((size, *np.shape(value)), np.nan if np.asarray(value).dtype.kind == "f" else 0, np.asarray(value).dtype)
                for key, value in row.items()
            }
        for key, value in row.items():
            self.partial[block][key][slot] = value
        self.missing[block] -= 1
        if self.missing[block] == 0:
            self.store.write(block, self.partial.pop(block))
