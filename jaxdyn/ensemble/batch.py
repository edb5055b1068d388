"""The batch of constant width that is refilled inside the compiled program.

`advance` steps `width` lanes at once. A lane that ends writes its final state to its row of the results and its slot takes the
next lane of the queue, in the same compiled loop; shapes never change, so there is one compilation. The loop's conditionals stand
outside the `vmap`, so a refill costs nothing in the iterations without one.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._checks import once
from ..solve import Certificate, Lane, LaneState, Outcome, Settings
from .grid import Plan

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
        switched: whether it is solved by another solver than the sweep's first (static).
    """

    flow: Any
    settings: Settings
    plan: Plan
    table: tuple[Array, ...]
    key: PRNGKeyArray
    like: PyTree = eqx.field(static=True)
    watch: dict[str, Any]
    switched: bool = eqx.field(static=True, default=False)

    @property
    def size(self) -> int:
        """How many parameters a lane has."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.like))

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

    def start(self, seed: Int[Array, ""], values: tuple[Array, ...], projected: Float[Array, ""]) -> LaneState:
        """The first state of a lane."""
        lane = self.lane(values)
        key = jr.fold_in(self.key, seed)
        return lane.start(lane.flow.init(key), key=key, projected=projected)

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
    """Lanes that wait: seed, cell, the steps projected for them, the row of the results where each will write; `length` are real."""

    seed: Int[Array, " queue"]
    cell: Int[Array, " queue"]
    projected: Float[Array, " queue"]
    row: Int[Array, " queue"]
    length: Int[Array, ""]


class Results(eqx.Module):
    """What lanes leave behind, a leading axis `row`; `states` has the record times and, last, the end."""

    states: Float[Array, "row time param"]
    recorded: Int[Array, " row"]
    t: Float[Array, " row"]
    outcome: Int[Array, " row"]
    certificate: Certificate


class Slots(eqx.Module):
    """The lanes that run, a leading axis `slot`; a slot whose lane has ended and been written is `idle`."""

    state: LaneState
    values: tuple[Array, ...]
    times: Float[Array, "slot time"]
    row: Int[Array, " slot"]
    idle: Bool[Array, " slot"]


class Pool(eqx.Module):
    """A batch: its slots, the results, and how often its slots have stepped."""

    slots: Slots
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
        state = jax.vmap(problem.start)(jnp.zeros(width, jnp.uint32), values, jnp.zeros(width))
        times = problem.all_times(values, width)
        small = (state.t, state.outcome, state.certificate)
        one = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), small)
        states = jnp.zeros((rows, times.shape[1] + 1, state.y.shape[1]), state.y.dtype)
        results = Results(states, jnp.zeros(rows, int), *one)
        return Pool(Slots(state, values, times, jnp.full(width, rows), jnp.ones(width, bool)), results, jnp.asarray(0))

    return eqx.filter_eval_shape(make, problem)


def _hand_over(pool: Pool) -> Pool:
    """Writes the small results of the lanes that have ended; their states are written already."""
    slots, results = pool.slots, pool.results
    nowhere = results.outcome.shape[0]
    row = jnp.where(slots.idle, slots.row, nowhere)
    small = (slots.state.next_record, slots.state.t, slots.state.outcome, slots.state.certificate)
    old = (results.recorded, results.t, results.outcome, results.certificate)
    new = jax.tree.map(lambda column, values: column.at[row].set(values, mode="drop"), old, small)
    # an idle slot has no row from here on: its old one may be given to another lane before the slot gets one
    kept = jnp.where(slots.idle, nowhere, slots.row)
    return eqx.tree_at(lambda p: (p.results, p.slots.row), pool, (Results(results.states, *new), kept))


def _patience(width: int) -> int:
    """How many slots are idle before they are refilled; so many lanes are started at once."""
    return max(1, width // 16)


def _refill(problem: Problem, queue: Queue, carry: tuple[Slots, Array]) -> tuple[Slots, Array]:
    """Idle slots take the next lanes of the queue, a few at a time: a start costs several steps, and is not computed for busy slots."""
    width = carry[0].idle.size
    some = _patience(width)

    def waits(carry: tuple[Slots, Array]) -> Array:
        return (carry[1] < queue.length) & (carry[0].idle.sum() >= some)

    def take(carry: tuple[Slots, Array]) -> tuple[Slots, Array]:
        slots, position = carry
        place = position + jnp.arange(some)
        slot = jnp.where(place < queue.length, jnp.nonzero(slots.idle, size=some, fill_value=width)[0], width)
        place = jnp.where(place < queue.length, place, 0)
        values = problem.values(queue.cell[place])
        state = jax.vmap(problem.start)(queue.seed[place], values, queue.projected[place])
        fresh = Slots(state, values, problem.all_times(values, some), queue.row[place], jnp.zeros(some, bool))
        put = jax.tree.map(lambda old, new: old.at[slot].set(new, mode="drop"), slots, fresh)
        return put, jnp.minimum(position + some, queue.length)

    return jax.lax.while_loop(waits, take, carry)


def _write_states(problem: Problem, slots: Slots, stretch: PyTree, states: Array) -> tuple[Slots, Array]:
    """Writes what each slot's step passed, its record times and, of the lanes that ended, the end: a few (slot, time) pairs at once."""
    rows, columns = states.shape[:2]
    width, records = slots.times.shape
    some = _patience(width)
    first = slots.state.next_record
    ends = ~slots.idle & (slots.state.outcome != RUNNING)
    reached = jnp.sum(slots.times <= stretch.t_after[:, None], axis=1)
    last = jnp.where(slots.idle, first, jnp.maximum(first, reached))
    total = jnp.cumsum(last - first + ends)
    read = jax.vmap(lambda values, stretch, t: problem.lane(values).read(stretch, t))

    def write(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, states = carry
        pair = done + jnp.arange(some)
        slot = jnp.minimum(jnp.sum(total[None, :] <= pair[:, None], axis=1), width - 1)
        index = last[slot] + ends[slot] - (total[slot] - pair)
        at_end = index == last[slot]
        values, passed = jax.tree.map(lambda leaf: leaf[slot], (slots.values, stretch))
        y = jnp.where(at_end[:, None], passed.y, read(values, passed, slots.times[slot, jnp.minimum(index, records - 1)]))
        row = jnp.where(pair < total[-1], slots.row[slot], rows)
        return done + some, states.at[row, jnp.where(at_end, columns - 1, index)].set(y, mode="drop")

    _, states = jax.lax.while_loop(lambda carry: carry[0] < total[-1], write, (jnp.zeros((), total.dtype), states))
    return eqx.tree_at(lambda s: (s.state.next_record, s.idle), slots, (last, slots.idle | ends)), states


def _step(problem: Problem, size: int, k: Int[Array, ""], carry: tuple[Slots, Array]) -> tuple[Slots, Array]:
    """One step of the k-th `size` slots."""
    slots, states = carry
    mine = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, k * size, size), slots)
    state, stretch = jax.vmap(problem.step)(mine.values, mine.state)
    mine, states = _write_states(problem, eqx.tree_at(lambda s: s.state, mine, state), stretch, states)
    changed = jax.tree.map(
        lambda leaf, part: jax.lax.dynamic_update_slice_in_dim(leaf, part, k * size, 0), (slots.state, slots.idle), (mine.state, mine.idle)
    )
    return eqx.tree_at(lambda s: (s.state, s.idle), slots, changed), states


def _advance(
    size: int, problem: Problem, pool: Pool, queue: Queue, limit: Int[Array, ""], more: Bool[Array, ""]
) -> tuple[Pool, Int[Array, ""]]:
    width = pool.slots.idle.size
    patience = _patience(width)

    def going(carry: tuple) -> Array:
        pool, position, iteration = carry
        starved = more & (position >= queue.length) & (pool.slots.idle.sum() >= patience)
        return (iteration < limit) & (jnp.any(~pool.slots.idle) | (position < queue.length)) & ~starved

    def body(carry: tuple) -> tuple:
        pool, position, iteration = carry
        refills = (position < queue.length) & (pool.slots.idle.sum() >= patience)
        pool = jax.lax.cond(refills, _hand_over, lambda p: p, pool)
        slots, position = jax.lax.cond(refills, partial(_refill, problem, queue), lambda c: c, (pool.slots, position))
        slots, states = jax.lax.fori_loop(0, width // size, partial(_step, problem, size), (slots, pool.results.states))
        pool = eqx.tree_at(lambda p: (p.slots, p.results.states, p.iterations), pool, (slots, states, pool.iterations + 1))
        return pool, position, iteration + 1

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
def advance(shared: tuple[Problem, Mesh | None, int], pool: Pool, queue: Queue, limit: Array, more: Array) -> tuple[Pool, Array]:
    """Steps every device's batch until `limit` iterations are done or its queue runs dry.

    Args:
        shared: the problem, the mesh of devices (None for one), and how many slots step together, a divisor of their number.
        pool: with a mesh, each leaf of this and of what follows has a leading axis `device`.
        queue: the lanes that wait.
        limit: iterations at most.
        more: whether the host has further lanes; then it returns when slots fall idle for want of lanes.

    Returns:
        The pool and how many lanes of the queue have been started.
    """
    return per_device(partial(_advance, shared[2]), shared[1])(shared[0], pool, queue, limit, more)


@eqx.filter_jit
def make_pool(shared: tuple[PyTree, Mesh | None]) -> Pool:
    """An idle batch on every device, from the shapes that `pool_shapes` found: nothing of the flow is compiled for it."""
    shapes, mesh = shared

    def idle() -> Pool:
        pool = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        rows, slots = pool.results.outcome.shape[0], pool.slots
        ended = jnp.full_like(slots.state.outcome, int(Outcome.stopped))
        new = (ended, jnp.full_like(slots.row, rows), jnp.ones_like(slots.idle))
        return eqx.tree_at(lambda p: (p.slots.state.outcome, p.slots.row, p.slots.idle), pool, new)

    return idle() if mesh is None else per_device(lambda _, __: idle(), mesh)(None, jnp.zeros(mesh.size))
