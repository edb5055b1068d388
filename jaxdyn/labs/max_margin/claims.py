"""The claims of the lab: limits of the margin, how it gets there, and KKT points."""

from typing import Any

import numpy as np
import xarray as xr

from ..base import Claim, make_claim
from ..parts import tested
from .settings import Settings

LAB = "max-margin"
LYU = "Lyu & Li 2020, arXiv 1906.05890"
MIN = "Min, Mallada & Vidal 2023, arXiv 2307.12851; the limit is derived"
LATE = 10.0
"""Decades of time from which on slopes are fitted."""
FEWEST = 5
"""Late records without which a seed has no slope."""
POINTS = 50
"""Through so many, evenly spaced, a slope is fitted."""
ORDERS = {"squared": 3}
"""Of the networks' homogeneity where it is not 2; the deep one's is its depth."""


def order(s: Settings, name: str) -> int:
    """The order of homogeneity of a run's network."""
    return len(s.deep) + 1 if name == "deep" else ORDERS.get(name, 2)


def separated(ds: xr.Dataset) -> np.ndarray:
    """The seeds that classify all samples and have come to the end time."""
    return (ds["end_margin"].values > 0) & ds["reached"].values


def late_slopes(ds: xr.Dataset, values: np.ndarray, against: np.ndarray) -> np.ndarray:
    """The slope of recorded values at late times, a seed each, of those that separate the samples and have records there.

    Args:
        ds: a run.
        values: shape (seed, record).
        against: likewise, not decreasing.

    Returns:
        The slopes.
    """
    decades = ds["log_time"].values / np.log(10)
    slopes = []
    for seed in np.flatnonzero(separated(ds)):
        use = (decades[seed] >= LATE) & np.isfinite(values[seed]) & np.isfinite(against[seed])
        if use.sum() >= FEWEST:
            x, y = against[seed][use], values[seed][use]
            even = np.linspace(x[0], x[-1], POINTS)  # records are dense where a stage begins
            slopes.append(np.polyfit(even, np.interp(even, x, y), 1)[0])
    return np.asarray(slopes)


def smoothed(s: Settings, name: str, ds: xr.Dataset) -> np.ndarray:
    """The smoothed margin log(1 / loss) / |w|^L along the way, NaN while the loss is not below 1."""
    logs = -ds["log_loss"].values
    with np.errstate(invalid="ignore"):
        return np.where(logs > 0, logs, np.nan) * np.exp(-order(s, name) * ds["log_norm"].values)


def _claim(name: str, paper: str, statement: str, values: np.ndarray, expected: str, holds: bool, **rest: Any) -> Claim:
    """A claim whose measured value is the median of a value a seed, with the spread of nine tenths; judged on all of them."""
    finite = values[np.isfinite(values)]
    measured = float(np.median(finite)) if finite.size else np.nan
    spread = float(np.ptp(np.quantile(finite, [0.05, 0.95]))) if finite.size else np.nan
    return make_claim(LAB, name, paper, statement, measured, expected, holds, uncertainty=spread, seeds=int(values.size), **rest)


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """All claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    claims = []
    for name, ds in found.items():
        claims += _limit(s, name, ds) if name.startswith("cone") else []
        claims += _ways(s, name, ds)
        claims += _kkt(s, name, ds)
    return [*claims, *tested(lambda: _not_global(found["any"]))]


def _limit(s: Settings, name: str, ds: xr.Dataset) -> list[Claim]:
    """The limits that are known."""
    limit, good = ds.attrs["limit"], separated(ds)
    gap = 1 - ds["end_margin"].values[good] / limit
    early = 1 - ds["end_margin_early"].values[good] / limit
    times = ds["end_time"].values[good] / ds["end_time_early"].values[good]
    power = np.log(early / gap) / np.log(times) if gap.size and gap.min() > 0 else np.full(gap.shape, np.nan)
    where = f"cosines of {ds.attrs['cosine']:.3g} or more"
    return [
        _claim(
            f"limit-{name}",
            MIN,
            f"the normalised margin tends to 1 / (2 (1/gamma_+ + 1/gamma_-)), {where}",
            gap,
            "0",
            bool(gap.size == s.seeds and np.max(np.abs(gap)) <= 3 / (s.decades * np.log(10) / 10)),
            tolerance=3 / (s.decades * np.log(10) / 10),
            reason="30 / log t: the gap closes like 1 / log t, with a factor of a few logarithms of the samples",
            unit=f"relative gap at t = 1e{s.decades:g}; spread of nine tenths of the seeds",
        ),
        _claim(
            f"gap-{name}",
            f"{LYU}, theorem 4.4 and its rates; the power is derived",
            f"the gap to the limit closes like 1 / log t, {where}",
            power,
            "1",
            bool(np.all(np.abs(power - 1) <= 0.1)),
            tolerance=0.1,
            reason=f"logarithms of log t between 1e{s.early:g} and 1e{s.decades:g} would change a power by less",
            unit="power of 1 / log t",
        ),
    ]


def _ways(s: Settings, name: str, ds: xr.Dataset) -> list[Claim]:
    """How the margin, the loss and the norm go on."""
    margin = smoothed(s, name, ds)[separated(ds)]
    seen = [row[np.isfinite(row)] for row in margin]
    falls = np.asarray([np.max(-np.diff(row) / row[1:], initial=0.0) for row in seen if row.size >= FEWEST])
    L = order(s, name)
    log_t = ds["log_time"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = late_slopes(ds, ds["log_loss"].values + log_t, np.log(log_t))
        norm = late_slopes(ds, ds["log_norm"].values, np.log(log_t))
    return [
        _claim(
            f"rises-{name}",
            f"{LYU}, theorem 4.1",
            f"once the loss is below 1 the smoothed margin log(1/loss)/|w|^L never falls, {name}",
            falls,
            f"<= {100 * s.rtol:g}",
            bool(falls.size and falls.max() <= 100 * s.rtol),
            tolerance=100 * s.rtol,
            reason="a hundred times the flow's relative tolerance",
            unit="largest relative fall between records",
        ),
        _claim(
            f"loss-{name}",
            f"{LYU}, theorem 4.3 and its corollary",
            f"loss = Theta(1 / (t (log t)^(2 - 2/L))), {name}, L = {L}",
            loss,
            f"{-(2 - 2 / L):.4g}",
            bool(np.all(np.abs(loss + 2 - 2 / L) <= 0.15)),
            tolerance=0.15,
            reason="the margin still rises by a part of 1 / log t, which bends the line",
            unit="slope of log(t loss) against log log t",
        ),
        _claim(
            f"norm-{name}",
            f"{LYU}, theorem 4.3 and its corollary",
            f"|w| = Theta((log t)^(1/L)), {name}, L = {L}",
            norm,
            f"{1 / L:.4g}",
            bool(np.all(np.abs(norm - 1 / L) <= 0.05)),
            tolerance=0.05,
            reason="as above",
            unit="slope of log |w| against log log t",
        ),
    ]


def _kkt(s: Settings, name: str, ds: xr.Dataset) -> list[Claim]:
    """Whether the direction becomes a KKT point."""
    good = separated(ds)
    residual, early = ds["residual"].values[good], ds["residual_early"].values[good]
    shrinks = residual / early
    factor = s.early / s.decades
    return [
        _claim(
            f"kkt-{name}",
            f"{LYU}, theorem 4.4",
            f"the direction tends to a KKT point of the max-margin problem, {name}",
            residual,
            f"<= {3 * np.sqrt(factor):.2g} of that at t = 1e{s.early:g}",
            bool(np.median(shrinks) <= 3 * np.sqrt(factor)) if shrinks.size else False,
            tolerance=3 * np.sqrt(factor),
            reason="three times the theorem's rate, (log t)^(-1/2) for the residual",
            unit=f"KKT residual at t = 1e{s.decades:g}",
        )
    ]


def _not_global(ds: xr.Dataset) -> Claim:
    margins = ds["end_margin"].values[separated(ds)]
    lower = 1 - margins / margins.max() if margins.size else margins
    return _claim(
        "not-global",
        f"{LYU}, theorem 4.4: a KKT point and no more",
        "for general data seeds end at KKT points of different margins",
        lower,
        "> 0.01",
        bool(lower.size and np.median(lower) > 0.01),
        tolerance=0.01,
        reason="more than what a margin still moves",
        unit="relative distance of a margin to the best of all seeds",
    )


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: one a run.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        The rows.
    """
    return [
        {
            "run": name,
            "L": order(s, name),
            "cosine": ds.attrs["cosine"],
            "separate": int(separated(ds).sum()),
            "margin": float(np.median(ds["end_margin"].values[separated(ds)])) if separated(ds).any() else np.nan,
            "limit": ds.attrs["limit"],
            "residual": float(np.median(ds["residual"].values[separated(ds)])) if separated(ds).any() else np.nan,
            "log10 t": float(np.median(ds["end_time"].values)),
            "steps": float(ds["num_accepted_steps"].mean()),
        }
        for name, ds in found.items()
    ]
