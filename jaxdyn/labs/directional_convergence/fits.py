"""What the claims have in common: their fixed words, slopes seed by seed, and which lanes count."""

from functools import partial

import numpy as np
import xarray as xr

from ...solve import Outcome
from .. import base

LAB = "directional-convergence"
make_claim = partial(base.make_claim, LAB)
TWO = "Kumar & Haupt 2024, arXiv 2402.09226"
MORE = "Kumar & Haupt 2024, arXiv 2403.08121"
DERIVED = "derived"


def short(name: str) -> str:
    """A cell's name in an id: `depth 2, p = 1` is `depth-2-p-1`."""
    return name.replace(", ", "-").replace(" = ", "-").replace(" ", "-")


def paper_of(order: int) -> str:
    """The one that speaks of networks of this order."""
    return TWO if order == 2 else MORE


def grown(ds: xr.Dataset) -> np.ndarray:
    """Lanes, over sizes and seeds, whose norm has grown from delta to its root."""
    return ds["outcome"].values == int(Outcome.stopped)


def collapsed(ds: xr.Dataset) -> np.ndarray:
    """Lanes whose norm never grew that far and will not, as N is not positive; those that failed are neither."""
    over = np.isin(ds["outcome"].values, [int(Outcome.t1_reached), int(Outcome.converged)])
    return over & (ds["N"].values <= 0) if "N" in ds else over


def slopes(x: np.ndarray, y: np.ndarray, good: np.ndarray) -> np.ndarray:
    """The slope of y against x of each seed.

    Args:
        x: shape (size,) or (size, seed).
        y: shape (size, seed).
        good: which values count, shaped like y.

    Returns:
        One slope a seed; NaN with fewer than two values.
    """
    x = np.broadcast_to(x[:, None] if x.ndim == 1 else x, y.shape)
    found = np.full(y.shape[1], np.nan)
    for seed in range(y.shape[1]):
        use = good[:, seed] & np.isfinite(y[:, seed])
        if use.sum() >= 2:
            found[seed] = np.polyfit(x[use, seed], y[use, seed], 1)[0]
    return found


def worst(values: np.ndarray, expected: float) -> float:
    """The finite value that is farthest from the expected one; NaN where there is none."""
    values = values[np.isfinite(values)]
    return float(values[np.argmax(np.abs(values - expected))]) if values.size else np.nan


def error_of_median(values: np.ndarray) -> float:
    """The standard error of a median, from the quartiles of the sample."""
    values = values[np.isfinite(values)]
    return float(1.2533 * np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.349 / np.sqrt(len(values))) if len(values) > 1 else 0.0
