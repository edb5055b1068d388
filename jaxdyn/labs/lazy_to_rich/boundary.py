"""Where a curve over alpha crosses a level: brackets, their refinement, and the crossing's spread over seeds."""

from typing import NamedTuple

import numpy as np
import xarray as xr

DRAWS = 400
"""Bootstraps over seeds."""


class Line(NamedTuple):
    """A line of the phase diagram, along which only alpha varies."""

    width: int
    delta: float

    @property
    def crossover(self) -> float:
        """The alpha at which u = alpha sqrt(m) (1 + max(0, -delta)) is 1."""
        return 1 / (np.sqrt(self.width) * (1 + max(0.0, -self.delta)))


def on_line(ds: xr.Dataset, line: Line) -> xr.Dataset:
    """The cells of a line, in the order of alpha.

    Args:
        ds: cells with the coordinates `width`, `delta` and `alpha`.
        line: the line.

    Returns:
        Those cells.
    """
    mine = np.flatnonzero((ds["width"].values == line.width) & (ds["delta"].values == line.delta))
    return ds.isel(cell=mine[np.argsort(ds["alpha"].values[mine])])


def bracket(alpha: np.ndarray, values: np.ndarray, level: float) -> int | None:
    """The last place from which on a curve stays below a level.

    From the lazy end, because the NTK change of bounded activations falls again far in the rich regime.

    Args:
        alpha: rising.
        values: of the curve.
        level: the level.

    Returns:
        k with values[k] >= level > values[k + 1:]; None if there is none.
    """
    above = np.flatnonzero(~(values < level))
    return int(above[-1]) if above.size and above[-1] + 1 < len(alpha) else None


def crossing(alpha: np.ndarray, values: np.ndarray, level: float) -> float:
    """Where a curve falls through a level, by interpolation of the logarithms.

    Args:
        alpha: rising.
        values: of the curve.
        level: the level.

    Returns:
        The alpha; NaN if the curve does not fall through it.
    """
    k = bracket(alpha, values, level)
    if k is None:
        return float("nan")
    x, y = np.log(alpha[k : k + 2]), np.log(values[k : k + 2])
    return float(np.exp(x[0] + (np.log(level) - y[0]) / (y[1] - y[0]) * (x[1] - x[0])))


def refine(ds: xr.Dataset, line: Line, level: float, points: int) -> list[float]:
    """The alphas of the next round: equally spaced in the logarithm between the two that enclose the boundary.

    Args:
        ds: the rounds so far.
        line: the line.
        level: the level of the median NTK change.
        points: how many.

    Returns:
        The new alphas; none where the line does not cross the level.
    """
    cells = on_line(ds, line)
    alpha = cells["alpha"].values
    k = bracket(alpha, median_curve(cells), level)
    return [] if k is None else [float(x) for x in np.geomspace(alpha[k], alpha[k + 1], points + 2)[1:-1]]


def median_curve(cells: xr.Dataset) -> np.ndarray:
    """The median over seeds of the NTK change at the end."""
    return np.nanmedian(cells["ntk_change_end"].transpose("cell", "seed").values, axis=1)


def boundary(ds: xr.Dataset, line: Line, level: float) -> tuple[float, np.ndarray]:
    """The boundary on a line, where the median NTK change falls through the level.

    Args:
        ds: all rounds.
        line: the line.
        level: the level.

    Returns:
        The alpha, and its bootstraps over seeds; NaN where the line does not cross the level.
    """
    cells = on_line(ds, line)
    alpha, values = cells["alpha"].values, cells["ntk_change_end"].transpose("cell", "seed").values
    rng, seeds = np.random.default_rng(0), values.shape[1]
    drawn = np.stack([rng.integers(0, seeds, seeds) for _ in range(DRAWS)])
    median = np.nanmedian if np.isnan(values).any() else np.median  # the same, faster
    curves = median(values[:, drawn], axis=2).T
    return crossing(alpha, median(values, axis=1), level), np.asarray([crossing(alpha, curve, level) for curve in curves])


def exponent(x: np.ndarray, found: list[tuple[float, np.ndarray]]) -> tuple[float, float]:
    """The exponent of a boundary in a setting, with its standard error over seeds.

    Args:
        x: the setting on each line.
        found: the boundary on each line.

    Returns:
        The slope of log alpha against log x by least squares, and the standard deviation of its bootstraps; NaN for a single line.
    """
    if len(x) < 2:
        return float("nan"), float("nan")
    centred = np.log(x) - np.log(x).mean()
    weights = centred / (centred**2).sum()
    values, draws = np.log([value for value, _ in found]), np.log(np.stack([drawn for _, drawn in found]))
    return float(weights @ values), spread(np.exp(weights @ draws))


def spread(drawn: np.ndarray) -> float:
    """The standard error of a logarithm from its bootstraps.

    Args:
        drawn: bootstraps, NaN where a drawn curve does not cross the level.

    Returns:
        Their standard deviation; NaN where fewer than half of them cross it.
    """
    logs = np.log(drawn[np.isfinite(drawn)])
    return float(logs.std(ddof=1)) if logs.size > drawn.size // 2 else float("nan")
