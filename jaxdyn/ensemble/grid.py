"""The grid of settings: what differs from lane to lane within a compilation, and what needs one of its own.

Each cell of the grid is made just as a caller would make it: the flow by its constructors, the settings of the solve by `make_settings`.
Cells of one structure and of equal shapes share a compilation; the leaves in which they differ are found by comparing them.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import explained, shown
from .._types import as_leaf
from ..solve import Settings

OF_THE_SOLVE = ("t1", "rtol", "atol", "max_steps", "dt0")
"""Grid names that address the solve; every other name is a path in the flow."""

RESERVED = tuple(
    "seed time param sample hidden lane t t_end outcome params gates quantile device cell order done block layout".split()  # noqa: SIM905
)
"""Names in a Dataset that no axis of the grid may take."""

Over = Mapping[str | tuple[str, ...], Sequence[Any]]
"""Paths to values, `{"model.init_scale": [0.1, 1.0]}`; a tuple of paths moves several settings together."""


class Plan(eqx.Module):
    """Which leaves differ from lane to lane, and the record times.

    Attributes:
        moving: their positions among the leaves of (flow, settings) (static).
        record: record times, or fractions of t1.
        relative: whether they are fractions (static).
    """

    moving: tuple[int, ...] = eqx.field(static=True)
    record: Float[Array, " time"]
    relative: bool = eqx.field(static=True)

    def insert(self, flow: Any, settings: Settings, values: tuple[Array, ...]) -> tuple[Any, Settings]:
        """The flow and the settings of a lane.

        Args:
            flow: the shared flow.
            settings: the shared settings.
            values: the lane's own leaves, in the order of `moving`.

        Returns:
            Both, with the values put in.
        """
        leaves, treedef = jax.tree.flatten((flow, settings))
        for position, value in zip(self.moving, values, strict=True):
            leaves[position] = value
        return jax.tree.unflatten(treedef, leaves)

    def times(self, t1: Float[Array, ""]) -> Float[Array, " time"]:
        """The record times of a lane that ends at t1."""
        return self.record * t1 if self.relative else self.record


class Axis(NamedTuple):
    """An axis of the grid: its dimension's name, the paths it moves, and the value of each path at each point."""

    name: str
    paths: tuple[str, ...]
    values: list[tuple[Any, ...]]


class Group(NamedTuple):
    """Cells that share a compilation.

    `flows` are theirs, each made once; `settings` are those of the first, `moving` and `table` the leaves in which they differ (leading
    axis `cell`, padded), `cells` their indices into the axes, `ends` their end times.
    """

    flows: list[Any]
    settings: Settings
    moving: tuple[int, ...]
    table: tuple[Array, ...]
    cells: list[tuple[int, ...]]
    ends: np.ndarray

    @property
    def flow(self) -> Any:
        """That of the first cell."""
        return self.flows[0]


def follow(tree: Any, path: str) -> Any:
    """What a dotted path leads to, by attribute, key or index."""
    for part in path.split("."):
        if isinstance(tree, Mapping):
            tree = tree[part]
        elif isinstance(tree, list | tuple) and part.lstrip("-").isdigit():
            tree = tree[int(part)]
        else:
            tree = getattr(tree, part)
    return tree


def replaced(tree: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a tree of modules with what some paths lead to replaced, static fields included.

    Each module is made once, with all its new values, so that its constructor checks them together.

    Args:
        tree: a module.
        values: dotted paths to new values.

    Returns:
        The copy.

    Raises:
        ValueError: a path leads into something that cannot be copied, or a constructor refuses a value.
    """
    if not values:
        return tree
    new = {path: _like(follow(tree, path), value) for path, value in values.items() if "." not in path}
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, dot, rest = path.partition(".")
        if dot:
            below.setdefault(head, {})[rest] = value
    for head, inner in below.items():
        new[head] = replaced(new.get(head, follow(tree, head)), inner)
    if isinstance(tree, Mapping):
        return {**tree, **new}
    if isinstance(tree, list | tuple):
        items = list(tree)
        for head, value in new.items():
            items[int(head)] = value
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if not dataclasses.is_dataclass(tree) or isinstance(tree, type):
        raise ValueError(f"{type(tree).__name__} cannot be varied: make it an equinox.Module.")
    fields = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if not set(new) <= set(fields):
        raise ValueError(f"{', '.join(sorted(set(new) - set(fields)))} of {type(tree).__name__} is no field, so it cannot be varied.")
    fields |= new
    if set(inspect.signature(type(tree)).parameters) == set(fields):
        named = ", ".join(f"{name}={value!r:.40}" for name, value in new.items())
        with explained(f"{type(tree).__name__} does not take {named}"):
            return type(tree)(**fields)
    copy = object.__new__(type(tree))  # a constructor of its own, which takes something else
    for name, value in fields.items():
        object.__setattr__(copy, name, value)
    return copy


def _like(old: Any, new: Any) -> Any:
    """A number in the place of an array becomes an array of its dtype; all else stays as it is."""
    if not eqx.is_array(old):
        return new
    try:
        array = as_leaf(new) if jnp.issubdtype(old.dtype, jnp.inexact) else jnp.asarray(new)
    except (TypeError, ValueError):
        raise ValueError(f"a value of the grid must be a number or an array of real numbers, not {new!r:.60}.") from None
    if old.ndim == 0 and array.ndim > 0:
        raise ValueError(f"a value of the grid must be one number, like the one in its place, not an array of shape {array.shape}.")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError("a value of the grid must be real, but is complex.")
    return array.astype(old.dtype)


def make_axes(flow: Any, over: Over | None) -> list[Axis]:
    """The axes of a grid, checked.

    Args:
        flow: the flow that the paths lead into.
        over: paths to values.

    Returns:
        One axis an entry, with names that do not clash.

    Raises:
        ValueError: a path leads nowhere, an axis is empty, or tuples do not match.
    """
    if not isinstance(over, Mapping | None):
        raise ValueError(f"over takes a dictionary from paths to values, {{'model.init_scale': [0.1, 1.0]}}, not {over!r:.60}.")
    axes: list[Axis] = []
    entry: Any
    values: Any
    for entry, values in (over or {}).items():
        paths: tuple[str, ...] = entry if isinstance(entry, tuple) else (entry,)
        if not isinstance(values, list | tuple | range) and not (hasattr(values, "shape") and np.ndim(values) > 0):
            raise ValueError(f"the grid's values for {entry!r} must be a list, not {shown(values)}.")
        if len(values) == 0 or not paths:
            raise ValueError(f"the grid has no values for {entry!r}: give at least one, or leave it out.")
        if isinstance(entry, tuple) and not all(isinstance(value, list | tuple) and len(value) == len(paths) for value in values):
            raise ValueError(f"each value for {entry!r} must be a tuple of {len(paths)}.")
        for path in paths:
            _check_path(flow, path)
            if any(path in axis.paths for axis in axes) or paths.count(path) > 1:
                raise ValueError(f"{path!r} stands twice in the grid: leave one out.")
        rows: list[Any] = list(values) if isinstance(entry, tuple) else [(value,) for value in values]
        axes.append(Axis("", paths, [tuple(row) for row in rows]))
    return [axis._replace(name=name) for axis, name in zip(axes, axis_names([axis.paths for axis in axes]), strict=True)]


def axis_names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The names of the axes: the last part of the first path where that is free, else the path.

    Args:
        paths: those of each axis.

    Returns:
        A name for each.
    """
    short = [first.rpartition(".")[2] for first, *_ in paths]
    alone = [short.count(name) == 1 and name not in RESERVED for name in short]
    names = [name if good else first for (first, *_), name, good in zip(paths, short, alone, strict=True)]
    return [f"flow.{name}" if name in RESERVED else name for name in names]


def _check_path(flow: Any, path: Any) -> None:
    if not isinstance(path, str):
        raise ValueError(f"a setting is named by a dotted path such as 'model.init_scale', not {shown(path)}.")
    if path in OF_THE_SOLVE:
        return
    done, tree = [], flow
    for part in path.split("."):
        try:
            tree = follow(tree, part)
        except (AttributeError, KeyError, IndexError):
            fields = dataclasses.fields(tree) if dataclasses.is_dataclass(tree) else ()
            known = sorted(map(str, tree)) if isinstance(tree, Mapping) else [field.name for field in fields]
            there = f"{'.'.join(done) or 'the flow'} has {', '.join(known) or 'no fields'}"
            raise ValueError(f"{path!r} leads nowhere: {there}, and the solve has {', '.join(OF_THE_SOLVE)}.") from None
        done.append(part)


def _kind(flow: Any) -> tuple[Any, list[Any]]:
    leaves, treedef = jax.tree.flatten(flow)
    return treedef, [(leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf for leaf in leaves]


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except (TypeError, ValueError):  # values that cannot be compared count as different
        return False


def make_groups(flow: Any, axes: list[Axis], settle: Callable[[Any], Callable[[dict[str, Any]], Settings]]) -> list[Group]:
    """The cells of the grid, grouped by what needs a compilation of its own.

    Args:
        flow: the flow.
        axes: the axes.
        settle: from a flow to a function from the grid's settings of the solve to a lane's settings.

    Returns:
        The groups; cells are in the order of the axes, the last fastest.
    """
    flows: dict[tuple, Any] = {}
    kinds: list[tuple[Any, list[tuple[int, ...]], list[Any]]] = []
    for cell in np.ndindex(*(len(axis.values) for axis in axes)):
        values = _values(axes, cell)
        of_flow = {path: value for path, value in values.items() if path not in OF_THE_SOLVE}
        which = tuple(i for axis, i in zip(axes, cell, strict=True) if any(path in of_flow for path in axis.paths))
        if which not in flows:
            flows[which] = replaced(flow, of_flow)
        kind = _kind(flows[which])
        for known, cells, members in kinds:
            if _equal(known, kind):
                cells.append(cell)
                members.append(flows[which])
                break
        else:
            kinds.append((kind, [cell], [flows[which]]))
    return [_group(axes, cells, members, settle(members[0])) for _, cells, members in kinds]


def _values(axes: list[Axis], cell: tuple[int, ...]) -> dict[str, Any]:
    return {path: value for axis, i in zip(axes, cell, strict=True) for path, value in zip(axis.paths, axis.values[i], strict=True)}


def _group(axes: list[Axis], cells: list[tuple[int, ...]], flows: list[Any], settled: Callable[[dict[str, Any]], Settings]) -> Group:
    found: dict[tuple, Settings] = {}
    settings = []
    for cell in cells:
        which = tuple(i for axis, i in zip(axes, cell, strict=True) if any(path in OF_THE_SOLVE for path in axis.paths))
        if which not in found:
            found[which] = settled({path: value for path, value in _values(axes, cell).items() if path in OF_THE_SOLVE})
        settings.append(found[which])
    if len({bool(np.isinf(one.t1)) for one in settings}) > 1:
        raise ValueError("the grid mixes t1=inf with finite end times, which take different programs: sweep them apart.")
    columns = list(zip(*(jax.tree.leaves(both) for both in zip(flows, settings, strict=True)), strict=True))
    moving = tuple(position for position, column in enumerate(columns) if _moves(column))
    # to a power of two, with the first cell over again: one more cell need not compile anew
    padding = 2 ** max(3, int(np.ceil(np.log2(len(cells))))) - len(cells)
    table = tuple(jnp.asarray(np.stack([np.asarray(leaf) for leaf in columns[k] + columns[k][:1] * padding])) for k in moving)
    return Group(
        list({id(flow): flow for flow in flows}.values()),
        settings[0],
        moving,
        table,
        cells,
        np.asarray([float(one.t1) for one in settings]),
    )


def _moves(column: tuple[Any, ...]) -> bool:
    first = column[0]
    if not eqx.is_array(first):
        return False
    others = {id(leaf): leaf for leaf in column}  # most cells share most leaves
    return any(leaf is not first and not np.array_equal(leaf, first, equal_nan=True) for leaf in others.values())
