"""What is kept of a lane: said once, for the columns of a store and for the numbers in them."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

from .._checks import explained, once, shown
from ..measure import sliding_gates
from ..solve import Certificate, evaluate, neurons_of
from ..store import Column, check_case, check_name
from .batch import Pool, Problem, Results, per_device, pool_shapes
from .grid import RESERVED

CERTIFICATE = tuple(field.name for field in dataclasses.fields(Certificate))
OWN = ("t", "t_end", "outcome", "switched", "params", "gates", *CERTIFICATE)
"""Variables that every lane has (`gates` where there are kinks)."""


def keep(problem: Problem, results: Results, row: Int[Array, ""], seed: Int[Array, ""], cell: Int[Array, ""]) -> dict[str, Array]:
    """What is kept of a lane that has ended.

    Args:
        problem: what it shares with others.
        results: what the batch wrote.
        row: where in them.
        seed: the lane's seed.
        cell: its cell.

    Returns:
        Variables by name.
    """
    values = problem.values(cell)
    lane, times = problem.lane(values), problem.times(values)
    small = (results.recorded, results.t, results.outcome, results.certificate)
    recorded, t, outcome, certificate = jax.tree.map(lambda column: column[row], small)
    reached = jnp.append(jnp.arange(times.size) < recorded, True)
    end = results.states[row, -1]
    states = jnp.where(reached[:, None], results.states[row], end)  # the rest is of an earlier lane, or of none
    start = lane.flow.init(jr.fold_in(problem.key, seed))
    gates = gates_of(lane.flow, lane.unravel(end))
    observed = evaluate(problem.watch, lane.flow, jnp.append(times, t), states, start, lane.unravel, reached)
    found = {"t": jnp.where(reached[:-1], times, jnp.nan), "t_end": t, "outcome": outcome, "params": end}
    found["switched"] = jnp.asarray(problem.switched)
    found |= {} if gates is None else {"gates": gates}
    found |= {name: getattr(certificate, name) for name in CERTIFICATE}
    for name, series in observed.items():
        found |= {name: series[:-1], f"{name}_end": series[-1]}
    return found


@eqx.filter_jit
def keep_all(shared: tuple[Problem, Mesh | None], results: Results, row: Array, seed: Array, cell: Array) -> dict[str, Array]:
    """What is kept of some lanes, one after the other.

    Args:
        shared: as for `advance`.
        results: as for `keep`; with a mesh, this and what follows have a leading axis `device`.
        row: as for `keep`, an axis `lane`.
        seed: likewise.
        cell: likewise.

    Returns:
        Variables by name, the lanes first.
    """

    def each(problem: Problem, results: Results, row: Array, seed: Array, cell: Array) -> PyTree:
        return jax.lax.map(lambda lane: keep(problem, results, *lane), (row, seed, cell))

    return per_device(each, shared[1])(shared[0], results, row, seed, cell)


def gates_of(flow: Any, params: PyTree) -> Array | None:
    """The gates of a flow with kinks: 1 where a pre-activation is positive, else 0, Filippov's where it slides; None for smooth flows.

    Args:
        flow: the flow.
        params: its parameters.

    Returns:
        Shape (sample, hidden), the layers of a deep network side by side.
    """
    own = getattr(flow, "preactivations", None)
    z = None if own is None else own(params)
    if z is None:
        return None
    if neurons_of(flow, params) is not None:
        slides = sliding_gates(flow, jnp.zeros(()), params)
        return jnp.where(jnp.isfinite(slides), slides, z > 0).astype(jnp.float32)
    return jnp.concatenate([(layer > 0).astype(jnp.float32) for layer in jax.tree.leaves(z)], axis=-1)


@once
def _shapes(problem: Problem) -> dict[str, jax.ShapeDtypeStruct]:
    pool: Pool = pool_shapes((problem.unwatched(), 1, 1))
    one = jax.ShapeDtypeStruct((), jnp.result_type(int))
    return eqx.filter_eval_shape(keep, problem, pool.results, one, jax.ShapeDtypeStruct((), jnp.uint32), one)


def columns(problem: Problem, taken: tuple[str, ...]) -> dict[str, Column]:
    """The columns of a store.

    Args:
        problem: what the lanes share.
        taken: names of the grid's axes.

    Returns:
        Shape, dtype and dimensions of each variable.

    Raises:
        ValueError: an observable fails, or its name or dimensions clash with others.
    """
    for name in problem.watch:
        check_name("an observable", name)
        for variable in (name, f"{name}_end"):
            # the flow's own loss at the end is what an observable "loss" gives too
            if variable in (*RESERVED, *taken, *OWN) and (variable, name) != ("loss_end", "loss"):
                raise ValueError(f"the observable {name!r} would be stored as {variable!r}, a name that a sweep needs: call it otherwise.")
        if f"{name}_end" in problem.watch:
            raise ValueError(f"the observable {name + '_end'!r} has the name of the end of {name!r}: call it otherwise.")
    check_case("the observable", (one for name in problem.watch for one in (name, f"{name}_end")), (*RESERVED, *taken, *OWN))
    with explained("an observable does not fit this flow"):
        shapes = _shapes(problem)
    dims: dict[str, tuple[str, ...]] = {"t": ("time",), "params": ("param",), "gates": ("sample", "hidden")}
    for name, function in problem.watch.items():
        extra = len(shapes[f"{name}_end"].shape)
        named = getattr(function, "dims", None)
        if not (
            named is None or isinstance(named, str) or (isinstance(named, list | tuple) and all(isinstance(dim, str) for dim in named))
        ):
            raise ValueError(f"the attribute dims of the observable {name!r} must be names of dimensions, not {shown(named)}.")
        own = tuple(f"{name}_{k}" for k in range(extra)) if named is None else (named,) if isinstance(named, str) else tuple(named)
        for dim in own:
            check_name(f"a dimension of the observable {name!r}", dim)
        if len(own) != extra:
            raise ValueError(f"the observable {name!r} names the dimensions {own}, but has {extra}.")
        if len(set(own)) < extra or set(own) & {"seed", "time", *taken}:
            raise ValueError(f"the observable {name!r} names the dimensions {own}, of which one is taken already: name it otherwise.")
        dims[f"{name}_end"], dims[name] = own, ("time", *own)
    sizes: dict[str, tuple[str, int]] = {}
    for key, shape in shapes.items():
        for dim, size in zip(dims.get(key, ()), shape.shape, strict=True):
            other, known = sizes.setdefault(dim, (key, size))
            if size != known:
                raise ValueError(f"{key!r} has {size} along the dimension {dim!r}, but {other!r} has {known}: name it otherwise in `dims`.")
    return {key: Column(tuple(shape.shape), str(shape.dtype), dims.get(key, ())) for key, shape in shapes.items()}
