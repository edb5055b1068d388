"""The lab's figure: both clocks, rank over time, the first step, signs and margins, and how loose assumption and bound are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ... import plot
from ..base import Claim
from ..parts import panels
from .claims_flow import boundary_norms, cells_of, dims_looked_at, holds_in, shares_active
from .settings import Settings
from .theory import orthonormal_rank

COLOURS = (plot.BLUE, plot.GREEN, plot.ORANGE, "#8a5aa8", "#c9a227")
LN10 = np.log(10)
DASHED = (0, (3, 2))


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.
        paths: files to write.
    """
    del claims
    rows = [["clock", "time", "rank"], ["step", "sizes", "signs"], ["margins", "assumption", "bound"]]
    with plot.style():
        figure, axes = plot.make_figure((15.5, 13.0), rows)
        with panels(axes["clock"], axes["time"]):
            _clocks(s, found, axes["clock"], axes["time"])
        parts = {
            "rank": _rank,
            "step": _step,
            "sizes": _sizes,
            "signs": _signs,
            "margins": _margins,
            "assumption": _assumption,
            "bound": _bound,
        }
        for name, part in parts.items():
            with panels(axes[name]):
                part(s, found, axes[name])
        plot.save(figure, paths)


def colours_of(s: Settings) -> dict[float, str]:
    """Colours of the slopes; ReLU is dark."""
    relu = {} if "relu" in s.leave_out else {0.0: plot.INK}
    return {slope: COLOURS[k % len(COLOURS)] for k, slope in enumerate(s.slopes)} | relu


def name_of(slope: float) -> str:
    """How a slope is called."""
    return f"slope {slope:g}" if slope else "ReLU"


def _clocks(s: Settings, found: dict[str, xr.Dataset], clock: Any, time: Any) -> None:
    for slope, colour in colours_of(s).items():
        one = found[f"flow-{slope:g}"].sel(cell=f"d={s.dims[0]}").isel(seed=0)
        seen = np.isfinite(one["loss"].values)
        loss, size = one["loss"].values[seen] / LN10, one["log_norm"].values[seen] / LN10
        logs = one["log_time"].values[seen] / LN10
        clock.plot(one["time"].values[seen], loss, color=colour, linewidth=1.4, label=name_of(slope))
        clock.plot(one["time"].values[seen], size, color=colour, linewidth=1.4, linestyle=DASHED)
        later = logs > -3
        time.plot(logs[later], loss[later], color=colour, linewidth=1.4)
        time.plot(logs[later], size[later], color=colour, linewidth=1.4, linestyle=DASHED)
    for ax in (clock, time):
        ax.plot([], [], color=plot.GREY, label="log₁₀ loss")
        ax.plot([], [], color=plot.GREY, linestyle=DASHED, label="log₁₀ |W|")
        ax.set_yscale("symlog", linthresh=5)
    ticks = [-300, -100, -30, -10, -5, 0, 5]
    clock.set(xlabel="the clock's s, ds = loss dt / |W|", yticks=ticks, yticklabels=map(str, ticks))
    clock.set_title(f"Loss and norm in the clock, d = {s.dims[0]}")
    clock.legend(loc="lower left", ncols=2)
    late = np.linspace(1, s.decades, 200)
    time.plot(late, np.log10(s.samples) - late, color="black", linewidth=1.0, linestyle=(0, (1, 2)), label="n / t")
    time.set_xscale("symlog", linthresh=3)
    time.set(xlabel="log₁₀ t, the original time", yticks=ticks, yticklabels=map(str, ticks), xticks=[-3, 0, 3, 10, 30, 100, 300])
    time.set_xticklabels(["-3", "0", "3", "10", "30", "100", "300"])
    time.set_title(f"The same in the original time, to 1e{s.decades:g}")
    time.legend(loc="lower left")


def _rank(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for slope, colour in colours_of(s).items():
        for of, mark in (("orthonormal", "-"), (f"d={s.dims[-1]}", DASHED), (f"d={s.hard}", (0, (1, 1)))):
            if of not in found[f"flow-{slope:g}"]["cell"].values:
                continue
            one = found[f"flow-{slope:g}"].sel(cell=of)
            for k in range(min(6, one.sizes["seed"])):
                logs = one["log_time"].values[k] / LN10
                ax.plot(logs, one["rank"].values[k], color=colour, linewidth=0.9, alpha=0.6, linestyle=mark)
        if slope:
            ax.plot(1.15 * s.decades, orthonormal_rank(slope), "<", color=colour, markersize=8, clip_on=False, markeredgecolor="white")
        ax.plot([], [], color=colour, label=name_of(slope))
    ax.plot([], [], "<", color=plot.GREY, markersize=8, label="2 (1 + g²) / (1 + g)²")
    ax.plot([], [], color=plot.GREY, linestyle=DASHED, label=f"d = {s.dims[-1]}")
    ax.plot([], [], color=plot.GREY, linestyle=(0, (1, 1)), label=f"d = {s.hard}")
    ax.set_xscale("symlog", linthresh=1)
    ticks = [tick for tick in (-6, -2, -1, 0, 1, 3, 10, 30, 100, 300) if tick <= s.decades]
    ax.set(xticks=ticks, xlim=(-8, 1.3 * s.decades), xlabel="log₁₀ t", ylabel="stable rank of W", ylim=(0.9, None))
    ax.set_xticklabels([f"{tick}" for tick in ticks])
    ax.set_title("The flow: the rank falls within t ~ |W(0)|")
    ax.legend(loc="upper right", ncols=2, fontsize=8)
    ax.set_ylim(top=1.25 * ax.get_ylim()[1])


def shades(number: int) -> list[tuple[float, float, float, float]]:
    """Blues from light to dark."""
    return [(0.16, 0.44, 0.73, alpha) for alpha in np.linspace(0.3, 1.0, number)]


def _step(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    neurons, dim = s.sizes[0]
    ds = found[f"step-{neurons}x{dim}"]
    steps = ds["time"].values / s.rate
    for k, (scale, colour) in enumerate(zip(s.scales, shades(len(s.scales)), strict=True)):
        rank = ds["rank"].values[k]
        low, middle, high = np.quantile(rank, [0.0, 0.5, 1.0], axis=0)
        ax.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.plot(steps, middle, color=colour, linewidth=1.6, marker="o", markersize=3, label=f"start {scale:g}")
    ax.axhline(orthonormal_rank(s.slopes[0]), color=plot.ORANGE, linewidth=1.2, linestyle=DASHED, label="2 (1 + g²) / (1 + g)²")
    ax.set_xscale("symlog", linthresh=1)
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300, 1000) if tick <= s.first]
    ax.set(xticks=ticks, xlabel="steps", ylabel="stable rank of W", yscale="log", yticks=[1, 2, 5, 10])
    ax.set_xticklabels([f"{tick}" for tick in ticks])
    ax.set_yticklabels(["1", "2", "5", "10"])
    ax.set_yticks([], minor=True)
    ax.set_title(f"Descent, {neurons} × {dim}, slope {s.slopes[0]:g}: one step")
    ax.set_xlim(left=-0.05)
    ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.88), fontsize=8)


def _sizes(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    at = np.arange(len(s.sizes))
    runs = [found[f"step-{neurons}x{dim}"]["rank"].values for neurons, dim in s.sizes]
    ax.plot(at, [rank[:, :, 0].mean() for rank in runs], "s-", color=plot.INK, label="at the start")
    for k, (scale, colour) in enumerate(zip(s.scales, shades(len(s.scales)), strict=True)):
        after = [rank[k, :, 1] for rank in runs]
        ax.plot(at, [one.mean() for one in after], "o-", color=colour, label=f"after a step from {scale:g}")
    ax.axhline(orthonormal_rank(s.slopes[0]), color=plot.ORANGE, linewidth=1.2, linestyle=DASHED, label="2 (1 + g²) / (1 + g)²")
    ax.set_xticks(at, [f"{neurons} × {dim}" for neurons, dim in s.sizes])
    ax.set(xlabel="neurons × inputs", ylabel="stable rank of W, mean of seeds", yscale="log", yticks=[1, 2, 5, 10, 20, 50], ylim=(1, 300))
    ax.set_yticklabels(["1", "2", "5", "10", "20", "50"])
    ax.set_yticks([], minor=True)
    ax.set_title("One step: a constant at all sizes")
    ax.legend(loc="upper left", ncols=2, fontsize=8)


def _signs(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for slope, colour in colours_of(s).items():
        cell = cells_of(s, found[f"descent-{slope:g}"], slope)["orthonormal"]
        for k in range(min(8, cell.runs.sizes["seed"])):
            size, ranks = cell.runs["size"].values[k, 1:], cell.runs["ranks"].values[k, 1:]
            for sign in (0, 1):
                ax.plot(size, ranks[:, sign] - 1, color=colour, linewidth=0.8, alpha=0.6)
        ax.plot([], [], color=colour, label=name_of(slope))
    low, high = ax.get_xlim()
    x = np.asarray([max(low, 1.0), high])
    ax.plot(x, 0.8 * x**-2.0, color="black", linewidth=1.0, linestyle=(0, (1, 2)), label="|W|⁻²")
    ax.set(xscale="log", yscale="log", xlabel="|W|", ylabel="stable rank of a sign's neurons, less 1")
    ax.set_title("Descent: neurons of a sign become one")
    ax.legend(loc="lower left")


def _margins(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for slope, colour in colours_of(s).items():
        of = f"d={s.dims[-1] if slope in (0.0, s.slopes[-1]) else s.dims[0]}"
        flow, descent = (cells_of(s, found[f"{kind}-{slope:g}"], slope)[of] for kind in ("flow", "descent"))
        for k in range(min(6, flow.runs.sizes["seed"])):
            logs, ratio = flow.runs["log_time"].values[k] / LN10, flow.runs["spread"].values[k]
            use = np.isfinite(ratio) & (logs > 0.5)
            ax.plot(logs[use], ratio[use], color=colour, linewidth=0.9, alpha=0.5)
        if descent.runs.sizes["seed"]:
            t = descent.runs["time"].values[1:]
            late = t > 3
            ax.plot(
                np.log10(t[late])[::4], np.median(descent.runs["spread"].values[:, 1:], axis=0)[late][::4], "o", color=colour, markersize=4
            )
        ax.plot([], [], color=colour, label=f"{name_of(slope)}, {of}")
        if slope and flow.limit.all_active:
            late = np.geomspace(1.0, s.decades, 50)
            then = flow.limit.at(late * LN10)
            ax.plot(late, then.max(1) / then.min(1) - 1, color="black", linewidth=1.2, linestyle=(0, (1, 2)))
    ax.plot([], [], color="black", linestyle=(0, (1, 2)), label="by the duals")
    ax.plot([], [], "o", color=plot.GREY, label="descent, median")
    ax.set(xscale="log", yscale="log", xlabel="log₁₀ t", ylabel="largest margin over smallest, less 1")
    ax.set_title("Margins become equal like 1 / log t")
    ax.legend(loc="lower left", ncols=2, fontsize=8)
    ax.set_ylim(bottom=1e-2 * ax.get_ylim()[0])


def _assumption(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    dims = dims_looked_at(s)
    for slope, colour in colours_of(s).items():
        if not slope:
            continue
        shares, ratios = shares_active(s, slope, dims)
        ax.plot(ratios, shares, "-", color=colour, linewidth=1.4, label=name_of(slope))
        for cell in cells_of(s, found[f"flow-{slope:g}"], slope).values():
            if np.isfinite(cell.met):
                share = holds_in(s, cell, slope).sum() / (cell.runs.sizes["seed"] + cell.lost)
                ax.plot(cell.met, share, "o", color=colour, markersize=8, markeredgecolor="white")
    ax.plot([], [], color=plot.GREY, label="share of random data: convex problem")
    ax.plot([], [], "o", color=plot.GREY, markersize=8, markeredgecolor="white", label="share of runs on one data set")
    ax.axvline(1, color="black", linewidth=1.0, linestyle=(0, (1, 2)))
    ax.annotate("the assumption", (1, 0.5), (-4, 0), textcoords="offset points", rotation=90, ha="right", va="center")
    ax.set(
        xscale="log", xlabel="how many times over the assumption is met", ylabel="share where the theorem's limit is so", ylim=(-0.05, 1.6)
    )
    ax.set_yticks([0, 0.5, 1])
    ax.set_title("How loose the assumption is")
    ax.legend(loc="upper left", fontsize=8)


def _bound(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    g = np.linspace(0.02, 0.98, 100)
    ax.plot(g, 2 / (1 + g), color="black", linewidth=1.4, linestyle=(0, (1, 2)), label="the bound 2 / (1 + g)")
    ax.plot(g, (1 + g) / (1 + g**2), color=plot.BLUE, linewidth=1.2, label="(1 + g) / (1 + g²), orthonormal")
    ax.plot(g, [orthonormal_rank(one) for one in g], color=plot.ORANGE, linewidth=1.2, label="stable rank 2 (1 + g²) / (1 + g)²")
    for slope in s.slopes:
        for of, cell in cells_of(s, found[f"flow-{slope:g}"], slope).items():
            if cell.runs.sizes["seed"]:
                norms = boundary_norms(cell, cell.runs["inner"].values, cell.runs["outputs"].values)
                mark = "o" if of == "orthonormal" else "x"
                ax.plot(slope, norms.max(), mark, color=plot.BLUE, markersize=7)
                ax.plot(slope, cell.runs["rank_end"].mean(), mark, color=plot.ORANGE, markersize=7)
    ax.plot([], [], "o", color=plot.GREY, label="runs, orthonormal")
    ax.plot([], [], "x", color=plot.GREY, label="runs, random directions")
    ax.set(xlabel="slope g below zero", ylabel="|z| / |z*|, the linear separator's; stable rank", ylim=(0.9, 2.3))
    ax.set_title("The boundary's norm, and the rank, by slope")
    ax.legend(loc="upper right", fontsize=8)
