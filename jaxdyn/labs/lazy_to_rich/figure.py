"""The lab's figure: two cuts through the phase diagram, the laws, the collapse, and functions from both ends."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ... import measure, plot
from ..base import Claim
from ..parts import panels
from .boundary import Line, boundary, median_curve, on_line
from .claims import LAB, LAZIEST
from .settings import Settings
from .sweeps import GRID, lines, points

SHOWN = 8
"""Seeds whose functions are drawn."""
COLOURS = (plot.GREEN, plot.BLUE, plot.ORANGE, plot.GREY, plot.INK)


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the sweeps.
        claims: the claims, whose exponents are written in.
        paths: files to write.
    """
    with plot.style():
        layout = [["widths", "before", "after"], ["imbalance", "laws", "functions"]]
        figure, axes = plot.make_figure((14.5, 8.2), layout)
        exponents = {claim.id.removeprefix(f"{LAB}."): claim.measured for claim in claims}
        for name in ("widths", "imbalance"):
            with panels(axes[name]):
                _phases(s, found, exponents, figure, axes, name)
        _collapse(s, found, axes)
        _laws(s, found, exponents, axes["laws"])
        with panels(axes["functions"]):
            _functions(s, found["relu"], axes["functions"])
        plot.save(figure, paths)


def _phases(s: Settings, found: dict[str, xr.Dataset], exponents: dict[str, float], figure: Any, axes: dict[str, Any], shown: str) -> None:
    by_delta = sorted((line for line in lines(s, "relu") if line.width == s.relu_widths[-1]), key=lambda line: line.delta)
    parts = (
        ("widths", "smooth", lines(s, "smooth"), [str(m) for m in s.widths], "width m", exponents.get("boundary-smooth", np.nan)),
        (
            "imbalance",
            "relu",
            by_delta,
            [f"{line.delta:g}" for line in by_delta],
            "imbalance δ = (c² − |w|²) / κ²",
            exponents.get("boundary-imbalance", np.nan),
        ),
    )
    for name, network, rows, labels, words, slope in parts:
        if name != shown:
            continue
        cells = [on_line(found[network], line) for line in rows]
        edge = [boundary(found[network], line, s.level)[0] for line in rows]
        curves = [median_curve(one) for one in cells]
        x = "output multiplier α" if network == "smooth" else "squared init scale α = κ²"
        plot.panels.heat_rows(
            figure, axes[name], [one["alpha"].values for one in cells], curves, labels, (x, words, "relative NTK change"), edge
        )
        for place, end, colour, side in ((0, "rich", "black", "left"), (-1, "lazy", "white", "center")):
            axes[name].text(cells[0]["alpha"].values[place], -0.3, end, color=colour, ha=side, va="center", weight="bold")
        law = f"m^{{{slope:.2f}}}" if network == "smooth" else f"|\\delta|^{{{slope:.2f}}}"
        where = "tanh" if network == "smooth" else f"ReLU, m = {rows[0].width}"
        axes[name].set_title(f"{where}: boundary $\\alpha^* \\propto {law}$")


def _collapse(s: Settings, found: dict[str, xr.Dataset], axes: dict[str, Any]) -> None:
    for network, dash, words in (("smooth", "-", "independent"), ("paired", (0, (2, 1.4)), "in pairs")):
        if network not in found:
            continue
        for colour, line in zip(COLOURS, lines(s, network), strict=False):
            cells = on_line(found[network], line)
            curve = median_curve(cells)
            label = f"m = {line.width}, {words}"
            axes["before"].plot(cells["alpha"], curve, color=colour, linestyle=dash, linewidth=1.5, label=label)
            axes["after"].plot(cells["u"], curve, color=colour, linestyle=dash, linewidth=1.5)
    for name, x in (("before", "output multiplier α"), ("after", "α √m")):
        axes[name].axhline(s.level, color=plot.INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes[name].set(xscale="log", yscale="log", xlabel=x, ylabel="relative NTK change")
    axes["before"].set_title("Before: one curve a width")
    axes["after"].set_title("After: collapse, far out for pairs only")
    axes["before"].legend(loc="lower left", title="neurons")


def _laws(s: Settings, found: dict[str, xr.Dataset], exponents: dict[str, float], ax: Any) -> None:
    line = Line(s.relu_widths[-1], 0.0)
    rows = (("smooth", plot.BLUE, "tanh"), ("paired", plot.GREEN, "tanh, pairs"), ("relu", plot.ORANGE, "ReLU"))
    for network, colour, words in rows:
        if network not in found:
            continue
        cells = on_line(found[network], line)
        cells = cells.isel(cell=np.flatnonzero(cells["round"].values == 0))
        values = cells["function_distance_end"].transpose("cell", "seed").values
        middle, alpha = np.exp(np.nanmean(np.log(values), axis=1)), cells["alpha"].values
        low, high = np.nanquantile(values, [0.16, 0.84], axis=1)
        ax.fill_between(alpha, low, high, color=colour, alpha=0.15, linewidth=0)
        slope = exponents[f"{network}-alpha-function"]
        ax.plot(alpha, middle, "o", color=colour, markersize=3.5, label=f"{words}: slope {slope:.2f}")
        last = cells.isel(cell=slice(-LAZIEST, None))["alpha"].values
        centre = np.exp(np.log(middle[-LAZIEST:]).mean()), np.exp(np.log(last).mean())
        ax.plot(last, centre[0] * (last / centre[1]) ** slope, color=colour, linewidth=1.6)
    ax.set(xscale="log", yscale="log", xlabel="α", ylabel="distance to the linearised network")
    ax.set_title(f"Laws of the lazy limit, m = {line.width}")
    ax.legend(loc="lower left")


def _functions(s: Settings, ds: xr.Dataset, ax: Any) -> None:
    samples = points(s)
    x, y = np.asarray(samples.x[:, 0]), np.asarray(samples.y)
    ends = (
        (Line(s.relu_widths[-1], min(s.deltas)), -1, plot.BLUE, f"lazy end, δ = {min(s.deltas):g}"),
        (Line(s.relu_widths[-1], 0.0), 0, plot.ORANGE, "rich end, δ = 0"),
    )
    for line, place, colour, words in ends:
        for k, f in enumerate(on_line(ds, line).isel(cell=place)["f_end"].transpose("seed", ...).values[:SHOWN]):
            ax.plot(GRID, f, color=colour, alpha=0.5, linewidth=1.0, label=words if k == 0 else None)
    ax.plot(GRID, np.interp(GRID, x, y), color=plot.INK, linestyle="--", linewidth=1.1, label="linear spline")
    cubic = measure.natural_cubic_spline(x, y)(GRID)
    ax.plot(GRID, cubic, color=plot.INK, linestyle=(0, (1, 1.2)), linewidth=1.3, label="cubic spline")
    ax.plot(x, y, "o", color=plot.INK, markersize=5, zorder=4)
    ax.set(xlabel="x", ylabel="f(x)", ylim=(float(y.min()) - 1.3, float(y.max()) + 0.9))
    ax.set_title("What both ends learn")
    ax.legend(loc="lower center", ncols=2)
