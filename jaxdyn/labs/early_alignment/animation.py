"""The neurons of one run in the plane, moving on the circle: first they turn, then they grow."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ... import plot
from ..base import LabResult
from .cells import cells_of
from .settings import Settings

SECONDS, FRAMES_A_SECOND = 8, 20
COLOURS = {1: plot.BLUE, -1: plot.ORANGE}
"""Of the classes, and of the neurons by the sign of their output weights."""


class PlaneRun(NamedTuple):
    """One run in the plane, over time.

    Attributes:
        x: the samples.
        y: their labels.
        clock: the clock's times.
        log_time: logarithms of the original times.
        inner: the neurons' inner weights, of the direction.
        sign: of their output weights.
        size: the logarithm of the norm of all weights.
        loss: the logarithm of the loss.
    """

    x: np.ndarray
    y: np.ndarray
    clock: np.ndarray
    log_time: np.ndarray
    inner: np.ndarray
    sign: np.ndarray
    size: np.ndarray
    loss: np.ndarray


def plane_run(s: Settings, found: dict[str, xr.Dataset], seed: int = 0, draw: int = 0) -> PlaneRun:
    """One run in the plane, from the small norm.

    Args:
        s: the settings.
        found: the runs.
        seed: which start.
        draw: which data set.

    Returns:
        The run, as far as it was recorded.
    """
    place = next(k for k, cell in enumerate(cells_of(s, "plane")) if cell.norm == s.small and cell.draw == draw)
    samples = cells_of(s, "plane")[place].samples
    one = found["plane"].isel(cell=place, seed=seed)
    one = one.isel(time=np.isfinite(one["loss"].values))
    sign = np.sign(one["outer"].values[0])
    time, logs, inner = (one[name].values for name in ("time", "log_time", "inner"))
    return PlaneRun(np.asarray(samples.x), np.asarray(samples.y), time, logs, inner, sign, one["size"].values, one["loss"].values)


def arcs(ax: Any, run: PlaneRun, radius: float = 1.0) -> None:
    """The samples on their circle.

    Args:
        ax: where.
        run: the run.
        radius: of the circle.
    """
    around = np.linspace(0, 2 * np.pi, 200)
    ax.plot(radius * np.cos(around), radius * np.sin(around), color=plot.GREY, linewidth=0.8, zorder=0)
    for sign, colour in COLOURS.items():
        mine = radius * run.x[run.y == sign] / np.linalg.norm(run.x[run.y == sign], axis=1, keepdims=True)
        ax.plot(*mine.T, "D", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=0.6, clip_on=False, zorder=4)


def animate(s: Settings, found: "dict[str, xr.Dataset] | LabResult", path: str | Path, *, seed: int = 0) -> None:
    """Writes the neurons of one run in the plane as they move.

    Args:
        s: the settings.
        found: the runs, or the lab's result.
        path: a .gif, or an .mp4 where ffmpeg is installed.
        seed: which start.

    Raises:
        ValueError: the ending is another, ffmpeg is missing, or there is no such seed.
    """
    datasets = found.datasets if isinstance(found, LabResult) else found
    if not 0 <= seed < datasets["plane"].sizes["seed"]:
        raise ValueError(f"seed must be from 0 to {datasets['plane'].sizes['seed'] - 1}; {seed} was given.")
    run = plane_run(s, datasets, seed)
    frames = SECONDS * FRAMES_A_SECOND
    # equal steps of the clock, with twice as many while neurons turn
    turning = 4.0
    moments = np.concatenate([
        np.linspace(0, turning, frames // 2, endpoint=False),
        np.linspace(turning, run.clock[-1], frames - frames // 2),
    ])
    lengths = np.linalg.norm(run.inner, axis=-1)
    unit = run.inner / lengths[..., None]
    logs_of_time = np.maximum(run.log_time, run.log_time[1]) / np.log(10)  # minus infinity at the start
    with plot.style():
        figure, axes = plot.make_figure((8.4, 4.4), [["circle", "loss"]], width_ratios=[1.15, 1])
        ax, beside = axes["circle"], axes["loss"]
        arcs(ax, run)
        ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
        ax.set_axis_off()
        rays = [ax.plot([], [], color=COLOURS[int(one)], alpha=0.7)[0] for one in run.sign]
        dots = ax.scatter(*unit[0].T, c=[COLOURS[int(one)] for one in run.sign], edgecolors="white", zorder=5)
        beside.plot(run.clock, run.loss / np.log(10), color=plot.INK, label="log₁₀ loss")
        beside.plot(run.clock, run.size / np.log(10), color=plot.GREEN, label="log₁₀ norm")
        beside.set(ylim=(min(-8.0, 1.2 * run.size[0] / np.log(10)), 3), xlabel="clock s, ds = loss dt")
        beside.legend(loc="lower left", bbox_to_anchor=(0.0, 0.06))
        line = beside.axvline(0, color=plot.ORANGE, linewidth=1)

        def at(values: np.ndarray, moment: float) -> np.ndarray:
            k = int(np.clip(np.searchsorted(run.clock, moment), 1, len(run.clock) - 1))
            part = (moment - run.clock[k - 1]) / (run.clock[k] - run.clock[k - 1])
            return (1 - part) * values[k - 1] + part * values[k]

        def draw_frame(k: int) -> None:
            moment = float(moments[k])
            here, length = at(unit, moment), at(lengths, moment)
            here = here / np.linalg.norm(here, axis=-1, keepdims=True)
            share = length / length.max()
            dots.set_offsets(here)
            dots.set_sizes(15 + 90 * share)
            for ray, place, weight in zip(rays, here, share, strict=True):
                ray.set_data([0, place[0]], [0, place[1]])
                ray.set_linewidth(0.4 + 2.2 * float(weight))
            logs = float(at(logs_of_time, moment))
            time = f"t = {10**logs:.3f}" if logs < 3 else f"t = $10^{{{logs:.0f}}}$"
            ax.set_title(f"s = {moment:.1f}, {time}, norm $10^{{{float(at(run.size, moment)) / np.log(10):.1f}}}$")
            line.set_xdata([moment, moment])

        plot.save_animation(figure, draw_frame, frames, path, FRAMES_A_SECOND)
