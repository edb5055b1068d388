"""The lab's figure: margins on their way to the limit, loss and norm in both clocks, and KKT residuals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ... import plot
from ..base import Claim
from .claims import separated, smoothed
from .settings import Settings

COLOURS: tuple[str, ...] = (plot.BLUE, plot.ORANGE, plot.GREEN, plot.INK, plot.GREY, "#8a5aa8", "#c9a227")


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.
        paths: files to write.
    """
    del claims
    with plot.style():
        figure, axes = plot.make_figure((14.0, 8.6), [["gap", "smooth", "kkt"], ["loss", "clock", "margins"]])
        colours = dict(zip(found, COLOURS * len(found), strict=False))
        for name, ds in found.items():
            _run(s, name, ds, axes, colours[name])
        _gap(s, axes["gap"])
        axes["smooth"].set(xscale="log", xlabel="log10 t", ylabel="log(1/loss) / |w|^L over its end")
        axes["smooth"].set_title("The smoothed margin never falls")
        axes["loss"].set(xscale="log", xlabel="log10 t", ylabel="log10 loss + log10 t")
        axes["loss"].set_title("The loss falls a little faster than 1/t")
        axes["clock"].set(xlabel="the clock's time s since the loss was 1, over its end", yscale="symlog")
        axes["clock"].set(ylabel="log10 t (full), log |w| x 100 (dashed)")
        axes["clock"].set_title("Time and norm along the clock")
        axes["kkt"].set(xlabel=f"KKT residual at t = 1e{s.early:g}", ylabel=f"at t = 1e{s.decades:g}", xscale="log", yscale="log")
        line = np.asarray([1e-4, 1.0])
        axes["kkt"].plot(line, line, color=plot.GREY, linewidth=0.8, label="no change")
        axes["kkt"].plot(line, line * np.sqrt(s.early / s.decades), color=plot.INK, linewidth=0.8, linestyle="--", label="(log t)^(-1/2)")
        axes["kkt"].set_title("Directions become KKT points")
        axes["kkt"].legend(loc="upper left")
        _margins(found, axes["margins"], colours)
        axes["gap"].legend(loc="lower left")
        plot.save(figure, paths)


def _run(s: Settings, name: str, ds: xr.Dataset, axes: dict[str, Any], colour: str) -> None:
    good = np.flatnonzero(separated(ds))
    decades, margins = ds["log_time"].values / np.log(10), smoothed(s, name, ds)
    clock = ds["clock"].values
    for k, seed in enumerate(good[:12]):
        label = name if k == 0 else None
        t = decades[seed]
        later = t > 1
        if np.isfinite(ds.attrs["limit"]):
            gap = 1 - ds["margin"].values[seed] / ds.attrs["limit"]
            axes["gap"].plot(t[later], gap[later], color=colour, alpha=0.5, linewidth=1, label=label)
        last = margins[seed][np.isfinite(margins[seed])]
        if last.size:
            axes["smooth"].plot(t[later], margins[seed][later] / last[-1], color=colour, alpha=0.5, linewidth=1)
        axes["loss"].plot(t[later], (ds["log_loss"].values[seed] / np.log(10) + t)[later], color=colour, alpha=0.5, linewidth=1)
        if k < 2:
            begun = ds["begun"].values[seed]
            seen = np.isfinite(t) & (clock[seed] >= begun)
            share = (clock[seed][seen] - begun) / (clock[seed][seen].max() - begun)
            axes["clock"].plot(share, t[seen], color=colour, linewidth=1)
            axes["clock"].plot(share, 100 * ds["log_norm"].values[seed][seen], color=colour, linewidth=0.8, linestyle="--")
    axes["kkt"].plot(ds["residual_early"].values[good], ds["residual"].values[good], ".", color=colour, alpha=0.6)


def _gap(s: Settings, ax: Any) -> None:
    t = np.asarray([2.0, s.decades])
    ax.plot(t, 1 / t, color=plot.INK, linewidth=0.8, linestyle="--", label="1 / log10 t")
    ax.set(xscale="log", yscale="log", xlabel="log10 t", ylabel="1 - margin / limit")
    ax.set_title("The margin's gap to the closed form")


def _margins(found: dict[str, xr.Dataset], ax: Any, colours: dict[str, str]) -> None:
    for row, (name, ds) in enumerate(found.items()):
        values = ds["end_margin"].values[separated(ds)]
        if values.size:
            best = ds.attrs["limit"] if np.isfinite(ds.attrs["limit"]) else values.max()
            ax.plot(values / best, np.full(values.size, row) + np.linspace(-0.25, 0.25, values.size), ".", color=colours[name], alpha=0.6)
    ax.set(yticks=range(len(found)), yticklabels=list(found), xlabel="margin at the end, over the limit or the best seed's")
    ax.set_title("Known limits, and seeds that differ")
