"""The lab's figure: functions, phase picture and the knots' paths."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ... import measure, plot
from ..base import Claim
from ..parts import panels
from .settings import Settings
from .sweeps import GRID, regimes, square

SHOWN = 8
"""Seeds whose functions are drawn."""


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the sweeps.
        claims: the claims, unused.
        paths: files to write.
    """
    del claims
    with plot.style():
        _draw(s, found, paths)


def _draw(s: Settings, found: dict[str, xr.Dataset], paths: Sequence[str]) -> None:
    names = list(regimes(s))
    figure, axes = plot.make_figure(
        (14.5, 8.4), [["kernel", "intermediate", "adaptive"], ["phase", "paths kernel", "paths adaptive"]], height_ratios=[1.05, 1.0]
    )
    ds, samples = found["regimes"], square(s)
    x, y = np.asarray(samples.x[:, 0]), np.asarray(samples.y)
    splines = {"linear spline": np.interp(GRID, x, y), "natural cubic spline": measure.natural_cubic_spline(x, y)(GRID)}
    for number, name in enumerate(names):
        lanes = ds.isel(delta=number)
        ax = axes[name]
        plot.panels.functions(
            ax,
            GRID,
            lanes["f_end"].values[:SHOWN],
            (x, y),
            splines,
            lanes["knots_end"].values[0],
            lanes["knot_weights_end"].values[0],
        )
        change, moved = (float(np.nanmedian(lanes[key])) for key in ("ntk_change_end", "knot_movement_end"))
        ax.set_title(f"{name} regime, δ = {list(regimes(s).values())[number]:g}")
        ax.text(0.02, 0.965, f"NTK change {change:.2g}, knots moved {moved:.2g}", transform=ax.transAxes, fontsize=9, va="top")
    axes["kernel"].set_ylabel("f(x)")
    handles, labels = axes["kernel"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))

    with panels(axes["phase"]):
        phase = found["phase"]
        change = phase["ntk_change_end"].median("seed").transpose("delta", "init_scale")
        plot.panels.heat_map(
            figure,
            axes["phase"],
            change.values,
            phase["init_scale"].values,
            phase["delta"].values,
            ("init scale", "imbalance δ = c² − |w|²", "relative NTK change"),
        )
        axes["phase"].set_title("How far the kernel moves")
    for name in ("kernel", "adaptive"):
        lanes = ds.isel(delta=names.index(name))
        times = lanes["time"].values if "time" in lanes.coords else lanes["t"].values[0]
        ax = axes[f"paths {name}"]
        plot.panels.paths(ax, times, lanes["knots"].values[0], lanes["knot_weights_end"].values[0], x, (-1.25, 1.25))
        held = np.where(lanes["slides"].values[0] > 0, lanes["knots"].values[0], np.nan)
        ax.plot(times, held, ".", color=plot.ORANGE, markersize=3.5, zorder=3)
        ax.set_title(f"Paths of the knots, {name} regime")
        ax.set(xlabel="time (loss ½ Σ (f − y)²)", ylabel="knot b/a (dotted: samples; orange: sliding)")
    plot.save(figure, paths)
