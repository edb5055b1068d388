"""How figures look: one palette and one set of sizes, without touching matplotlib's global state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._checks import explained, shown

BLUE, ORANGE, GREEN, GREY, INK = "#2a6fbb", "#d9622b", "#3a8f5c", "#9aa3ad", "#1f2933"
RULES: Any = {
    "font.size": 10.0,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#66707a",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": "#48515a",
    "ytick.color": "#48515a",
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw inside it: the house's sizes and colours, undone at the end."""
    with matplotlib.rc_context(RULES):
        yield


def make_figure(size: tuple[float, float], layout: Sequence[Sequence[str]], **grid: Any) -> tuple[Figure, dict[str, Axes]]:
    """A figure with named panels.

    Args:
        size: in inches.
        layout: as `Figure.subplot_mosaic` takes it.
        **grid: passed to `subplot_mosaic`.

    Returns:
        The figure and its axes by name.
    """
    with explained("make_figure does not take these arguments"):
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.subplot_mosaic([list(row) for row in layout], **grid)


def save(figure: Figure, paths: Sequence[str]) -> None:
    """Writes a figure in the formats that the names ask for.

    Args:
        figure: the figure.
        paths: file names.

    Raises:
        ValueError: there is no figure, one path in place of a list, or one that cannot be written, such as on a full disk.
    """
    if not isinstance(figure, Figure):
        raise ValueError(f"save writes a matplotlib Figure, not {shown(figure)}.")
    if isinstance(paths, str) or not all(isinstance(path, str | PathLike) for path in paths):
        raise ValueError(f"save takes a list of file names, not {shown(paths)}.")
    for path in paths:
        try:
            figure.savefig(path, dpi=160, facecolor="white")
        except OSError as error:
            raise ValueError(
                f"{path} cannot be written ({error.strerror or error}): make room or name another place, and call again."
            ) from error
