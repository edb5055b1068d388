"""The lab's figure: SGD and flow with and without the link, the two phases, one-point convexity, the decay of g, SGD's errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ... import plot
from ..base import Claim
from ..parts import panels
from .claims import CONSTANT
from .settings import Settings
from .starts import TURN
from .sweeps import LINKS, SCALES, potential_rate
from .trajectories import decay_steps, deviations, turns

COLOURS = {"identity": plot.BLUE, "vanilla": plot.ORANGE}
DASHES = (0, (2, 2))


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
        figure, axes = plot.make_figure((17.0, 8.6), [["loss", "distance", "ratio", "strayed"], ["phases", "phases", "potential", "decay"]])
        with panels(axes["loss"], axes["distance"]):
            _runs(s, found, axes["loss"], "loss", "L = E[(f − f*)²]")
            axes["loss"].set_title(f"SGD (lines) and flow (dashed), d = {s.dim}")
            axes["loss"].legend(loc="center right", bbox_to_anchor=(1.0, 0.55))
            _runs(s, found, axes["distance"], "distance", "|W − W*|")
            axes["distance"].set_title("Distance from W*")
        parts = {"ratio": _ratio, "phases": _phases, "potential": _potential, "strayed": _strayed, "decay": _decay}
        for name, part in parts.items():
            with panels(axes[name]):
                part(s, found, axes[name])
        plot.save(figure, paths)


def _runs(s: Settings, found: dict[str, xr.Dataset], ax: Any, name: str, label: str) -> None:
    sgd, flow = found["sgd"], found["flow"]
    for link in LINKS:
        (row, *_) = np.flatnonzero((sgd["link"].values == link) & (sgd["rate"].values == s.learning_rates[0]))
        for k in range(s.seeds):
            text = f"{link} link, {s.seeds} runs" if k == 0 else None
            ax.plot(sgd["time"], sgd[name].values[row, k], color=COLOURS[link], linewidth=3.0, alpha=0.4, label=text)
        for values in flow[name].sel(link=link).values:
            ax.plot(flow["time"], values, color=plot.INK, linewidth=0.8, linestyle=DASHES)
    ax.set(yscale="log", xlabel="time = steps × learning rate", ylabel=label)


def _ratio(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    flow, phases = found["flow"], found["phases"]
    rows = (
        *((COLOURS[link], f"{link} link, d = {s.dim}", flow["time"].values, flow["ratio"].sel(link=link).values) for link in LINKS),
        (plot.GREEN, f"start with two phases, d = {s.phase_dim}", phases["time"].values, phases["ratio"].values),
    )
    for colour, text, times, values in rows:
        for k, row in enumerate(values):
            ax.plot(times[1:], row[1:], color=colour, linewidth=1.2, alpha=0.7, label=text if k == 0 else None)
    ax.axhline(0, color=plot.INK, linewidth=0.6)
    ax.axhline(CONSTANT, color=plot.INK, linewidth=0.9, linestyle=DASHES, label=f"c = {CONSTANT:g}")
    ax.set(xscale="log", xlabel="time", ylabel="⟨−∇L, W* − W⟩ / |W − W*|²")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.65 * (high - low), high)  # room for the legend
    ax.set_title("One-point convexity along the flow")
    ax.legend(loc="lower right")


def _phases(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    ds = found["phases"].sel(time=slice(0, TURN[-1]))
    times = ds["time"].values
    inner, g, away = (ds[name].values for name in ("inner", "potential", "distance"))
    growth = 100 * (away / away[:, :1] - 1)
    curves = (
        (inner / np.abs(inner[:, :1]), plot.GREEN, "⟨−∇L, W* − W⟩ / |at the start|"),
        (g / g[:, :1], plot.BLUE, "g / g at the start"),
        (growth / 0.1, plot.ORANGE, "growth of |W − W*|, in 0.1 %"),
    )
    for values, colour, text in curves:
        for k, row in enumerate(values):
            ax.plot(times, row, color=colour, linewidth=1.3, alpha=0.7, label=text if k == 0 else None)
    law = np.exp(-potential_rate(s.phase_dim) * times)
    ax.plot(times, law, color=plot.INK, linewidth=0.9, linestyle=DASHES, label="exp(−(d − 1 + π/2) t / π)")
    turn = float(np.mean(turns(found["phases"])))
    ax.axhline(0, color=plot.INK, linewidth=0.6)
    low, high = -2.2, 3.4
    if np.isfinite(turn):
        ax.axvspan(0, turn, color=plot.GREY, alpha=0.18, linewidth=0)
        ax.annotate(f"turn at t = {turn:.4f}", (turn, low), (5, 6), textcoords="offset points", fontsize=9)
    ax.set(xlabel="time", xlim=(0, TURN[-1]), ylim=(low, high))
    ax.set_title(f"Two phases, d = {s.phase_dim}: away from W* at first (grey), while g falls")
    ax.legend(loc="upper right")


def _potential(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    missing = np.abs(found["scales"]["rate"].values / potential_rate(s.dim) - 1)
    for k, row in enumerate(missing):
        text = f"random pairs, d = {s.dim}" if k == 0 else None
        ax.plot(SCALES, row, "o-", color=plot.BLUE, markersize=4, linewidth=0.9, alpha=0.6, label=text)
    guide = 1.6 * missing[:, -1].max() * SCALES / SCALES[-1]
    ax.plot(SCALES, guide, color=plot.INK, linewidth=0.9, linestyle=DASHES, label="first order")
    ax.set(xscale="log", yscale="log", xlabel="scale of W and W*", ylabel="|−g′ / (rate · g) − 1|")
    ax.set_title("Rate of g against (d − 1 + π/2)/π")
    ax.legend(loc="upper left")


def _strayed(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    strayed, rates = deviations(s, found), np.asarray(s.learning_rates)
    for k, column in enumerate(strayed.T):
        ax.plot(rates, column, "o", color=plot.BLUE, markersize=5, alpha=0.6, label=f"identity link, {s.seeds} runs" if k == 0 else None)
    ax.plot(rates, strayed[0].mean() * np.sqrt(rates / rates[0]), color=plot.INK, linewidth=0.9, linestyle=DASHES, label="√(learning rate)")
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="largest |W − W flow| on the way")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    ax.set_title("How far SGD strays from the flow")
    ax.legend(loc="upper left")


def _decay(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    steps, errors = decay_steps(s, found)
    for k, row in enumerate(errors):
        ax.plot(steps, row, color=plot.BLUE, linewidth=1.3, alpha=0.6, label="SGD, rates c / (k + k0)" if k == 0 else None)
    bound = np.log(steps) / steps
    ax.plot(
        steps, bound * errors.mean(axis=0)[0] / bound[0], color=plot.INK, linewidth=0.9, linestyle=DASHES, label="log T / T, T = k + k0"
    )
    ax.set(xscale="log", yscale="log", xlabel="k + k0, k the step", ylabel="|W − W*|²")
    ticks = s.decay_offset * 2.0 ** np.arange(np.ceil(np.log2(steps[-1] / s.decay_offset)))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    ax.set_title("SGD's error with falling rates")
    ax.legend(loc="lower left")
