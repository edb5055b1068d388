"""The grid of settings: which are leaves, and run in one batch, and which need a compilation of their own."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import as_leaf
from ..solve import Settings

OF_THE_SOLVE = ("t1", "rtol", "atol", "max_steps", "dt0")
"""Grid names that address the solve; every other name is a path in the flow."""

Over = Mapping[str | tuple[str, ...], Sequence[Any]]
"""Paths to values, `{"model.init_scale": [0.1, 1.0]}`; a tuple of paths moves several settings together."""


class Plan(eqx.Module):
    """Which settings differ from lane to lane, and the record times.

    Attributes:
        paths: the settings' dotted paths (static).
        loose_atol: whether atol follows a rtol of the grid as rtol/100 (static).
        record: record times, or fractions of t1.
        relative: whether they are fractions (static).
    """

    paths: tuple[str, ...] = eqx.field(static=True)
    loose_atol: bool = eqx.field(static=True)
    record: Float[Array, " time"]
    relative: bool = eqx.field(static=True)

    def insert(self, flow: Any, settings: Settings, values: tuple[PyTree, ...]) -> tuple[Any, Settings]:
        """The flow and the settings of a lane.

        Args:
            flow: the shared flow.
            settings: the shared settings.
            values: the lane's own, in the order of `paths`.

        Returns:
            Both, with the values put in.
        """
        for path, value in zip(self.paths, values, strict=True):
            if path not in OF_THE_SOLVE:
                flow = eqx.tree_at(lambda f, path=path: follow(f, path), flow, value)
            elif path in ("rtol", "atol"):
                settings = eqx.tree_at(lambda s, path=path: getattr(s.controller, path), settings, value)
                if path == "rtol" and self.loose_atol:
                    settings = eqx.tree_at(lambda s: s.controller.atol, settings, 1e-2 * value)
            else:
                settings = eqx.tree_at(lambda s, path=path: getattr(s, path), settings, value)
        return flow, settings

    def times(self, t1: Float[Array, ""]) -> Float[Array, " time"]:
        """The record times of a lane that ends at t1."""
        return self.record * t1 if self.relative else self.record


class Axis(NamedTuple):
    """An axis of the grid: its dimension's name, the paths it moves, and the value of each path at each point."""

    name: str
    paths: tuple[str, ...]
    values: list[tuple[Any, ...]]


class Group(NamedTuple):
    """Lanes that share a compilation: the flow with its static settings, and its cells as index tuples into the axes."""

    flow: Any
    paths: tuple[str, ...]
    table: tuple[PyTree, ...]
    cells: list[tuple[int, ...]]


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


def replaced(tree: Any, path: str, value: Any) -> Any:
    """A copy of a tree of modules with what a path leads to replaced, static fields included.

    Args:
        tree: a module.
        path: a dotted path.
        value: the new value.

    Returns:
        The copy.
    """
    head, _, rest = path.partition(".")
    inner = replaced(follow(tree, head), rest, value) if rest else value
    if isinstance(tree, Mapping):
        return {**tree, head: inner}
    if isinstance(tree, list | tuple):
        items = list(tree)
        items[int(head)] = inner
        return type(tree)(items)
    if not dataclasses.is_dataclass(tree):
        raise ValueError(f"{type(tree).__name__} cannot be varied: make it an equinox.Module.")
    try:
        return dataclasses.replace(tree, **{head: inner})
    except TypeError:  # a module with a constructor of its own
        copy = object.__new__(type(tree))
        for field in dataclasses.fields(tree):
            object.__setattr__(copy, field.name, inner if field.name == head else getattr(tree, field.name))
        return copy


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
    axes: list[Axis] = []
    for entry, values in (over or {}).items():
        paths = entry if isinstance(entry, tuple) else (entry,)
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise ValueError(f"the grid's values for {entry!r} must be a list, not {values!r}.")
        if len(values) == 0:
            raise ValueError(f"the grid has no values for {entry!r}: give at least one, or leave it out.")
        rows = [tuple(value) if isinstance(entry, tuple) else (value,) for value in values]
        if any(len(row) != len(paths) for row in rows):
            raise ValueError(f"each value for {entry!r} must be a tuple of {len(paths)}.")
        for path in paths:
            _check_path(flow, path)
            if any(path in axis.paths for axis in axes):
                raise ValueError(f"{path!r} stands on two axes of the grid: leave one out.")
        axes.append(Axis("", paths, rows))
    short = [axis.paths[0].rpartition(".")[2] for axis in axes]
    reserved = {"seed", "time", "param", "sample", "hidden", "lane"}
    return [
        axis._replace(name=name if short.count(name) == 1 and name not in reserved else axis.paths[0]) for axis, name in zip(axes, short, strict=True)
    ]


def _check_path(flow: Any, path: Any) -> None:
    if not isinstance(path, str):
        raise ValueError(f"a setting is named by a dotted path such as 'model.init_scale', not {path!r}.")
    if path in OF_THE_SOLVE:
        return
    done, tree = [], flow
    for part in path.split("."):
        try:
            tree = follow(tree, part)
        except (AttributeError, KeyError, IndexError):
            known = sorted(tree) if isinstance(tree, Mapping) else [f.name for f in dataclasses.fields(tree)] if dataclasses.is_dataclass(tree) else []
            where = ".".join(done) or "the flow"
            raise ValueError(f"{path!r} leads nowhere: {where} has {', '.join(map(str, known)) or 'no fields'}, and the solve has {', '.join(OF_THE_SOLVE)}.") from None
        done.append(part)


def _like_arrays(values: list[Any]) -> list[PyTree] | None:
    """The values as pytrees of arrays of one structure and shape; None if they are not."""
    try:
        trees = [jax.tree.map(as_leaf, value) for value in values]
    except (TypeError, ValueError):
        return None
    if any(isinstance(leaf, bool | str) for value in values for leaf in jax.tree.leaves(value)):
        return None
    structures = {(jax.tree.structure(tree), tuple(leaf.shape for leaf in jax.tree.leaves(tree))) for tree in trees}
    return trees if len(structures) == 1 else None


def _is_leaf(flow: Any, path: str, values: list[Any]) -> bool:
    if path in OF_THE_SOLVE:
        return True
    there = jax.tree.leaves(follow(replaced(flow, path, values[0]), path))
    if not there or not all(eqx.is_array(leaf) for leaf in there):
        return False
    return _like_arrays(values) is not None


def make_groups(flow: Any, axes: list[Axis]) -> list[Group]:
    """The cells of the grid, grouped by what needs a compilation of its own.

    Args:
        flow: the flow.
        axes: the axes.

    Returns:
        The groups; cells are in the order of the axes, the last fastest.
    """
    shape = [len(axis.values) for axis in axes]
    cells = list(np.ndindex(*shape)) if shape else [()]
    column = {path: [row[k] for row in axis.values] for axis in axes for k, path in enumerate(axis.paths)}
    # "data" and others with a static name differ in structure from value to value: their names do not matter here
    leaf = {path: _is_leaf(flow, path, values) for path, values in column.items()}
    where = {path: number for number, axis in enumerate(axes) for path in axis.paths}
    groups: dict[tuple, list[tuple[int, ...]]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[where[path]] for path in column if not leaf[path]), []).append(cell)
    made = []
    for members in groups.values():
        own = flow
        for path, values in column.items():
            if path not in OF_THE_SOLVE:
                own = replaced(own, path, values[members[0][where[path]]])
        moving = tuple(path for path in column if leaf[path])
        table = []
        for path in moving:
            trees = _like_arrays([column[path][cell[where[path]]] for cell in members])
            assert trees is not None
            if path not in OF_THE_SOLVE:
                there = follow(own, path)
                trees = [jax.tree.map(lambda new, old: jnp.broadcast_to(new, old.shape).astype(old.dtype), tree, there) for tree in trees]
            if path == "max_steps":
                trees = [tree.astype(int) for tree in trees]
            table.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees))
        made.append(Group(own, moving, tuple(table), members))
    return made
