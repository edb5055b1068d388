"""The sweeps of the lab: one network after the other, each in rounds that close in on the boundary."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from ... import data, flows, losses, measure, models
from ...ensemble import sweep
from ...solve import KernelExponential, LossBelow
from ..parts import Runs
from .boundary import Line, refine
from .settings import Settings

GRID = np.linspace(-1.0, 1.0, 101)
NETWORKS = ("smooth", "paired", "relu")
"""tanh with independent neurons; tanh with neurons in pairs of opposite sign; univariate ReLU of a given imbalance."""


def points(s: Settings) -> data.Samples:
    """The data of all networks."""
    return data.square_wave(n=s.samples, periods=s.periods)


def lines(s: Settings, network: str) -> list[Line]:
    """The lines of a network: each width, and for ReLU each imbalance too.

    ReLU leaves out the largest width, whose kinks cost most, and varies the imbalance at the largest that is left.

    Args:
        s: the settings.
        network: one of `NETWORKS`.

    Returns:
        The lines.
    """
    if network != "relu":
        return [Line(m, 0.0) for m in s.widths]
    return [Line(m, 0.0) for m in s.relu_widths] + [Line(s.relu_widths[-1], delta) for delta in s.deltas if delta]


def make_flow(s: Settings, network: str) -> flows.GradientFlow:
    """The flow of a network, with the settings that the grid does not vary.

    Args:
        s: the settings.
        network: one of `NETWORKS`.

    Returns:
        The flow of a centred network, f = 0 at the start.
    """
    m = s.widths[0]
    if network == "relu":
        model = models.TwoLayer(width=m, balanced=True, knots=(-s.reach, s.reach))  # pyright: ignore[reportArgumentType]
    else:
        steep = {"scale_a": s.steepness, "scale_b": s.steepness}
        model = models.TwoLayer(width=m, activation="tanh", antisymmetric=network == "paired", **steep)  # pyright: ignore[reportArgumentType]
    return flows.GradientFlow(models.Centred(model), losses.square, points(s))


def grid(s: Settings, network: str, cells: Sequence[tuple[Line, float]]) -> dict:
    """The cells as a sweep takes them.

    A smooth network takes alpha as its output multiplier. ReLU is homogeneous, so multiplying the function by alpha is the same as
    multiplying the start of all weights by sqrt(alpha), up to the time, which runs alpha times slower: there the init scale varies.

    Args:
        s: the settings.
        network: one of `NETWORKS`.
        cells: lines with their alphas.

    Returns:
        One axis that moves the settings together.
    """
    if network == "relu":
        names = ("model.model.width", "model.model.delta", "model.model.init_scale", "t1")
        rows = [(line.width, line.delta * alpha, float(np.sqrt(alpha)), s.scaled_time / alpha) for line, alpha in cells]
    else:
        names = ("model.model.width", "model.output_multiplier", "t1")
        rows = [(line.width, alpha, s.scaled_time / alpha**2) for line, alpha in cells]
    return {names: rows}


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All rounds of all networks.

    Args:
        s: the settings.
        store: the Zarr store, each round of each network a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        A Dataset a network, over `cell` and `seed`.
    """
    samples = points(s)
    watch = {
        "loss": measure.loss,
        "ntk_change": measure.ntk_change,
        "function_distance": partial(measure.function_distance_to_linearisation, x=GRID),
        "parameter_distance": measure.parameter_distance,
        "linear_distance": measure.linear_spline_distance(samples),
        "cubic_distance": measure.cubic_spline_distance(samples),
        "f": measure.function_on(GRID),
    }
    threshold = s.loss_ratio * 0.5 * float(np.sum(np.asarray(samples.y) ** 2))

    def swept(network: str, number: int, cells: list[tuple[Line, float]]) -> xr.Dataset:
        # later rounds follow the median over the seeds, so more seeds make other rounds
        group = f"{network}-0" if number == 0 else f"{network}-{number}-of-{s.seeds}-seeds"
        ds = sweep(
            make_flow(s, network),
            s.seeds,
            grid(s, network, cells),
            observe=watch,
            stop=LossBelow(threshold),
            solver=KernelExponential(),
            rtol=s.rtol,
            record=2,
            out=store,
            group=group,
            width=width,
            progress=f"{network:6s} {number + 1}/{s.rounds + 1}" if progress else False,
        )
        return _labelled(ds, cells, number)

    found = Runs(s.leave_out)
    for network in NETWORKS:
        if network in s.leave_out:
            continue
        mine = lines(s, network)
        rounds = [swept(network, 0, [(line, line.crossover * u) for line in mine for u in s.coarse])]
        for number in range(1, s.rounds + 1):
            so_far = xr.concat(rounds, "cell")
            cells = [(line, alpha) for line in mine for alpha in refine(so_far, line, s.level, s.points)]
            if cells:
                rounds.append(swept(network, number, cells))
        found[network] = xr.concat(rounds, "cell")
    return found


def _labelled(ds: xr.Dataset, cells: list[tuple[Line, float]], number: int) -> xr.Dataset:
    """What the claims need of a round, with the lines as coordinates."""
    kept = [name for name in ds.data_vars if str(name).endswith("_end")] + ["outcome", "num_accepted_steps", "num_kinks"]
    columns = {
        "width": [line.width for line, _ in cells],
        "delta": [line.delta for line, _ in cells],
        "alpha": [alpha for _, alpha in cells],
        "u": [alpha / line.crossover for line, alpha in cells],
        "round": [number] * len(cells),
    }
    (first,) = (dim for dim in ds["loss_end"].dims if dim != "seed")
    plain = ds[kept].rename({first: "cell"}).reset_coords(drop=True)
    return plain.drop_vars([name for name in plain.coords if name != "seed"]).assign_coords({n: ("cell", v) for n, v in columns.items()})
