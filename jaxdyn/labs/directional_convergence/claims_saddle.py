"""Claims on saddles of two-homogeneous networks."""

import numpy as np
import xarray as xr

from ..base import Claim
from ..parts import tested
from .fits import DERIVED, TWO, grown, make_claim, slopes, worst
from .settings import Settings

HALF = 0.5
"""Of a target: where a sample counts as learned."""


def claims_of_saddles(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The small block beside a saddle, and learning sample by sample.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return tested(lambda: _beside(found["saddle"]), lambda: _orthonormal(s, found["orthonormal"]))


def _beside(ds: xr.Dataset) -> list[Claim]:
    log_size, good = ds["log_size"].values, grown(ds)
    off = 1 - ds["cosine"].values
    medians = np.median(off, axis=1)
    falls = bool(np.all(np.diff(medians) <= 1e-9))
    ends = off[-1][good[-1]]
    growth = (ds["norm"].values - log_size[:, None]) / (2 * ds["N"].values[-1])
    same = np.abs(ds["N"].values / ds["N"].values[-1] - 1) < 1e-3
    ratios = slopes(growth, ds["t_end"].values, good & same & (log_size <= np.log(1e-7))[:, None])
    share = float(np.mean(ends <= 1e-3))
    moved = ds["moved"].values
    powers = slopes(log_size, np.log(np.maximum(moved, 1e-300)), good & (moved > 1e-13))
    return [
        make_claim(
            "saddle-aligned",
            TWO,
            f"beside a saddle the small block's direction tends to a KKT point of the correlation that the residual makes, the better "
            f"the smaller delta: "
            f"the median of 1 - cosine with its gradient falls from {medians[0]:.1e} at delta = {np.exp(log_size[0]):.0e} to "
            f"{max(medians[-1], 0.0):.1e} "
            f"at {np.exp(log_size[-1]):.0e}; at the smallest delta it is below 1e-3",
            share,
            "1",
            share == 1 and falls,
            tolerance=0.0,
            reason="every start; and the median falls from size to size",
            seeds=int(ends.size),
            unit="share of the starts",
        ),
        make_claim(
            "saddle-time",
            f"{TWO}; {DERIVED}",
            "the small block grows from delta to a norm rho in the time ln(rho/delta)/(2 N), N of its limit; the seed that is farthest off",
            worst(ratios, 1.0),
            "1",
            abs(worst(ratios, 1.0) - 1) <= 0.01,
            tolerance=0.01,
            reason="a hundredth",
            seeds=int(np.isfinite(ratios).sum()),
            unit="slope of time against ln(rho/delta)/(2 N) for delta < 1e-7, rho = sqrt(delta)",
        ),
        make_claim(
            "saddle-stays",
            f"{TWO}; {DERIVED}",
            "meanwhile the large neuron stays at the saddle, up to the order of the small block's square: at |w| = sqrt(delta) it has "
            "moved by O(delta)",
            float(np.median(powers[np.isfinite(powers)])),
            "1",
            abs(float(np.median(powers[np.isfinite(powers)])) - 1) <= 0.05,
            tolerance=0.05,
            reason="a twentieth",
            seeds=int(np.isfinite(powers).sum()),
            unit="median slope of ln(distance) against ln(delta), distances above 1e-13",
        ),
    ]


def half_times(s: Settings, ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    r"""When each sample's output passes half of its target, and when it should.

    On orthonormal inputs $\dot f_i = 4 (y_i - f_i) f_i$, so that the time is $\ln(y_i / f_i(0) - 1) / (4 y_i)$.

    Args:
        s: the settings.
        ds: the runs.

    Returns:
        Two arrays over sizes, seeds and samples.
    """
    f, t = ds["f"].values, ds["t"].values
    y = np.asarray(s.targets)
    with np.errstate(divide="ignore"):
        z = np.log(f / y) - np.log1p(-np.minimum(f / y, 1 - 1e-15))  # the logit, linear in time
    found = np.full((*f.shape[:2], len(y)), np.nan)
    times = np.broadcast_to(t, f.shape[:3])
    for place in np.ndindex(*found.shape):
        k, seed, i = place
        crossed = np.flatnonzero(f[k, seed, :, i] >= HALF * y[i])
        if crossed.size and crossed[0] > 0:
            n = crossed[0]
            low, high = z[k, seed, n - 1, i], z[k, seed, n, i]
            found[place] = times[k, seed, n - 1] + (times[k, seed, n] - times[k, seed, n - 1]) * low / (low - high)
    with np.errstate(divide="ignore"):  # a sample on which no neuron is active is never learned
        exact = np.log(y / f[:, :, 0] - 1) / (4 * y)
    return found, exact


def _orthonormal(s: Settings, ds: xr.Dataset) -> list[Claim]:
    found, exact = half_times(s, ds)
    off = np.nanmax(np.abs(found / exact - 1), axis=(0, 2))
    log_size = np.asarray([value[0] if isinstance(value, tuple) else value for value in ds["log_size"].values])
    steps = np.stack([slopes(-log_size, found[:, :, i], np.isfinite(found[:, :, i])) * 2 * y for i, y in enumerate(s.targets)])
    order = np.all(~(np.diff(found, axis=-1) <= 0), axis=-1)[-1]
    levels = np.asarray([0.5 * np.sum(np.square(s.targets[k:])) for k in range(len(s.targets))])
    loss = ds["loss"].values[-1]
    waits = np.abs(loss[:, :, None] / levels - 1) <= 0.01
    share = waits.mean(axis=1).sum(axis=-1)
    return [
        make_claim(
            "saddles-times",
            DERIVED,
            "on orthonormal inputs squared ReLU neurons learn one sample after the other, f_i' = 4 (y_i - f_i) f_i: each half time, of "
            "every seed and size",
            float(np.nanmax(off)),
            "0",
            np.nanmax(off) <= 1e-4,
            tolerance=1e-4,
            reason="the interpolation between records",
            seeds=int(np.isfinite(off).sum()),
            unit="largest relative deviation",
        ),
        make_claim(
            "saddles-slope",
            f"{TWO}; {DERIVED}",
            "the k-th saddle is left at the time ln(1/delta)/(2 y_k), up to a constant",
            worst(steps, 1.0),
            "1",
            abs(worst(steps, 1.0) - 1) <= 0.01,
            tolerance=0.01,
            reason="a hundredth",
            seeds=int(np.isfinite(steps).all(axis=0).sum()),
            unit="slope of the half time against ln(1/delta)/(2 y_k), the one farthest off",
        ),
        make_claim(
            "saddles-plateaus",
            TWO,
            "at the smallest delta the loss goes from one saddle's value to the next, sum of the squares of the targets not yet "
            "learned: it is on one of these levels most of the time, "
            "and the samples are learned in the order of their targets",
            float(share.min()),
            "> 0.5",
            share.min() > HALF and order.all(),
            tolerance=0.0,
            reason="most is taken as half; within a hundredth of a level",
            seeds=share.size,
            unit="share of the time until the last sample is learned and half as long again, of the slowest seed",
        ),
    ]
