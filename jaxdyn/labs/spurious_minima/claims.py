"""The claims of the lab: published shares and levels, symmetry, curvature."""

from typing import Any

import numpy as np
import xarray as xr

from ...measure import isotropy
from ..base import Claim, verdict
from ..fits import slope
from .settings import Settings
from .sweeps import lowest, spurious

LAB = "spurious-minima"
SAFRAN = "Safran & Shamir 2018, arXiv 1712.08968, table of 1000 runs a size"
MINIMUM = "Safran, Yehudai & Shamir 2020, arXiv 2006.01005, the authors' data"
ARJEVANI = "Arjevani & Field 2019, arXiv 1912.11939"
SHARES = {6: 0.003, 7: 0.055, 8: 0.126}
"""Published shares of 1000 runs that end in a spurious minimum."""
REMEMBERED = {9: 0.218, 10: 0.346, 11: 0.455, 12: 0.585, 13: 0.73, 14: 0.736, 15: 0.803, 16: 0.851, 17: 0.897, 18: 0.9, 19: 0.934, 20: 0.94}
"""The same table's later rows, from memory: not to be trusted beyond what our runs confirm."""
REMEMBERED_EXTRA = {8: 0.001, 10: 0.001, 11: 0.001, 12: 0.003, 13: 0.015, 14: 0.055, 15: 0.102, 16: 0.18, 17: 0.209, 18: 0.369, 19: 0.491}
"""Shares with k + 1 students, from memory too."""
UNCONFIRMED = f"{SAFRAN}; remembered, unconfirmed"
PUBLISHED_SEEDS = 1000
LEVELS = {6: 0.02508, 7: 0.02320, 8: 0.02151}
"""Published losses of the lowest spurious minimum."""
LEVEL = 0.5e-5 + 1e-9
"""Half a unit of their last digit."""
ENTRIES = {7: (-0.6327039049, -0.0350801559, 0.1859910463, 0.2616910758, 0.9969227988)}
"""Published distinct entries of the spurious minimum."""
ENTRY = 0.5e-10
"""Half a unit of their last digit."""
NEARLY_ALL, ALMOST_ALL = 0.9, 0.9
"""What "nearly all" and "almost all" are taken to mean: nine in ten."""
LARGE = 20
"""From which size on nearly all runs should be spurious."""
FLAT = 0.025
"""Slopes in k up to which a curvature counts as bounded, and within which of 1/4 as that: a tenth of it."""


def share(s: Settings, ds: xr.Dataset) -> tuple[float, float]:
    """The share of spurious runs among those with a loss, and its binomial error; NaN where no run has one.

    Args:
        s: the settings.
        ds: a run.

    Returns:
        Both.
    """
    hits = spurious(s, ds)[np.isfinite(ds["loss"].values)]
    p = float(hits.mean()) if hits.size else np.nan
    return p, float(np.sqrt(p * (1 - p) / hits.size)) if hits.size else np.nan


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return [_at_rest(s, found), *_shares(s, found), *_levels(s, found), *_entries(s, found), *_symmetry(s, found), *_curvature(s, found)]


def _claim(name: str, paper: str, statement: str, measured: tuple[float, float], expected: str, judged: Any, **more: Any) -> Claim:
    value, error = measured
    judged = "not tested" if np.isnan(value) else verdict(judged)
    words = {"id": f"{LAB}.{name}", "paper": paper, "statement": statement, "expected": expected, "verdict": judged}
    return Claim(measured=value, uncertainty=error, **words, **more)


def _at_rest(s: Settings, found: dict[str, xr.Dataset]) -> Claim:
    norms = np.concatenate([found[name]["gradient_norm"].values for name in s.runs])
    rests = float(np.mean(norms <= s.rest))
    return _claim(
        "at-rest",
        "ours",
        f"every run comes to rest: the gradient's norm is at most {s.rest:g}",
        (rests, 0.0),
        "1",
        rests == 1,
        tolerance=0.0,
        reason="a level is one only at rest",
        seeds=norms.size,
        unit="share of the runs",
    )


def _share(name: str, source: str, what: str, expected: float, measured: tuple[float, float], seeds: int) -> Claim:
    pooled = (measured[0] * seeds + expected * PUBLISHED_SEEDS) / (seeds + PUBLISHED_SEEDS)
    tolerance = 3 * float(np.sqrt(pooled * (1 - pooled) * (1 / seeds + 1 / PUBLISHED_SEEDS)))
    return _claim(
        name,
        source,
        f"the share of runs that end in a spurious minimum, {what}",
        measured,
        f"{expected:g}",
        abs(measured[0] - expected) <= tolerance,
        tolerance=tolerance,
        reason=f"three standard errors of the difference of samples of {seeds} and {PUBLISHED_SEEDS}",
        seeds=seeds,
        unit="share",
    )


def _shares(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    claims = []
    for table, source in ((SHARES, SAFRAN), (REMEMBERED, UNCONFIRMED)):
        for k in (k for k in s.sizes if k in table):
            claims.append(_share(f"share-{k}", source, f"k = {k}", table[k], share(s, found[f"k={k}"]), s.seeds))
    for k in (k for k in s.extra if k in REMEMBERED_EXTRA):
        measured = share(s, found[f"k={k}+1"])
        claims.append(_share(f"share-{k}+1", UNCONFIRMED, f"k = {k} and {k + 1} students", REMEMBERED_EXTRA[k], measured, s.seeds))
    shares = [share(s, found[f"k={k}"]) for k in s.sizes]
    more, last = {"seeds": s.seeds}, shares[-1]
    if len(shares) > 1:
        steps = np.diff([one for one, _ in shares])
        errors = np.hypot([error for _, error in shares[1:]], [error for _, error in shares[:-1]])
        least = int(np.argmin(steps))
        claims.append(
            _claim(
                "share-grows",
                SAFRAN,
                "the share grows with k",
                (float(steps[least]), float(errors[least])),
                "> 0",
                steps[least] > -3 * errors[least],
                tolerance=3 * float(errors[least]),
                reason="three standard errors of the difference",
                unit="smallest difference of the shares of neighbouring sizes",
                **more,
            )
        )
    if s.sizes[-1] >= LARGE:
        claims.append(
            _claim(
                "share-large",
                SAFRAN,
                f"nearly all runs are spurious at k = {s.sizes[-1]}",
                last,
                f"> {NEARLY_ALL:g}",
                last[0] > NEARLY_ALL,
                tolerance=0.0,
                reason="nearly all is taken as nine in ten",
                unit="share",
                **more,
            )
        )
    for k in s.extra:
        (surplus, error), (plain, _) = share(s, found[f"k={k}+1"]), share(s, found[f"k={k}"])
        ratio = surplus / plain if plain > 0 else np.nan
        claims.append(
            _claim(
                f"extra-neuron-{k}",
                SAFRAN,
                f"one student neuron too many removes almost all spurious minima, k = {k}",
                (ratio, error / plain if plain > 0 else np.nan),
                f"< {1 - ALMOST_ALL:.1g}",
                ratio < 1 - ALMOST_ALL,
                tolerance=0.0,
                reason="almost all is taken as nine in ten",
                unit="share of spurious runs over that with k students",
                **more,
            )
        )
    return claims


def _levels(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    claims = []
    for k in (k for k in s.sizes if k in LEVELS):
        ds = found[f"k={k}"]
        losses = ds["loss"].values[spurious(s, ds) & (ds["gradient_norm"].values <= s.rest)]
        level = float(losses.min()) if losses.size else np.nan
        claims.append(
            _claim(
                f"level-{k}",
                SAFRAN,
                f"the loss of the lowest spurious minimum, k = {k}",
                (level, 0.0),
                f"{LEVELS[k]:.5f}",
                abs(level - LEVELS[k]) <= LEVEL,
                tolerance=LEVEL,
                reason="half a unit of the last published digit",
                seeds=int(losses.size),
                unit="J = 1/2 E[(f - f*)^2]",
            )
        )
    return claims


def _entries(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    claims = []
    for k in (k for k in s.sizes if k in ENTRIES):
        student, error = lowest(s, found[f"k={k}"]), np.nan
        curvature = float(found["minima"]["eigenvalue"].sel(run=f"k={k}", level=1).min()) if student is not None else np.nan
        tolerance = ENTRY + s.rest / curvature if curvature > 0 else ENTRY
        if student is not None:
            entries = isotropy(student, np.eye(k)).distinct
            error = float(np.abs(entries - ENTRIES[k]).max()) if len(entries) == len(ENTRIES[k]) else np.inf
        claims.append(
            _claim(
                f"entries-{k}",
                MINIMUM,
                f"the entries of the lowest spurious minimum, k = {k}: {', '.join(f'{value:.10f}' for value in ENTRIES[k])}",
                (error, 0.0),
                "0",
                error <= tolerance,
                tolerance=tolerance,
                reason="half a unit of the last published digit, and the gradient's norm over the smallest eigenvalue of the Hessian",
                seeds=1,
                unit="largest difference of the five entries, sorted",
            )
        )
    return claims


def _symmetry(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    students = {k: lowest(s, found[f"k={k}"]) for k in s.sizes}
    known = {k: isotropy(student, np.eye(k)) for k, student in students.items() if student is not None}
    right = [k for k, one in known.items() if one.blocks == (k - 1, 1)]
    entries = max((len(one.distinct) for one in known.values()), default=0)
    more = {"tolerance": 0.0, "seeds": len(known)}
    return [
        _claim(
            "isotropy",
            ARJEVANI,
            "the lowest spurious minimum is fixed by the permutations of k - 1 teachers, S_(k-1)",
            (len(right) / len(known) if known else np.nan, 0.0),
            "1",
            known and len(right) == len(known),
            reason="a symmetry is there or not; entries are compared to 1e-6",
            unit="share of the sizes",
            **more,
        ),
        _claim(
            "five-entries",
            ARJEVANI,
            "its matrix has at most five distinct entries",
            (float(entries) if known else np.nan, 0.0),
            "<= 5",
            entries <= 5,
            reason="a count",
            unit="largest number over the sizes",
            **more,
        ),
    ]


def _curvature(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    minima = found["minima"]
    spectra = minima["eigenvalue"].sel(run=[f"k={k}" for k in s.sizes], level=1)
    ks = np.asarray(s.sizes, float)
    ascending = [row[np.isfinite(row)] for row in spectra.values]
    # all but 2 k of the k^2, and the middle one of the k largest
    bulk = np.asarray([row[len(row) - 2 * k - 1] if len(row) else np.nan for row, k in zip(ascending, map(int, ks), strict=True)])
    top = np.asarray([np.median(row[-k:]) if len(row) else np.nan for row, k in zip(ascending, map(int, ks), strict=True)])
    more = {"seeds": int(np.isfinite(top).sum())}
    grows, stays = slope(ks, top), slope(ks, bulk)
    smallest = minima["eigenvalue"].isel(mode=0).where((minima["level"] > 0) & (minima["runs"] > 0))
    return [
        _claim(
            "minima",
            f"{SAFRAN}, whose authors prove it for the points that they find",
            "the points at which spurious runs rest are minima: the Hessian is positive definite, with a student too many as well",
            (float(smallest.min()), 0.0),
            "> 0",
            float(smallest.min()) > 10 * s.rest,
            tolerance=10 * s.rest,
            reason="ten times the gradient's norm at rest",
            seeds=int(smallest.count()),
            unit="smallest eigenvalue at any level of any run",
        ),
        _claim(
            "curvature-bulk",
            ARJEVANI,
            "all but order k of the k^2 eigenvalues of the Hessian at the lowest spurious minimum stay bounded as k grows",
            stays,
            f"<= {FLAT:g}",
            stays[0] <= FLAT,
            tolerance=FLAT,
            reason="a tenth of the slope of those that grow",
            unit="slope in k of the eigenvalue below the 2 k largest",
            **more,
        ),
        _claim(
            "curvature-top",
            f"{ARJEVANI}; the slope is derived: neurons with perpendicular vectors are active together a quarter of the time",
            "about k eigenvalues grow like k / 4",
            grows,
            "0.25",
            abs(grows[0] - 0.25) <= max(FLAT, 3 * grows[1]),
            tolerance=max(FLAT, 3 * grows[1]),
            reason="a tenth of it, or three standard errors of the fit",
            unit="slope in k of the median of the k largest eigenvalues",
            **more,
        ),
    ]


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: one a run.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        The rows.
    """
    rows = []
    for name in s.runs:
        ds = found[name]
        losses = ds["loss"].values[spurious(s, ds)]
        rows.append({
            "run": name,
            "runs": ds.sizes["seed"],
            "spurious": share(s, ds)[0],
            "lowest": float(losses.min()) if losses.size else np.nan,
            "highest": float(losses.max()) if losses.size else np.nan,
            "levels": int((found["minima"]["runs"].sel(run=name)[1:] > 0).sum()),
            "gradient": float(ds["gradient_norm"].max()) if "gradient_norm" in ds else np.nan,
            "time": float(np.median(ds["t_end"].values)),
        })
    return rows
