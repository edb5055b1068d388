"""Many lanes polished in a refilled batch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from .._checks import check_count, check_untraced
from .._types import Params
from ..solve import Point, Polished, Polishing, PolishSettings, check_call, check_params, polish_settings
from .batch import per_device
from .progress import Shown, progress_bar
from .shapes import check_devices, check_progress

ROUND = 256
"""Lanes that a device is given at once: the progress bar moves after each round."""


def polish_lanes(
    flow: Any,
    params: Params,
    *,
    tolerance: float | Array | None = None,
    max_steps: int | Array = 100,
    radius: float | Array | None = None,
    saddles: bool = False,
    method: str | None = None,
    batch: int = 64,
    devices: Sequence[Any] | None = None,
    progress: bool | str = True,
) -> Polished:
    """Polishes many lanes of one flow, as `jaxdyn.polish` does each: a lane that is done makes room for the next.

    It steers from the host, so it is not for use under `jit`.

    Args:
        flow: as in `polish`.
        params: where to begin, each leaf with a leading axis `lane`, as `jax.vmap(flow.init)` or the end of vmapped solves has it.
        tolerance: as in `polish`.
        max_steps: as in `polish`.
        radius: as in `polish`.
        saddles: as in `polish`.
        method: as in `polish`.
        batch: lanes that a device works on at once, at most; a lane's result does not depend on it beyond rounding.
        devices: all of the default backend's by default.
        progress: as in `sweep`.

    Returns:
        One point a lane, each field with a leading axis.

    Raises:
        ValueError: the leaves have no leading axis in common, the batch is empty, or there is no device.
    """
    check_untraced("polish_lanes", flow, params, tolerance, max_steps, radius)
    check_progress(progress)
    batch, where = check_count("batch", batch), check_devices(devices)
    check_params(params)
    shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(params)}
    if len(shapes) != 1 or shapes in ({()}, {(0,)}):
        raise ValueError(f"every leaf of params needs the same leading axis of lanes, not {sorted(shapes)}: for one lane use polish.")
    bar = progress if isinstance(progress, str) else "polish"
    with progress_bar(bar, jnp.shape(jax.tree.leaves(params)[0])[0], 0, bool(progress)) as shown:
        return _polish_all(shown, flow, params, (tolerance, max_steps, radius, saddles, method), batch, where)


def _polish_all(shown: Shown, flow: Any, params: Params, settings: tuple, batch: int, where: list[Any]) -> Polished:
    """What `polish_lanes` does once its arguments are checked, while a bar shows how far it is."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
    how = polish_settings(one, *settings)
    check_call(flow, one, (), {})
    lanes = jax.tree.leaves(params)[0].shape[0]
    share = min(-(-lanes // len(where)), ROUND)
    shared, all_at_once = (flow, how), share * len(where)
    mesh, parts = Mesh(np.asarray(where), ("device",)), []
    shown.say("compiling")
    for first in range(0, lanes, all_at_once):
        chosen = np.minimum(first + np.arange(all_at_once), lanes - 1).reshape(len(where), share)
        many = jnp.asarray(np.clip(lanes - first - share * np.arange(len(where)), 0, share))
        part = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], params)
        found = _polish_lanes((shared, mesh, min(int(batch), share)), part, many)
        parts.append(jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), found))
        shown(min(first + all_at_once, lanes))
    return jax.tree.map(lambda *pieces: jnp.asarray(np.concatenate(pieces)[:lanes]), *parts)


State = tuple[Array, Array, Point, Polished, Array]
"""The lanes in the batch, the next one, where each stands, what was found so far, and which are running."""


@eqx.filter_jit
def _polish_lanes(shared: tuple[tuple[Any, PolishSettings], Mesh, int], params: Params, many: Array) -> Polished:
    """Every device's lanes: `many` of them, the rest of its part being copies that are left alone."""
    problem, mesh, batch = shared
    return per_device(partial(_polish_part, batch), mesh)(problem, params, many)


def _polish_part(batch: int, problem: tuple[Any, PolishSettings], params: Params, many: Array) -> Polished:
    flow, how = problem
    count = jax.tree.leaves(params)[0].shape[0]

    def of(lane: Array) -> Polishing:
        return Polishing(flow, jax.tree.map(lambda leaf: leaf[jnp.minimum(lane, count - 1)], params), how)

    def begin(lane: Array) -> Point:
        point = of(lane).begin()
        return point._replace(steps=jnp.where(lane < many, point.steps, how.max_steps))  # beyond the last lane there is nothing to do

    def report(lane: Array, point: Point) -> Polished:
        return of(lane).report(point)

    def refill(state: State) -> State:
        lanes, following, points, found, running = state
        done = ~running & (lanes < many)
        ended = jax.vmap(report)(lanes, points)
        found = jax.tree.map(lambda all_, new: all_.at[jnp.where(done, lanes, count)].set(new, mode="drop"), found, ended)
        lanes = jnp.where(done, following + jnp.cumsum(done) - 1, lanes)
        fresh = jax.vmap(begin)(lanes)
        points = jax.tree.map(lambda new, old: jnp.where(done.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, points)
        return looked_at(lanes, following + jnp.sum(done), points, found)

    def step(state: State) -> State:
        lanes, following, points, found, _ = state
        return looked_at(lanes, following, jax.vmap(lambda lane, point: of(lane).step(point))(lanes, points), found)

    def looked_at(lanes: Array, following: Array, points: Point, found: Polished) -> State:
        return lanes, following, points, found, jax.vmap(lambda lane, point: of(lane).is_running(point))(lanes, points)

    def turn(state: State) -> State:
        lanes, running = state[0], state[-1]
        return jax.lax.cond(jnp.any(~running & (lanes < many)), refill, step, state)

    lanes = jnp.arange(batch)
    points = jax.vmap(begin)(lanes)
    found = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape[1:]), leaf.dtype), jax.eval_shape(jax.vmap(report), lanes, points))
    begun = looked_at(lanes, jnp.asarray(batch), points, found)
    return jax.lax.while_loop(lambda state: jnp.any(state[0] < many), turn, begun)[3]
