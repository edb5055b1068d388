"""The lab's figure: neurons on the circle, norm and loss in both clocks, times, rank and its lag, saddles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ... import plot
from ..base import Claim
from ..parts import panels
from .animation import frames_of, polar
from .claims_rank import lags
from .fits import grown
from .networks import one_neuron
from .settings import Settings

COLOURS = (plot.BLUE, plot.ORANGE, plot.GREEN, plot.INK)
MARKS = ("o", "s", "^", "D")
ROUND = 1e-16
"""What is zero to rounding is drawn here."""


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.
        paths: files to write.
    """
    del claims
    rows = [["circle", "norm_s", "loss_s"], ["times", "norm_t", "loss_t"], ["kkt", "rank", "lag"], ["turning", "beside", "saddles"]]
    with plot.style():
        figure, axes = plot.make_figure((15.5, 16.5), rows)
        with panels(*(axes[name] for name in ("circle", "norm_s", "loss_s", "norm_t", "loss_t", "turning"))):
            _circle(s, found["story"], axes["circle"])
            _story(found["story"], axes)
        _over_sizes(s, found, axes)
        _lag(s, found, axes["lag"])
        with panels(axes["beside"]):
            _beside(found["saddle"], axes["beside"])
        with panels(axes["saddles"]):
            _saddles(s, found["orthonormal"], axes["saddles"])
        plot.save(figure, paths)


def power_of_ten(log: float) -> str:
    """A size as $10^k$."""
    return f"$10^{{{round(log / np.log(10)):d}}}$"


def shades(number: int) -> list[tuple[float, float, float, float]]:
    """Blues from light to dark."""
    return [(0.16, 0.44, 0.73, alpha) for alpha in np.linspace(0.35, 1.0, number)]


def _circle(s: Settings, story: xr.Dataset, ax: Any) -> None:
    lane = story.isel(seed=0, log_norm=-1)
    kept = frames_of(lane, 400)
    angle, weight, sign = polar(lane)
    one = one_neuron(s, 2)
    reach = np.linspace(0.12, 1.0, len(kept))
    for j in range(angle.shape[1]):
        way = np.unwrap(angle[kept, j])
        colour = plot.BLUE if sign[kept[-1], j] > 0 else plot.ORANGE
        ax.plot(reach * np.cos(way), reach * np.sin(way), color=colour, linewidth=1.4, alpha=0.6)
        size = 14 + 240 * weight[kept[-1], j]
        ax.scatter(np.cos(way[-1]), np.sin(way[-1]), s=size, color=colour, edgecolor="white", zorder=4)
    radius = 1.25 + 0.3 * one.values / np.abs(one.values).max()
    ax.plot(np.cos(one.angles), np.sin(one.angles), color=plot.GREY, linewidth=0.8)
    ax.plot(radius * np.cos(one.angles), radius * np.sin(one.angles), color=plot.GREEN, linewidth=1.4)
    ax.plot(1.25 * np.cos(one.angles), 1.25 * np.sin(one.angles), color=plot.GREEN, linewidth=0.6, linestyle=(0, (2, 2)))
    for place, signed in zip(one.directions, one.signs, strict=True):
        colour = plot.BLUE if signed > 0 else plot.ORANGE
        ax.plot(
            [1.1 * np.cos(place), 1.6 * np.cos(place)], [1.1 * np.sin(place), 1.6 * np.sin(place)], color=colour, linewidth=1.0, alpha=0.7
        )
    ax.set(xlim=(-1.7, 1.7), ylim=(-1.65, 1.65), aspect="equal")
    ax.set_axis_off()
    ax.set_title("relu² neurons turn to peaks of their correlation")
    ax.annotate("time: outwards\nblue c > 0, orange c < 0\ngreen: correlation", (0.0, 0.0), xycoords="axes fraction", fontsize=8.5)


def _story(story: xr.Dataset, axes: dict[str, Any]) -> None:
    logs = story["log_norm"].values
    for k, (log, colour) in enumerate(zip(logs, shades(len(logs)), strict=True)):
        lane = story.isel(seed=0, log_norm=k)
        clock, time, label = lane["time"].values, np.exp(lane["log_time"].values), f"δ = {power_of_ten(log)}"
        a = lane["a"].values
        axes["norm_s"].semilogy(clock, np.exp(lane["size"].values), color=colour, label=label)
        axes["loss_s"].plot(clock, lane["loss"].values, color=colour)
        axes["norm_t"].loglog(time, np.exp(lane["size"].values), color=colour)
        axes["loss_t"].semilogx(time, lane["loss"].values, color=colour)
        values = np.linalg.svd(a, compute_uv=False)
        axes["turning"].plot(clock, np.sum(values**2, axis=-1) / values[:, 0] ** 2, color=colour, label=label)
    for name, title in (("norm_s", "Norm in the clock s, ds = |w|dt"), ("norm_t", "Norm in the original time")):
        axes[name].set(ylabel="|w|", xlabel="s" if name == "norm_s" else "t")
        axes[name].set_title(title)
    for name, title in (("loss_s", "Loss in the clock s"), ("loss_t", "Loss in the original time: T ~ 1/δ")):
        axes[name].set(ylabel="loss", xlabel="s" if name == "loss_s" else "t")
        axes[name].set_title(title)
    last = story.isel(seed=0, log_norm=-1)
    end = last["time"].values[frames_of(last, 2)[-1]]
    for name in ("norm_s", "loss_s", "turning"):
        axes[name].set_xlim(0, 1.15 * end)
    for name in ("norm_t", "loss_t"):
        axes[name].set_xlim(left=0.3)
    axes["norm_s"].legend(loc="lower right")
    axes["turning"].set(xlabel="s", ylabel="stable rank of the first layer", ylim=(0.97, None))
    axes["turning"].set_title("Rank over time: one before the loss falls")


def _over_sizes(s: Settings, found: dict[str, xr.Dataset], axes: dict[str, Any]) -> None:
    for name, (depth, power) in s.cells.items():
        ds = found[name]
        colour, mark = COLOURS[(power - 1) % len(COLOURS)], MARKS[s.depths.index(depth) % len(MARKS)]
        look: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 5, "linewidth": 1.2}
        look |= {"markerfacecolor": "white"} if not s.inside(depth, power) else {}
        good, decades = grown(ds), ds["log_norm"].values / np.log(10)

        def middle(values: np.ndarray, good: np.ndarray = good) -> np.ndarray:
            return np.asarray([np.median(row[use]) if use.any() else np.nan for row, use in zip(values, good, strict=True)])

        seen = decades > -13
        label = f"depth {depth}, p = {power}"
        if s.order(depth, power) <= 4:
            axes["times"].plot(
                decades[seen], middle(ds["log_time"].values)[seen] / np.log(10), label=f"{label}, L = {s.order(depth, power)}", **look
            )
        axes["kkt"].semilogy(decades, np.maximum(middle(ds["residual"].values), ROUND), label=label, **look)
        rank = 1 - ds["rank_one"].values.min(axis=-1)
        axes["rank"].semilogy(decades, np.maximum(middle(rank), ROUND), label=label, **look)
    axes["times"].set(xlabel="log10 δ", ylabel="log10 T")
    axes["times"].set_title("Time from δ to √δ: slope −(L − 2)")
    axes["times"].legend(loc="upper right", fontsize=8)
    for name, label, title in (
        ("kkt", "KKT residual, median", "Alignment with a KKT point at |w| = √δ"),
        ("rank", "1 − share of rank one, median", "Rank one at |w| = √δ (open: no theorem)"),
    ):
        axes[name].set_xscale("symlog", linthresh=12, linscale=1.5)
        axes[name].set_xticks([-100, -30, -12, -8, -4], ["−100", "−30", "−12", "−8", "−4"])
        axes[name].set(xlabel="log10 δ", ylabel=label)
        axes[name].set_title(title)
    axes["rank"].legend(loc="best", fontsize=8)


def _lag(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for power in s.powers:
        ds = found[f"depth 2, p = {power}"]
        ratio, _ = lags(ds)
        growth = ds["norm"].values - ds["log_norm"].values[:, None]
        use = grown(ds) & np.isfinite(ratio)
        colour = COLOURS[(power - 1) % len(COLOURS)]
        ax.plot(growth[use] / np.log(10), ratio[use] / np.log(10), ".", color=colour, alpha=0.3, markersize=5)
        best = one_neuron(s, power).peaks
        slope = 1 - best[1] / best[0] if power == 1 else 1.0
        x = np.linspace(0, growth.max() / np.log(10), 2)
        words = f"p = {power}: slope −1" if power > 1 else f"p = 1: slope −(1 − N₂/N₁) = −{slope:.3f}"
        ax.plot(x, -slope * x, color=colour, linewidth=1.4, label=words)
    ax.set(xlabel="log10 |w|/δ", ylabel="log10 of the largest other neuron's norm", ylim=(-55, 2))
    ax.set_title("How the other neurons lag behind")
    ax.legend(loc="lower left")


def _beside(ds: xr.Dataset, ax: Any) -> None:
    decades = ds["log_size"].values / np.log(10)
    off = np.maximum(1 - ds["cosine"].values, ROUND)
    for k, decade in enumerate(decades):
        ax.semilogy(np.full(off.shape[1], decade), off[k], "_", color=plot.BLUE, alpha=0.5, markersize=10)
    ax.semilogy(decades, np.median(off, axis=1), "o-", color=plot.INK, label="median")
    ax.set_xscale("symlog", linthresh=12, linscale=1.5)
    ax.set_xticks([-100, -30, -12, -8, -4], ["−100", "−30", "−12", "−8", "−4"])
    ax.set(xlabel="log10 δ", ylabel="1 − cosine of block and gradient")
    ax.set_title("Beside a saddle the small block aligns too")
    ax.legend(loc="lower right")


def _saddles(s: Settings, ds: xr.Dataset, ax: Any) -> None:
    logs = [value[0] if isinstance(value, tuple) else value for value in ds["log_size"].values]
    for k, (log, colour) in enumerate(zip(logs, shades(len(logs)), strict=True)):
        ax.plot(ds["t"].values[k, 0] / -log, ds["loss"].values[k, 0], color=colour, label=f"δ = {power_of_ten(log)}")
    for place, y in enumerate(s.targets):
        ax.axvline(1 / (2 * y), color=plot.INK, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.axhline(0.5 * np.sum(np.square(s.targets[place:])), color=plot.GREY, linewidth=0.7, zorder=0)
    ax.set(xlabel="t / ln(1/δ)", ylabel="loss", xlim=(0, 1.4 / (2 * s.targets[-1])))
    ax.set_title("Saddle to saddle: samples at ln(1/δ)/(2y)")
    ax.legend(loc="upper right", fontsize=8)
