"""The lab's figure: neurons on the circle, both clocks, the rank, the two times, and what the paper leaves open."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ... import plot
from ..base import Claim
from ..parts import panels
from .animation import COLOURS, arcs, plane_run
from .claims_early import grids
from .claims_open import bounded_norm, neurons_at_end, share_aligned
from .settings import Settings
from .times import levels, of_kind, phases

SHADES = (plot.BLUE, plot.GREEN, plot.ORANGE, plot.INK)
TURNING = 6.0
"""Until this time of the clock the circle shows the neurons."""
LATEST = 20.0
"""Up to this power of ten the original time is drawn."""
LN10 = np.log(10)


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.
        paths: files to write.
    """
    del claims
    studied = found[f"n={s.studied}"]
    rows = [["circle", "clock", "time"], ["scatter", "norm", "rank"], ["delta", "spoilt", "images"]]
    with plot.style():
        figure, axes = plot.make_figure((15.5, 13.0), rows, height_ratios=[1.15, 1, 1])
        with panels(axes["circle"]):
            _circle(s, found, axes["circle"])
        _clocks(s, found, axes["clock"], axes["time"])
        _scatter(s, found, axes["scatter"])
        with panels(axes["norm"]):
            _norms(s, of_kind(studied, "norm"), found["plane"], axes["norm"])
        _rank(s, of_kind(studied, "grid"), axes["rank"])
        _imbalance(of_kind(studied, "delta"), axes["delta"])
        _spoilt(s, studied, axes["spoilt"])
        with panels(axes["images"]):
            _images(s, found, axes["images"])
        plot.save(figure, paths)


def _circle(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    run = plane_run(s, found)
    early = run.clock <= TURNING
    radius = 0.25 + 0.65 * run.clock[early] / TURNING
    unit = run.inner[early] / np.linalg.norm(run.inner[early], axis=-1, keepdims=True)
    for around in (0.25, 0.9):
        ax.add_patch(_ring(around))
    for j, sign in enumerate(run.sign):
        path = radius[:, None] * unit[:, j]
        ax.plot(*path.T, color=COLOURS[int(sign)], linewidth=1.5, alpha=0.8)
        ax.plot(*path[0], "o", color=COLOURS[int(sign)], markersize=3.5)
    arcs(ax, run)
    for sign, name in ((1, "+"), (-1, "−")):
        ax.plot([], [], color=COLOURS[sign], label=f"neurons, v {'>' if sign > 0 else '<'} 0")
        ax.plot([], [], "D", color=COLOURS[sign], markersize=6, label=f"samples, y = {name}1")
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.3, 1.1), aspect="equal")
    ax.set_axis_off()
    ax.legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, -0.06))
    ax.set_title(f"Neurons turn (outwards: s = 0 to {TURNING:g})")


def _ring(radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((0, 0), radius, fill=False, edgecolor=plot.GREY, linewidth=0.5, linestyle=(0, (2, 3)))


def _clocks(s: Settings, found: dict[str, xr.Dataset], clock: Any, time: Any) -> None:
    for (norm, ds), colour in zip(
        [row for row in levels(of_kind(found[f"n={s.studied}"], "norm"), "norm") if row[0] <= 0.02], SHADES, strict=False
    ):
        for k in range(min(4, ds.sizes["seed"])):
            one = ds.isel(cell=0, seed=k)
            one = one.isel(time=np.isfinite(one["loss"].values))
            label = f"norm {norm:g} at the start" if k == 0 else None
            loss, size = one["loss"].values / LN10, one["size"].values / LN10
            clock.plot(one["time"], loss, color=colour, linewidth=1.1, alpha=0.8, label=label)
            clock.plot(one["time"], size, color=colour, linewidth=1.1, alpha=0.8, linestyle=(0, (3, 2)))
            logs = one["log_time"].values / LN10
            time.plot(logs, loss, color=colour, linewidth=1.1, alpha=0.8)
            time.plot(logs, size, color=colour, linewidth=1.1, alpha=0.8, linestyle=(0, (3, 2)))
    for ax in (clock, time):
        ax.plot([], [], color=plot.GREY, label="log₁₀ loss")
        ax.plot([], [], color=plot.GREY, linestyle=(0, (3, 2)), label="log₁₀ norm of all weights")
    clock.set(ylim=(-14, 9), yticks=[-12, -8, -4, 0, 4], xlabel="the clock's s, ds = loss dt")
    clock.set_title("Loss and norm in the clock that is run")
    clock.legend(loc="upper left", ncols=2, fontsize=8)
    late = np.linspace(2, LATEST, 20)
    time.plot(late, 2 - late, color=plot.INK, linewidth=1.1, linestyle=(0, (1, 2)), label="1/t")
    time.set(xlabel="log₁₀ t, the original time", xlim=(-2, LATEST), ylim=(-LATEST - 2, 6))
    last = float(np.nanmax(found[f"n={s.studied}"]["log_time_end"])) / LN10
    time.set_title(f"The same in the original time (run to 1e{last:.0f})")
    time.legend(loc="lower left")


def _scatter(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    top = 0.0
    for (n, ds), colour in zip(grids(s, found), SHADES, strict=False):
        for mu, one in levels(ds, "mu"):
            times = phases(one).aligned.ravel()
            x = np.log(n) / np.sqrt(mu)
            top = max(top, float(np.nanmax(times)) * np.sqrt(mu) / np.log(n))
            spread = x * np.exp(0.05 * np.linspace(-1, 1, times.size))
            ax.plot(spread, times, ".", color=colour, alpha=0.35, markersize=4, rasterized=True)
            ax.plot(x, np.nanmedian(times), "_", color=colour, markersize=22, markeredgewidth=2)
        ax.plot([], [], ".", color=colour, markersize=9, label=f"n = {n}")
    x = np.asarray(ax.get_xlim())
    x = np.geomspace(max(x[0], 0.5), x[1], 50)
    ax.plot(x, top * x, color=plot.INK, linewidth=1.3, label=f"{top:.2f} log n / √µ")
    ax.set(xscale="log", yscale="log", xlabel="log n / √µ", ylabel="t₁")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if x[0] < tick < x[-1]]
    ax.set_xticks(ticks, [f"{tick}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_title("Time of alignment against the bound")
    ax.legend(loc="upper left", ncols=2)
    ax.set_ylim(top=2.5 * ax.get_ylim()[1])


def _norms(s: Settings, ds: xr.Dataset, plane: xr.Dataset, ax: Any) -> None:
    rows = levels(ds, "norm")
    norms = [norm for norm, _ in rows]
    times = [phases(one) for _, one in rows]
    for name, colour, label in (("aligned", plot.BLUE, "t₁"), ("grown", plot.ORANGE, "t₂")):
        values = np.stack([getattr(one, name).ravel() for one in times])
        low, middle, high = np.nanquantile(np.where(np.isfinite(values).any(1, keepdims=True), values, 1e300), [0, 0.5, 1], axis=1)
        ax.fill_between(norms, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(norms, middle, "o-", color=colour, label=f"{label}, median and range")
    ax.set(xscale="log", yscale="log", xlabel="norm of the start", ylabel="original time", ylim=(1e-2, 1e4), yticks=[0.01, 0.1, 1, 10])
    shares = ax.twinx()
    for some, mark, label in ((ds, "s--", f"{s.dim} inputs"), (plane, "^:", "2 inputs")):
        levels_of = levels(some, "norm")
        share = [share_aligned(one) for _, one in levels_of]
        shares.plot([norm for norm, _ in levels_of], share, mark, color=plot.GREEN, markersize=6, fillstyle="none")
        ax.plot([], [], mark, color=plot.GREEN, fillstyle="none", label=f"share with t₁ < t₂, {label}")
    shares.set(ylim=(-1.3, 1.75), yticks=[0, 0.5, 1])
    shares.set_ylabel("share of runs", color=plot.GREEN)
    ax.set_title(f"Small enough? (The bounds: 10$^{{{np.log10(bounded_norm(s)):.0f}}}$)")
    ax.legend(loc="upper center", ncols=2, fontsize=8)


def _rank(s: Settings, ds: xr.Dataset, ax: Any) -> None:
    for (mu, one), colour in zip(levels(ds, "mu"), SHADES, strict=False):
        for cell in range(one.sizes["cell"]):
            for k in range(min(4, one.sizes["seed"])):
                logs = one["log_time"].values[cell, k] / LN10
                ax.plot(_stretched(logs), one["stable_rank"].values[cell, k], color=colour, linewidth=0.8, alpha=0.5)
        ax.plot([], [], color=colour, label=f"µ = {mu:g}")
        end = _stretched(np.asarray([-s.log_loss]))
        ax.plot(np.full(one.sizes["cell"], end), one["rank_limit"], "<", color=colour, markersize=8, clip_on=False, markeredgecolor="white")
    ticks = np.asarray([-2, -1, 0, 1, 3, 10, 30, 100])
    ticks = ticks[ticks <= -s.log_loss]
    ax.set_xticks(_stretched(ticks), [f"{tick}" for tick in ticks])
    ax.axhline(2, color=plot.INK, linewidth=1.2, linestyle=(0, (4, 2)))
    ax.plot([], [], color=plot.INK, linewidth=1.2, linestyle=(0, (4, 2)), label="the bound 2")
    ax.plot([], [], "<", color=plot.GREY, markersize=8, label="limits by max margins")
    ax.set(xlabel="log₁₀ t, stretched about 0", ylabel="stable rank of W", ylim=(0.8, None), xlim=(_stretched(np.asarray(-3.0)), None))
    ax.set_title(f"The rank falls below the bound, n = {s.studied}")
    ax.legend(loc="upper right")


def _stretched(logs: np.ndarray) -> np.ndarray:
    """Early and late times on one axis."""
    return np.arcsinh(logs)


def _imbalance(ds: xr.Dataset, ax: Any) -> None:
    rows = levels(ds, "delta")
    at = np.arange(len(rows))
    parts = (
        (share_aligned, plot.BLUE, "o-", "all right or dead at t₂"),
        (lambda one: float((one["turned_over_end"] > 0).mean()), plot.ORANGE, "s--", "some v changed its sign"),
    )
    for share, colour, mark, label in parts:
        ax.plot(at, [share(one) for _, one in rows], mark, color=colour, label=label)
    times = [phases(one) for _, one in rows]
    ax.plot(at, [float(np.nanmedian(one.aligned / one.grown)) for one in times], "^-", color=plot.GREEN, label="median of t₁ / t₂")
    ax.set_xticks(at, [f"{delta:g}" for delta, _ in rows])
    ax.set(xlabel="v² − |w|² of each neuron at the start", ylabel="share of runs; t₁ / t₂", ylim=(-0.05, 1.5), yticks=[0, 0.5, 1])
    ax.set_title("Starts that are not balanced")
    ax.legend(loc="upper center", ncols=1)


def _spoilt(s: Settings, ds: xr.Dataset, ax: Any) -> None:
    plain = of_kind(ds, "grid").isel(cell=of_kind(ds, "grid")["mu"].values == s.separation)
    for kind, colour, name in (("flip", plot.BLUE, "flipped labels"), ("outlier", plot.ORANGE, "outliers")):
        rows = [(0.0, plain), *levels(of_kind(ds, kind), "share")]
        shares = [share for share, _ in rows]
        ax.plot(shares, [share_aligned(one) for _, one in rows], "o-", color=colour, label=f"{name}: runs, all right at t₂")
        ax.plot(shares, [neurons_at_end(one) for _, one in rows], "s--", color=colour, fillstyle="none", label="neurons right at the end")
        for share, one in rows:
            ax.annotate(
                f"{float(one['cosine'].min()):.1f}",
                (share, 1.0 if kind == "flip" else 0.0),
                (0, 22 if kind == "flip" else -16),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=colour,
            )
    ax.set(xlabel="share of the samples; small numbers: the smallest cosine", ylabel="share", ylim=(-0.18, 1.6), yticks=[0, 0.5, 1])
    ax.set_title("Data that violate the separation")
    ax.legend(loc="upper center", ncols=2, fontsize=8)


def _images(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for kind, colour, title in (("digits", plot.BLUE, "scikit-learn"), ("mnist", plot.ORANGE, "MNIST")):
        if kind not in found:
            continue
        ds = found[kind]
        share = ds["right"].where(np.isfinite(ds["loss"]), ds["right_end"])  # the last record on
        for cell in range(ds.sizes["cell"]):
            ax.plot(ds["time"], share.isel(cell=cell).mean("seed"), color=colour, linewidth=0.9, alpha=0.45)
        cosines = f"smallest cosines {float(ds['cosine'].min()):.2f} to {float(ds['cosine'].max()):.2f}"
        ax.plot(ds["time"], share.mean(["cell", "seed"]), color=colour, linewidth=2.4, label=f"{title}, {cosines}; thin: each pair")
        grown = phases(ds).grown
        rows = zip(grown.ravel(), ds["log_time"].values.reshape(grown.size, -1), strict=True)
        clock = [np.interp(np.log(t), row[1:], ds["time"].values[1:]) for t, row in rows if np.isfinite(t)]
        if clock:
            ax.axvspan(min(clock), max(clock), color=colour, alpha=0.12, linewidth=0, label="t₂, its range")
    ax.set(xlabel="the clock's s", ylabel="share of neurons, right or dead", ylim=(-0.02, 1.25), yticks=[0, 0.5, 1])
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xlim(left=0)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.set_title("Handwritten digits, two at a time")
    ax.legend(loc="upper left", fontsize=8)
