"""The lab's figure: fields of the plane with their nullclines and trajectories, and what is measured beside the theory."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import plot
from ..base import Claim
from ..parts import panels
from .claims_many import recovery
from .claims_one import shares
from .claims_plane import arrivals, delay_slope, runs_of
from .settings import Settings
from .starts import PlaneStart, saddle_of
from .sweeps import unstable_rate

COLOURS = (plot.BLUE, plot.ORANGE, plot.GREEN)
HALO: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 1.0}


def draw(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim], paths: Sequence[str]) -> None:
    """Draws the figure and writes it.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.
        paths: files to write.
    """
    del claims
    rows = [["first", "second", "paths"], ["ball", "formula", "delay"], ["noise", "signs", "extra"]]
    with plot.style():
        figure, axes = plot.make_figure((15.5, 12.5), rows)
        parts = {
            "first": lambda ax: _field(found, s.sizes[0], ax, True),
            "second": lambda ax: _field(found, s.sizes[min(1, len(s.sizes) - 1)], ax, False),
            "paths": lambda ax: _paths(s, found, ax),
            "ball": lambda ax: _ball(found["ball"], ax),
            "formula": lambda ax: _formula(found["formula"], ax),
            "delay": lambda ax: _delay(s, found, ax),
            "noise": lambda ax: _noise(s, found, ax),
            "signs": lambda ax: _signs(found["signs"], figure, ax),
            "extra": lambda ax: _extra(found["extra"], ax),
        }
        for name, part in parts.items():
            with panels(axes[name]):
                part(axes[name])
        plot.save(figure, paths)


def field_on_grid(k: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The velocities of x and y on a grid.

    Args:
        k: K.
        x: along the columns.
        y: along the rows.

    Returns:
        Two arrays, rows by columns.
    """
    flow = PlaneStart(k)
    points = [jnp.asarray(part.ravel()) for part in np.meshgrid(x, y)]
    velocity = jax.jit(jax.vmap(lambda a, b: flow.vector_field(jnp.zeros(()), {"x": a, "y": b})))(*points)
    shape = (len(y), len(x))
    return np.asarray(velocity["x"]).reshape(shape), np.asarray(velocity["y"]).reshape(shape)


def _field(found: dict[str, xr.Dataset], k: int, ax: Any, labelled: bool) -> None:
    place = float(saddle_of(k))
    x, y = np.linspace(0.0, 1.2, 121), np.linspace(-0.1 * place, 1.45 * place, 111)
    across, up = field_on_grid(k, x, y)
    speed = np.hypot(across, up)
    widths = 0.4 + 1.1 * np.sqrt(speed / speed.max())
    ax.streamplot(x, y, across, up, color=plot.GREY, density=1.1, linewidth=widths, arrowsize=0.7)
    for part, colour, name in ((across, plot.BLUE, "dx/dt = 0"), (up, plot.GREEN, "dy/dt = 0")):
        ax.contour(x, y, part, [0.0], colors=[colour], linewidths=1.6)
        ax.plot([], [], color=colour, linewidth=1.6, label=name)
    near = runs_of(found, "delay", k)
    for cell in range(near.sizes["cell"]):
        ax.plot(near["abscissa"][cell], near["ordinate"][cell], color=plot.ORANGE, linewidth=1.3, alpha=0.8)
    way = runs_of(found, "path", k)
    ax.plot(way["abscissa"][0], way["ordinate"][0], color=plot.ORANGE, linewidth=2.4, label="trajectories")
    ax.plot(place, place, "X", color=plot.INK, markersize=11, label="saddle", **HALO)
    ax.plot(1, 0, "*", color=plot.INK, markersize=16, label="teacher", clip_on=False, zorder=5, **HALO)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="x, along the own teacher", ylabel="y, along the others")
    ax.set_title(f"K = {k}: flow of symmetric students")
    if labelled:
        ax.legend(loc="upper right", frameon=True, framealpha=0.95, edgecolor="none")


def _paths(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for k, colour in zip(s.sizes, COLOURS, strict=False):
        way, near = runs_of(found, "path", k), runs_of(found, "delay", k)
        ax.plot(way["abscissa"][0], way["ordinate"][0], color=colour, linewidth=2.2, label=f"K = {k}, from ({s.start:g}, 0)")
        ax.plot(near["abscissa"][-1], near["ordinate"][-1], color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
        ax.plot(saddle_of(k), saddle_of(k), "X", color=colour, markersize=10, **HALO)
    ax.plot([], [], color=plot.INK, linewidth=1.2, linestyle=(0, (4, 2)), label=f"from the diagonal, {s.distances[-1]:.0e} off")
    ax.plot([], [], "X", color=plot.INK, markersize=9, linewidth=0, label="saddles")
    highest = float(saddle_of(s.sizes[0]))
    ax.plot([0, 1.1 * highest], [0, 1.1 * highest], color=plot.GREY, linewidth=0.8, zorder=0)
    ax.plot(1, 0, "*", color=plot.INK, markersize=16, clip_on=False, zorder=5, **HALO)
    ax.set(xlim=(0, 1.08), ylim=(0, 1.6 * highest), xlabel="x, along the own teacher", ylabel="y, along the others")
    ax.set_title("Symmetry breaks beside the diagonal")
    ax.legend(loc="upper right")


def _ball(ds: xr.Dataset, ax: Any) -> None:
    converged, counted = shares(ds)
    eps = ds["eps"].values
    every = np.linspace(0, 1, 50)
    ax.plot(every, (1 - every) / 2, color=plot.INK, linewidth=1.4, label="the bound (1 − ε)/2")
    for d, colour in zip(np.unique(ds["d"].values), COLOURS, strict=False):
        mine = ds["d"].values == d
        error = 3 * np.sqrt(counted[mine] * (1 - counted[mine]) / ds.sizes["seed"])
        ax.errorbar(eps[mine], counted[mine], error, fmt="o-", color=colour, capsize=3, label=f"|w₀ − w*| < |w*|, d = {d}")
        ax.plot(eps[mine], converged[mine], "s", color=colour, markersize=8, fillstyle="none")
    ax.plot([], [], "s", color=plot.INK, markersize=8, fillstyle="none", label="converged")
    ax.set(xlabel="ε, the ball's radius over √(2π/(d+1)) |w*|", ylabel="share of starts", ylim=(-0.02, 1.06), xlim=(0, 1.04))
    ax.set_title("One neuron: all starts converge")
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.72))


def _formula(ds: xr.Dataset, ax: Any) -> None:
    blues = np.linspace(0.35, 1.0, ds.sizes["samples"])
    angle = ds["theta"].values / np.pi
    for shade, n in zip(blues, ds["samples"].values, strict=True):
        one = ds.sel(samples=n)
        ax.plot(angle, np.sqrt(one["expected"]), color=plot.INK, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.plot(angle, np.sqrt(one["error"].mean("repeat")), "o", color=plot.BLUE, alpha=shade, markersize=5)
        ax.annotate(f"N = {n:,}", (angle[0], float(np.sqrt(one["expected"][0]))), (0, 7), textcoords="offset points", fontsize=9)
    ax.plot([], [], color=plot.INK, linewidth=0.8, linestyle=(0, (2, 2)), label="expected")
    ax.plot([], [], "o", color=plot.BLUE, markersize=5, label="measured")
    ax.set(xlabel="angle to the teacher / π", ylabel="relative error, root mean square", yscale="log", xlim=(0, 1))
    ax.set_title("The gradient's formula against N samples")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    ax.set_ylim(top=6 * float(np.sqrt(ds["expected"].max())))


def _delay(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    distances = np.asarray(s.distances)
    highest = max(float(np.nanmax(arrivals(found, "delay", k))) for k in s.sizes)
    for k, colour in zip(s.sizes, COLOURS, strict=False):
        times, rate = arrivals(found, "delay", k), unstable_rate(k)
        ax.plot(distances, times, "o", color=colour, label=f"K = {k}: slope {delay_slope(found, k)[0]:.4f}, 1/λ = {1 / rate:.4f}")
        ax.plot(distances, times[-1] - np.log(distances / distances[-1]) / rate, color=colour, linewidth=1.0)
    ax.set(xscale="log", xlabel="x − y at the start", ylabel="time of arrival at the teacher", ylim=(0, 1.3 * highest))
    ax.invert_xaxis()
    ax.set_title("The delay is logarithmic")
    ax.legend(loc="upper left")


def _noise(s: Settings, found: dict[str, xr.Dataset], ax: Any) -> None:
    for k, colour in zip(s.sizes, COLOURS, strict=False):
        every, same = recovery(found[f"noise-{k}"], s)
        ax.plot(s.noises, every, "s--", color=colour, markersize=6, fillstyle="none", linewidth=1.0)
        ax.plot(s.noises, same, "o-", color=colour, label=f"K = {k}")
    ax.plot([], [], "o-", color=plot.INK, label="teacher, in its order")
    ax.plot([], [], "s--", color=plot.INK, fillstyle="none", linewidth=1.0, label="some permutation")
    ax.axvline(s.start, color=plot.GREY, linewidth=0.8, linestyle=(0, (2, 2)))
    ax.set(xscale="log", xlabel=f"noise at the start, beside {s.start:g} of the teacher", ylabel="share of runs", ylim=(-0.03, 1.05))
    ax.set_title("Recovery against noise")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.12))


def _signs(ds: xr.Dataset, figure: Any, ax: Any) -> None:
    phi, place = ds["phi"].values, ds["place"].values
    for part, angle in (("inside", phi[:, None] * place), ("outside", phi[:, None] + (2 * np.pi - phi[:, None]) * place)):
        value = ds[part].values
        grid = np.broadcast_to(phi[:, None], value.shape) / np.pi
        image = ax.pcolormesh(angle / np.pi, grid, np.arcsinh(value), cmap="RdBu_r", vmin=-3, vmax=3, shading="nearest", rasterized=True)
    ax.plot([0, 0, 1, 0], [0, 1, 1, 0], color=plot.INK, linewidth=1.2)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2}
    ax.text(0.28, 0.72, "inside the cone:\nL₁₂ < 0", ha="center", va="center", fontsize=9, bbox=box)
    ax.text(1.35, 0.45, "outside: L₁₂ > 0", ha="center", va="center", fontsize=9, bbox=box)
    bar = figure.colorbar(image, ax=ax, shrink=0.85)
    bar.set_label("arsinh L₁₂")
    bar.outline.set_visible(False)
    ax.set(xlabel="angle of a teacher from the first student / π", ylabel="angle of the second / π", xlim=(0, 2), ylim=(0, 1))
    ax.set_title("Sign of the cross term L₁₂")


def _extra(ds: xr.Dataset, ax: Any) -> None:
    times = ds["time"].values[1:]
    for name, colour, power, label in (("loss", plot.BLUE, -3, "J"), ("gradient_norm", plot.ORANGE, -2, "|gradient|")):
        rows = np.abs(ds[name].values[:, 1:])
        for row in rows:
            ax.plot(times, row, color=colour, linewidth=0.7, alpha=0.4)
        ax.plot([], [], color=colour, label=label)
        line = 2.5 * np.median(rows[:, -1]) * (times / times[-1]) ** power
        late = times > 10
        ax.plot(times[late], line[late], color=plot.INK, linewidth=0.9, linestyle=(0, (4, 2)))
        middle = int(0.7 * len(times))
        ax.annotate({-3: "t⁻³", -2: "t⁻²"}[power], (times[middle], line[middle]), (4, 4), textcoords="offset points", fontsize=9)
    ax.set(xscale="log", yscale="log", xlabel="t", xlim=(times[0], times[-1]))
    ax.set_title("Two students, one teacher")
    ax.legend(loc="lower left")
