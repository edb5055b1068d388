"""Panels: what to draw comes in as arrays, so that any lab can use them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .style import BLUE, GREEN, INK, ORANGE


def functions(
    ax: Axes,
    grid: ArrayLike,
    learned: ArrayLike,
    samples: tuple[ArrayLike, ArrayLike],
    references: Mapping[str, ArrayLike],
    knots: ArrayLike,
    weights: ArrayLike,
    colour: str = BLUE,
) -> None:
    """Learned functions of several seeds over the data, reference curves, and the knots of one seed as a rug.

    Args:
        ax: where.
        grid: shape (point,).
        learned: shape (seed, point).
        samples: x and y.
        references: name to values on the grid.
        knots: shape (hidden,).
        weights: shape (hidden,), how strongly each knot bends the function; the rug's marks are as tall as their share.
        colour: of the learned functions.
    """
    grid, learned = np.asarray(grid), np.asarray(learned)
    for (name, values), dash in zip(references.items(), ("--", (0, (1, 1.2)), "-."), strict=False):
        ax.plot(grid, np.asarray(values), color=INK, linestyle=dash, linewidth=1.3, label=name, zorder=3)
    for k, values in enumerate(learned):
        ax.plot(grid, values, color=colour, alpha=0.35, linewidth=1.1, label=f"learned, {len(learned)} seeds" if k == 0 else None)
    ax.plot(np.asarray(samples[0]).ravel(), np.asarray(samples[1]), "o", color=INK, markersize=5, zorder=4, label="data")
    low, high = float(np.min(samples[1])), float(np.max(samples[1]))
    span = high - low
    floor = low - 0.62 * span
    ax.set(xlim=(grid[0] - 0.04, grid[-1] + 0.04), ylim=(floor, high + 0.45 * span), xlabel="x")
    knots, weights = np.asarray(knots), np.asarray(weights)
    share = weights / max(float(weights.max()), 1e-300)
    inside = (knots >= grid[0]) & (knots <= grid[-1])
    marks = [[(k, floor), (k, floor + span * (0.03 + 0.22 * s))] for k, s in zip(knots[inside], share[inside], strict=True)]
    ax.add_collection(LineCollection(marks, colors=ORANGE, linewidths=1.2, zorder=5))
    ax.plot([], [], color=ORANGE, linewidth=1.2, label="knots of one seed (tall: strong)")


def heat_map(
    figure: Figure,
    ax: Axes,
    values: ArrayLike,
    columns: ArrayLike,
    rows: ArrayLike,
    names: tuple[str, str, str],
) -> None:
    """A quantity over two settings, on a logarithmic scale, with its numbers written in.

    Args:
        figure: the figure.
        ax: where.
        values: shape (row, column), positive.
        columns: the settings along x.
        rows: the settings along y.
        names: labels of x, y and the quantity.
    """
    values = np.asarray(values)
    image = ax.imshow(values, norm=LogNorm(vmin=np.nanmin(values), vmax=np.nanmax(values)), cmap="cividis", origin="lower", aspect="auto")
    ax.set_xticks(range(values.shape[1]), [f"{c:g}" for c in np.asarray(columns)])
    ax.set_yticks(range(values.shape[0]), [f"{r:g}" for r in np.asarray(rows)])
    ax.set(xlabel=names[0], ylabel=names[1])
    for side in ax.spines.values():
        side.set_visible(False)
    middle = np.sqrt(np.nanmin(values) * np.nanmax(values))
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value:.1g}", ha="center", va="center", fontsize=8, color="white" if value < middle else "black")
    bar = figure.colorbar(image, ax=ax, pad=0.02)
    bar.set_label(names[2])
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def paths(
    ax: Axes, times: ArrayLike, positions: ArrayLike, weights: ArrayLike, lines: ArrayLike, limits: tuple[float, float], colour: str = GREEN
) -> None:
    """Where things move in time (logarithmic), the heavier the darker, with horizontal lines to compare to.

    Args:
        ax: where.
        times: shape (time,); zeros and what is not finite are left out, and with no others the panel has no limits in time.
        positions: shape (time, thing).
        weights: shape (thing,).
        lines: heights of the lines.
        limits: of y.
        colour: of the paths.
    """
    times, positions, weights = np.asarray(times), np.asarray(positions), np.asarray(weights)
    later = times > 0  # false where a lane has no record
    share = np.nan_to_num(weights / max(float(weights.max()), 1e-300))
    for height in np.asarray(lines).ravel():
        ax.axhline(height, color=INK, linewidth=0.7, alpha=0.45, linestyle=(0, (1, 2)))
    rgb = to_rgb(colour)
    for k in np.argsort(share):
        ax.plot(times[later], positions[later, k], color=(*rgb, 0.25 + 0.75 * float(share[k])), linewidth=0.7 + 1.3 * float(share[k]))
    ax.set(xscale="log", ylim=limits)
    if later.any():
        ax.set_xlim(times[later][0], max(times[later][-1], 1.001 * times[later][0]))


def heat_rows(
    figure: Figure,
    ax: Axes,
    columns: Sequence[ArrayLike],
    values: Sequence[ArrayLike],
    rows: Sequence[str],
    names: tuple[str, str, str],
    line: ArrayLike | None = None,
) -> None:
    """A quantity over two settings where each row has a grid of its own along x, finer where it was refined; both scales logarithmic.

    Args:
        figure: the figure.
        ax: where.
        columns: for each row the settings along x, rising.
        values: for each row the quantity there, positive.
        rows: labels of the rows, from below.
        names: labels of x, y and the quantity.
        line: where on x a boundary crosses each row, NaN where it does not.
    """
    every = np.concatenate([np.asarray(row) for row in values])
    norm = LogNorm(vmin=np.nanmin(every), vmax=np.nanmax(every))
    image = None
    for k, (x, row) in enumerate(zip(columns, values, strict=True)):
        logs = np.log(np.asarray(x, float))
        middle = (logs[1:] + logs[:-1]) / 2
        edges = np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))
        image = ax.pcolormesh(edges, [k - 0.5, k + 0.5], np.asarray(row)[None, :], norm=norm, cmap="cividis", rasterized=True)
        ax.plot(x, np.full(len(logs), k), "|", color="white", alpha=0.45, markersize=5)
    if line is not None:
        ends = np.asarray([[k - 0.5, k + 0.5] for k in range(len(rows))])
        ax.plot(np.repeat(np.asarray(line, float), 2), ends.ravel(), color=ORANGE, linewidth=2.2, label="boundary")
    ax.set(xscale="log", xlabel=names[0], ylabel=names[1])
    ax.set_yticks(range(len(rows)), list(rows))
    for side in ax.spines.values():
        side.set_visible(False)
    if image is not None:
        bar = figure.colorbar(image, ax=ax, pad=0.02)
        bar.set_label(names[2])
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
