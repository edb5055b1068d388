"""The batch of constant width that is refilled inside the compiled program.

`advance` steps `width` lanes at once. A lane that ends writes its final state to its row of the results and its slot takes the
next lane of the queue, in the same compiled loop; shapes never change, so there is one compilation. The loop's conditionals stand
outside the `vmap`, so a refill costs nothing in the iterations without one.
"""

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..solve import Certificate, Lane, LaneState, Outcome, Settings
from .grid import Plan
from .shapes import once

RUNNING = int(Outcome.running)


class Problem(eqx.Module):
    """What all lanes of a batch share.

    Attributes:
        flow: the flow, before a lane's settings are put in.
        settings: how to solve, likewise.
        plan: which leaves of both differ from lane to lane, and where the record times come from.
        table: these leaves, a leading axis `cell`.
        key: the root key; a lane's key is `fold_in(key, seed)`.
        like: shapes of the parameters (static).
        watch: the observables.
    """

    flow: Any
    settings: Settings
    plan: Plan
    table: tuple[Array, ...]
    key: PRNGKeyArray
    like: PyTree = eqx.field(static=True)
    watch: dict[str, Any]

    def unwatched(self) -> "Problem":
        """The same without observables, which would compile anew what does not look at them."""
        return dataclasses.replace(self, watch={})

    def lane(self, values: tuple[Array, ...]) -> Lane:
        """A lane with its own settings put in."""
        flow, settings = self.plan.insert(self.flow, self.settings, values)
        return Lane(flow, settings, self.like)

    def values(self, cell: Int[Array, "..."]) -> tuple[Array, ...]:
        """The settings of a cell, or of several."""
        return jax.tree.map(lambda column: column[cell], self.table)

    def start(self, seed: Int[Array, ""], values: tuple[Array, ...]) -> LaneState:
        """The first state of a lane."""
        lane = self.lane(values)
        return lane.start(lane.flow.init(jr.fold_in(self.key, seed)))

    def step(self, values: tuple[Array, ...], state: LaneState) -> tuple[LaneState, PyTree]:
        """One trial step of a lane."""
        return self.lane(values).step(state)

    def times(self, values: tuple[Array, ...]) -> Float[Array, " time"]:
        """A lane's record times."""
        return self.plan.times(self.plan.insert(self.flow, self.settings, values)[1].t1)

    def all_times(self, values: tuple[Array, ...], width: int) -> Float[Array, "slot time"]:
        """The record times of all slots."""
        return jax.vmap(lambda values, _: self.times(values))(values, jnp.arange(width))


class Queue(eqx.Module):
    """Lanes that wait: seed, cell and the row of the results where each will write; `length` of them are real."""

    seed: Int[Array, " queue"]
    cell: Int[Array, " queue"]
    row: Int[Array, " queue"]
    length: Int[Array, ""]


class Results(eqx.Module):
    """What lanes leave behind, a leading axis `row`; `states` has the record times and, last, the end."""

    states: Float[Array, "row time param"]
    recorded: Int[Array, " row"]
    t: Float[Array, " row"]
    outcome: Int[Array, " row"]
    certificate: Certificate


class Pool(eqx.Module):
    """A batch: for each slot its lane's state and settings, and the results.

    A slot whose lane has ended and been written is `idle`.
    """

    state: LaneState
    values: tuple[Array, ...]
    times: Float[Array, "slot time"]
    row: Int[Array, " slot"]
    idle: Bool[Array, " slot"]
    results: Results
    iterations: Int[Array, ""]


@once
def pool_shapes(which: tuple[Problem, int, int]) -> PyTree:
    """The shapes of a batch.

    Args:
        which: what the lanes share; the number of slots; how many lanes can be in flight or finished before the host collects them.

    Returns:
        A `Pool` of `jax.ShapeDtypeStruct`.
    """
    problem, width, rows = which

    def make(problem: Problem) -> Pool:
        values = problem.values(jnp.zeros(width, int))
        state = jax.vmap(problem.start)(jnp.zeros(width, jnp.uint32), values)
        times = problem.all_times(values, width)
        small = (state.t, state.outcome, state.certificate)
        one = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), small)
        states = jnp.zeros((rows, times.shape[1] + 1, state.y.shape[1]), state.y.dtype)
        results = Results(states, jnp.zeros(rows, int), *one)
        return Pool(state, values, times, jnp.full(width, rows), jnp.ones(width, bool), results, jnp.asarray(0))

    return eqx.filter_eval_shape(make, problem)


def _hand_over(pool: Pool) -> Pool:
    """Writes the small results of the lanes that have ended; their states are written already."""
    row = jnp.where(pool.idle, pool.row, pool.results.outcome.shape[0])
    small = (pool.state.next_record, pool.state.t, pool.state.outcome, pool.state.certificate)
    old = (pool.results.recorded, pool.results.t, pool.results.outcome, pool.results.certificate)
    new = jax.tree.map(lambda column, values: column.at[row].set(values, mode="drop"), old, small)
    # an idle slot has no row from here on: its old one may be given to another lane before the slot gets one
    kept = jnp.where(pool.idle, pool.results.outcome.shape[0], pool.row)
    return eqx.tree_at(lambda p: (p.results, p.row), pool, (Results(pool.results.states, *new), kept))


def _patience(width: int) -> int:
    """How many slots are idle before they are refilled; so many lanes are started at once."""
    return max(1, width // 16)


def _refill(problem: Problem, queue: Queue, state: tuple) -> tuple:
    """Idle slots take the next lanes of the queue, a few at a time: a start costs several steps, and is not computed for busy slots."""
    width = state[4].size
    some = _patience(width)

    def waits(state: tuple) -> Array:
        return (state[5] < queue.length) & (state[4].sum() >= some)

    def take(state: tuple) -> tuple:
        lane_state, values, times, row, idle, position = state
        place = position + jnp.arange(some)
        slot = jnp.where(place < queue.length, jnp.nonzero(idle, size=some, fill_value=width)[0], width)
        place = jnp.where(place < queue.length, place, 0)
        own = problem.values(queue.cell[place])
        fresh = (
            jax.vmap(problem.start)(queue.seed[place], own),
            own,
            problem.all_times(own, some),
            queue.row[place],
            jnp.zeros(some, bool),
        )
        put = jax.tree.map(lambda old, new: old.at[slot].set(new, mode="drop"), (lane_state, values, times, row, idle), fresh)
        return *put, jnp.minimum(position + some, queue.length)

    return jax.lax.while_loop(waits, take, state)


def _write_states(problem: Problem, pool: Pool, stretch: PyTree) -> Pool:
    """Writes what each slot's step passed: record by record, then the end of the lanes that ended."""
    rows, columns = pool.results.states.shape[:2]
    records = columns - 1
    ended = pool.state.outcome != RUNNING
    read = jax.vmap(lambda values, stretch, t: problem.lane(values).read(stretch, t))

    def waiting(index: Array, idle: Array) -> tuple[Array, Array, Array]:
        t = jnp.take_along_axis(pool.times, jnp.minimum(index, records - 1)[:, None], axis=1)[:, 0]
        due = ~idle & (index < records) & (t <= stretch.t_after)
        return due, ~idle & ended & ~due, t

    def pending(carry: tuple) -> Array:
        due, last, _ = waiting(carry[0], carry[1])
        return jnp.any(due | last)

    def write(carry: tuple) -> tuple:
        index, idle, states = carry
        due, last, t = waiting(index, idle)
        y = jnp.where(last[:, None], pool.state.y, read(pool.values, stretch, t))
        row = jnp.where(due | last, pool.row, rows)
        column = jnp.where(last, records, jnp.minimum(index, records - 1))
        return index + due, idle | last, states.at[row, column].set(y, mode="drop")

    carry = (pool.state.next_record, pool.idle, pool.results.states)
    index, idle, states = jax.lax.while_loop(pending, write, carry)
    return eqx.tree_at(lambda p: (p.state.next_record, p.idle, p.results.states), pool, (index, idle, states))


def _advance(problem: Problem, pool: Pool, queue: Queue, limit: Int[Array, ""], more: Bool[Array, ""]) -> tuple[Pool, Int[Array, ""]]:
    width = pool.idle.shape[0]
    patience = _patience(width)

    def going(carry: tuple) -> Array:
        pool, position, iteration = carry
        starved = more & (position >= queue.length) & (pool.idle.sum() >= patience)
        return (iteration < limit) & (jnp.any(~pool.idle) | (position < queue.length)) & ~starved

    def body(carry: tuple) -> tuple:
        pool, position, iteration = carry
        refills = (position < queue.length) & (pool.idle.sum() >= patience)
        pool = jax.lax.cond(refills, _hand_over, lambda p: p, pool)
        slots = (pool.state, pool.values, pool.times, pool.row, pool.idle, position)
        slots = jax.lax.cond(refills, partial(_refill, problem, queue), lambda s: s, slots)
        lane_state, values, times, row, idle, position = slots
        pool = Pool(lane_state, values, times, row, idle, pool.results, pool.iterations + 1)
        state, stretch = jax.vmap(problem.step)(pool.values, pool.state)
        pool = eqx.tree_at(lambda p: p.state, pool, state)
        return _write_states(problem, pool, stretch), position, iteration + 1

    pool, position, _ = jax.lax.while_loop(going, body, (pool, jnp.asarray(0), jnp.asarray(0)))
    return _hand_over(pool), position


def per_device(function: Any, mesh: Mesh | None) -> Any:
    """One independent program a device: each sees its own part of all arguments but the first."""
    if mesh is None:
        return function
    split, whole = PartitionSpec("device"), PartitionSpec()

    def mapped(problem: Problem, *rest: PyTree) -> PyTree:
        dynamic, static = eqx.partition(problem, eqx.is_array)

        def local(dynamic: PyTree, *parts: PyTree) -> PyTree:
            inner = jax.tree.map(lambda leaf: leaf[0], parts)
            out = function(eqx.combine(dynamic, static), *inner)
            return jax.tree.map(lambda leaf: leaf[None], out)

        specs = (whole,) + (split,) * len(rest)
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)(dynamic, *rest)

    return mapped


@eqx.filter_jit(donate="all-except-first")
def advance(shared: tuple[Problem, Mesh | None], pool: Pool, queue: Queue, limit: Array, more: Array) -> tuple[Pool, Array]:
    """Steps every device's batch until `limit` iterations are done or its queue runs dry.

    Args:
        shared: the problem, and the mesh of devices (None for one).
        pool: with a mesh, each leaf of this and of what follows has a leading axis `device`.
        queue: the lanes that wait.
        limit: iterations at most.
        more: whether the host has further lanes; then it returns when slots fall idle for want of lanes.

    Returns:
        The pool and how many lanes of the queue have been started.
    """
    return per_device(_advance, shared[1])(shared[0], pool, queue, limit, more)


@eqx.filter_jit
def make_pool(shared: tuple[PyTree, Mesh | None]) -> Pool:
    """An idle batch on every device, from the shapes that `pool_shapes` found: nothing of the flow is compiled for it."""
    shapes, mesh = shared

    def idle() -> Pool:
        pool = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        rows, width = pool.results.outcome.shape[0], pool.idle.shape[0]
        ended = jnp.full_like(pool.state.outcome, int(Outcome.stopped))
        return eqx.tree_at(lambda p: (p.state.outcome, p.row, p.idle), pool, (ended, jnp.full_like(pool.row, rows), jnp.ones(width, bool)))

    return idle() if mesh is None else per_device(lambda _, __: idle(), mesh)(None, jnp.zeros(mesh.size))
