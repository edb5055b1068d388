"""A moving picture of one start: neurons on the circle, and the loss beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ... import plot
from .networks import one_neuron
from .settings import Settings

FRAMES, TAIL = 120, 25
"""Frames of the picture, and how many before the present one a neuron's trace goes back."""
WAIT = 1e-3
"""The picture ends once the loss stays within this share of its last value."""
SPREAD = 0.45
"""How far the correlation's curve goes out from the circle."""


def animate(s: Settings, found: dict[str, xr.Dataset], path: str | Path) -> None:
    """Writes a GIF of the neurons of the smallest start that was followed to its end.

    A neuron is a dot at the angle of its inner weights, its area its share of |c| |w|, its colour the sign of c. The curve around the
    circle is what a neuron of positive sign climbs, beyond the circle where it is positive; one of negative sign climbs its negative.

    Args:
        s: the settings.
        found: the runs.
        path: the file, `NAME.gif`.
    """
    story = found["story"].isel(seed=0, log_norm=-1)
    kept = frames_of(story, FRAMES)
    clock, loss = story["time"].values, story["loss"].values
    angle, weight, sign = polar(story)
    with plot.style():
        figure, axes = plot.make_figure((10.0, 5.0), [["circle", "loss"]])
        circle, side = axes["circle"], axes["loss"]
        side.plot(clock[: kept[-1] + 1], loss[: kept[-1] + 1], color=plot.GREY, linewidth=1.2)
        (mark,) = side.plot([], [], "o", color=plot.INK, markersize=8)
        side.set(xlabel="clock s, ds = |w| dt", ylabel="loss", ylim=(0, None))
        side.set_title(f"From |w| = {np.exp(story['log_norm'].values):.0e}")

        def draw_frame(k: int) -> None:
            n = int(kept[k])
            mark.set_data([clock[n]], [loss[n]])
            circle.clear()
            _circle(s, circle)
            tail = kept[max(0, k - TAIL) : k + 1]
            for j in np.argsort(weight[n]):
                colour = plot.BLUE if sign[n, j] > 0 else plot.ORANGE
                circle.plot(np.cos(angle[tail, j]), np.sin(angle[tail, j]), color=colour, linewidth=2.0, alpha=0.35)
                size = 20 + 500 * weight[n, j]
                circle.scatter(np.cos(angle[n, j]), np.sin(angle[n, j]), s=size, color=colour, alpha=0.85, edgecolor="white", zorder=3)
            circle.set_title(f"|w| = {np.exp(story['size'].values[n]):.1e}")

        plot.save_animation(figure, draw_frame, len(kept), path, fps=20)


def frames_of(story: xr.Dataset, number: int) -> np.ndarray:
    """Which records to show: evenly in the clock, until the loss has come to its end.

    Args:
        story: one start.
        number: of frames.

    Returns:
        Indices.
    """
    loss = story["loss"].values
    moving = np.flatnonzero(np.abs(loss - loss[-1]) > WAIT * loss[0])
    last = min(len(loss) - 1, (int(moving[-1]) if moving.size else 0) + 20)
    return np.unique(np.linspace(0, last, number).astype(int))


def polar(story: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles of the neurons' inner weights, their shares of the sum of |c| |w|, and the signs of c.

    Args:
        story: one start.

    Returns:
        Three arrays over records and neurons.
    """
    a, c = story["a"].values, story["c"].values
    strength = np.abs(c) * np.linalg.norm(a, axis=-1)
    return np.arctan2(a[..., 1], a[..., 0]), strength / strength.sum(axis=-1, keepdims=True), np.sign(c)


def _circle(s: Settings, ax: Any) -> None:
    one = one_neuron(s, 2)
    radius = 1 + SPREAD * one.values / np.abs(one.values).max()
    ax.fill(np.cos(one.angles), np.sin(one.angles), color="none", edgecolor=plot.GREY, linewidth=0.8)
    ax.plot(radius * np.cos(one.angles), radius * np.sin(one.angles), color=plot.GREEN, linewidth=1.2)
    ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
    ax.set_axis_off()
