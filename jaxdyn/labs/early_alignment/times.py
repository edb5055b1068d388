"""What is read off the records: the two times of a lane, slopes, and the equation of the early directions."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from ...measure import first_aligned_time
from ..fits import slope
from .cells import cells_of
from .settings import Settings
from .sweeps import STEP

QUARTER = np.log(4.0)
"""The late phase begins when a quarter of the loss is left: half of it is gone once one class is fitted, so both are."""
EARLY_WINDOW = 1.0
"""Until this time of the clock the equation of the early directions is looked at."""
STENCIL = np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12
"""Of a first derivative, with an error of the fourth order."""


class Phases(NamedTuple):
    """The times of lanes, over cell and seed; original times unless said otherwise.

    Attributes:
        aligned: t_1, the first record at which every neuron is right or dead; NaN if never.
        grown: t_2, when a quarter of the loss is left; NaN if never.
        left: whether a neuron was wrong again after t_1.
        share: the share of neurons that are right or dead at t_2; at the end where that never comes.
        parted: whether t_1 < t_2.
    """

    aligned: np.ndarray
    grown: np.ndarray
    left: np.ndarray
    share: np.ndarray
    parted: np.ndarray


def phases(ds: xr.Dataset) -> Phases:
    """The times of lanes.

    Args:
        ds: a run over cell, seed and time.

    Returns:
        The times.
    """
    loss, share = ds["loss"].values, ds["right"].values
    there = np.isfinite(loss)
    times = np.exp(ds["log_time"].values)
    clock = np.broadcast_to(ds["time"].values, loss.shape)
    found = first_aligned_time(np.where(there, clock, np.nan), share == 1)
    place = np.searchsorted(ds["time"].values, np.nan_to_num(found.first))
    aligned = np.where(np.isfinite(found.first), np.take_along_axis(times, place[..., None], -1)[..., 0], np.nan)
    goal = loss[..., :1] - QUARTER
    below = there & (loss <= goal)
    after = np.where(below.any(-1), below.argmax(-1), 1)[..., None]
    at = lambda values, k: np.take_along_axis(values, k, -1)  # noqa: E731
    around = np.clip(after + np.arange(-2, 2), 0, loss.shape[-1] - 1)
    grown = np.where(below.any(-1), _crossing(at(loss, around), at(times, around), goal[..., 0]), np.nan)
    last = there.shape[-1] - 1 - there[..., ::-1].argmax(-1)[..., None]
    then = np.where(below.any(-1)[..., None], after, last)
    parted = np.nan_to_num(aligned, nan=np.inf) < np.nan_to_num(grown, nan=np.inf)
    return Phases(aligned, grown, found.left, at(share, then)[..., 0], parted)


def _cubic(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    """What goes through four values at -1, 0, 1 and 2, in between."""
    left, right = part + 1, part - 2
    a, b, c, d = np.moveaxis(values, -1, 0)
    return (
        -a * part * (part - 1) * right + 3 * b * left * (part - 1) * right - 3 * c * left * part * right + d * left * part * (part - 1)
    ) / 6


def _crossing(loss: np.ndarray, times: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """When the loss falls through the goal, between the middle ones of four records; linear where one of the others is missing."""
    step, first, second = (np.arange(-1, 3), (Ellipsis, slice(1, 2)), (Ellipsis, slice(2, 3)))
    whole = np.isfinite(loss).all(-1, keepdims=True)
    loss, times = (np.where(whole, one, one[first] + step * (one[second] - one[first])) for one in (loss, times))
    low, high = np.zeros(goal.shape), np.ones(goal.shape)
    for _ in range(40):
        middle = (low + high) / 2
        above = _cubic(loss, middle) > goal
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return _cubic(times, (low + high) / 2)


def of_kind(ds: xr.Dataset, kind: str) -> xr.Dataset:
    """The cells of a kind.

    Args:
        ds: a run.
        kind: as `cells.Cell` has it.

    Returns:
        The run with these cells only.
    """
    return ds.isel(cell=ds["kind"].values == kind)


def levels(ds: xr.Dataset, name: str) -> list[tuple[float, xr.Dataset]]:
    """The cells of a run by the level of a coordinate.

    Args:
        ds: a run.
        name: of the coordinate.

    Returns:
        Levels, rising, with their cells.
    """
    return [(float(level), ds.isel(cell=ds[name].values == level)) for level in np.unique(ds[name].values)]


def plane_of_logs(columns: list[np.ndarray], y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Several slopes at once.

    Args:
        columns: one array a variable.
        y: what depends on them.

    Returns:
        A slope a variable, and their standard errors.
    """
    matrix = np.stack([*columns, np.ones(len(y))], axis=1)
    found, *_ = np.linalg.lstsq(matrix, y, rcond=None)
    rest = y - matrix @ found
    spread = np.linalg.inv(matrix.T @ matrix) * (rest @ rest / max(len(y) - matrix.shape[1], 1))
    return found[:-1], np.sqrt(np.diag(spread))[:-1]


def late_slopes(ds: xr.Dataset, below: float = -30 * np.log(10)) -> tuple[np.ndarray, np.ndarray]:
    r"""The slope of the log loss against log t of each lane, once the loss is below a limit, and what it should be.

    With $|\theta|^2$ growing like $\log(1/\ell)$ the flow $\dot\ell = -|\nabla \ell|^2$ is $\dot\ell \sim -\ell^2 \log(1/\ell)$, so that
    $\ell \sim 1/(t \log t)$, and the slope is $-1 - 1/\log t$.

    Args:
        ds: a run over cell, seed and time.
        below: the limit of the log loss.

    Returns:
        Two arrays over cell and seed.
    """
    loss, logs = ds["loss"].values, ds["log_time"].values
    found, expected = np.full((2, *loss.shape[:2]), np.nan)
    for place in np.ndindex(*loss.shape[:2]):
        late = loss[place] < below
        if late.sum() > 2:
            x = logs[place][late]
            found[place], expected[place] = slope(x, loss[place][late])[0], slope(x, -x - np.log(x))[0]
    return found, expected


def early_errors(s: Settings, ds: xr.Dataset) -> dict[float, tuple[float, int]]:
    r"""How well $\frac{d}{dt} \frac{w}{|w|} = \mathrm{sign}(v) (I - \hat w \hat w^\top) \sum_{x_i \cdot w > 0} y_i x_i$ holds.

    The left side is a quotient of differences of the records of directions and of original times; stencils in which a neuron's
    activation pattern changes are left out.

    Args:
        s: the settings.
        ds: the run in the plane, with all neurons.

    Returns:
        By the start's norm the largest error over all neurons, times and lanes, relative to the sum; and how many of these there are.
    """
    number = int(EARLY_WINDOW / STEP) + 5
    found: dict[float, tuple[float, int]] = {}
    cells = cells_of(s, "plane")
    for k, cell in enumerate(cells):
        x, y = np.asarray(cell.samples.x), np.asarray(cell.samples.y)
        w = ds["inner"].values[k, :, :number]
        unit = w / np.linalg.norm(w, axis=-1, keepdims=True)
        times = np.exp(ds["log_time"].values[k, :, :number])
        shifts = [slice(j, number - 4 + j) for j in range(5)]
        turned, passed = (np.tensordot(STENCIL, np.stack([one[:, shift] for shift in shifts]), 1) for one in (unit, times))
        change = turned / passed[..., None, None]
        active = unit @ x.T > 0
        steady = np.all([active[:, shift] == active[:, shifts[2]] for shift in shifts], axis=0).all(-1)
        here, sums = unit[:, shifts[2]], (active[:, shifts[2]] * y) @ x
        across = sums - here * np.sum(here * sums, -1, keepdims=True)
        formula = np.sign(ds["outer"].values[k, :, shifts[2], :, None]) * across
        length = np.linalg.norm(sums, axis=-1)
        error = np.linalg.norm(change - formula, axis=-1)
        counted = steady & (length > 0)
        worst, count = found.get(cell.norm, (0.0, 0))
        found[cell.norm] = (max(worst, float(np.max(error[counted] / length[counted], initial=0.0))), count + int(counted.sum()))
    return found
