"""Rows of a lab, its settings and its files as tables of the terminal."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..labs.settings import LabSettings, allowed_words


def number(value: Any) -> str:
    """A value of a table in a few characters: four digits of a float, a dash for NaN and None.

    Args:
        value: a number, a string, or a sequence of them.

    Returns:
        The text.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return ", ".join(number(entry) for entry in value)
    return str(value)


def empty_table(title: str | None = None) -> Table:
    """A table in the house's style: rules above and below the head, nothing between rows.

    Args:
        title: above it, to the left.

    Returns:
        The table.
    """
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def rows_table(rows: Sequence[Mapping[str, Any]], title: str | None = None, width: int | None = None) -> Table:
    """The table of a lab.

    Args:
        rows: each a dictionary with the same keys, which are the heads of the columns.
        title: above it.
        width: of the terminal, in characters; a table of a few rows that is wider is turned on its side.

    Returns:
        A table; columns of numbers are flush right.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[number(row.get(key)) for key in keys] for row in rows]
    columns = [[*str(key).split(), *(row[k] for row in cells)] for k, key in enumerate(keys)]
    natural = sum(2 + max(map(len, column)) for column in columns)
    if width is not None and natural > width and len(rows) < len(keys):
        return _on_its_side(keys, cells, title)
    table = empty_table(title)
    for key in keys:
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        table.add_column(Text(str(key)), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _on_its_side(keys: Sequence[str], cells: Sequence[Sequence[str]], title: str | None) -> Table:
    table = empty_table(title)
    table.add_column(Text(str(keys[0])), style="dim")
    for row in cells:
        table.add_column(Text(row[0]), overflow="fold")
    for k, key in enumerate(keys[1:], 1):
        table.add_row(Text(str(key)), *(Text(row[k]) for row in cells))
    return table


def paths_table(paths: Mapping[str, Any]) -> Table:
    """What was written, and where.

    Args:
        paths: names to paths.

    Returns:
        A table of two columns; the paths are never cut.
    """
    table = Table(title="Written", title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, path in paths.items():
        table.add_row(Text(str(name)), Text(str(path)))
    return table


def settings_table(settings: type[LabSettings], title: str | None = None) -> Table:
    """The settings of a lab: their defaults, their values with `--quick`, what is allowed, and what they mean.

    Args:
        settings: their class.
        title: above it.

    Returns:
        The table.
    """
    table = empty_table(title)
    for head, share in (("setting", None), ("default", 2), ("--quick", 2), ("allowed", 3), ("what it is", 4)):
        table.add_column(head, overflow="fold", ratio=share, no_wrap=share is None)
    for field in dataclasses.fields(settings):
        values = [field.default, field.metadata["quick"]]
        shown = [number(value) for value in values]
        quick = shown[1] if values[0] != values[1] else ""
        texts = (field.name, shown[0], quick, allowed_words(settings, field.name), field.metadata["help"])
        table.add_row(*map(Text, texts))
    return table
