"""Claims about recovery from noise, about critical points out of the teachers' plane, and about a student too many."""

import numpy as np
import xarray as xr

from ..base import Claim
from ..fits import slope
from ..parts import tested
from .fits import DERIVED, TIAN, binomial_error, make_claim
from .settings import Settings

OUT = 1e-3
"""A student is out of the teachers' plane by this at least."""
AT_REST = 1e-10
"""The gradient's norm at a critical point."""
LATE = 10.0
"""Slopes are fitted over the last times, up to this factor."""


def recovery(ds: xr.Dataset, s: Settings, equal: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the runs that end at a permutation of the teacher, and at the teacher in its own order.

    Args:
        ds: the runs of one K.
        s: the settings.
        equal: those whose output weights are all 1, one share a level of noise; otherwise those whose weights differ.

    Returns:
        Both shares.
    """
    cells = ds.isel(cell=np.arange(len(s.noises)) if equal else [len(s.noises)])
    return cells["recovered"].mean("seed").values, cells["identity"].mean("seed").values


def claims_of_many(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return tested(lambda: _recovery(s, found), lambda: _out_of_plane(s, found["out"]), lambda: _extra(s, found["extra"]))


def _recovery(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    claims = []
    for k in s.sizes:
        ds = found[f"noise-{k}"]
        every, same = recovery(ds, s)
        weighted = float(recovery(ds, s, equal=False)[1][0])
        fall, error = float(same[-1] - same[0]), float(np.hypot(binomial_error(same[0], s.seeds), binomial_error(same[-1], s.seeds)))
        claims += [
            make_claim(
                f"recovery-{k}",
                f"{TIAN}, experiments",
                f"from 1e-3 of the teacher and little noise the flow recovers the teacher in its order, K = {k}",
                same[0],
                "1",
                same[0] == 1,
                uncertainty=binomial_error(same[0], s.seeds),
                tolerance=0.0,
                reason="no run may fail",
                seeds=s.seeds,
                unit=f"share at noise {s.noises[0]:g}",
            ),
            make_claim(
                f"noise-{k}",
                f"{TIAN}, experiments",
                f"noise takes the order away, K = {k}",
                fall,
                "< 0",
                fall < -3 * error,
                uncertainty=error,
                tolerance=3 * error,
                reason="three binomial standard errors",
                seeds=2 * s.seeds,
                unit=f"share in order at noise {s.noises[-1]:g} minus that at {s.noises[0]:g}",
            ),
            make_claim(
                f"permutation-{k}",
                "ours",
                f"whatever the noise, some permutation of the teacher is recovered, K = {k}",
                every.min(),
                "1",
                (every == 1).all(),
                uncertainty=binomial_error(float(every.min()), s.seeds),
                tolerance=0.0,
                reason="no run may fail",
                seeds=s.seeds * len(s.noises),
                unit="smallest share over the levels of noise",
            ),
            make_claim(
                f"weights-{k}",
                f"{TIAN}, experiments",
                f"recovery works with output weights a_j > 0 that differ, K = {k}",
                weighted,
                "1",
                weighted == 1,
                uncertainty=binomial_error(weighted, s.seeds),
                tolerance=0.0,
                reason="no run may fail",
                seeds=s.seeds,
                unit=f"share in order at noise {s.noises[0]:g}, largest over smallest weight {s.weight_ratio:g}",
            ),
        ]
    return claims


def orbit_dimension(rank: np.ndarray, outside: int) -> np.ndarray:
    """The dimension of what rotations about the teachers' span make of students whose parts outside it have some rank.

    Args:
        rank: r, of the matrix of these parts.
        outside: n, the dimension of the span's complement.

    Returns:
        n (n-1)/2 - (n-r) (n-r-1)/2, which for r = 1 is n - 1, so d - K - 1.
    """
    left = outside - rank
    return (outside * (outside - 1) - left * (left - 1)) // 2


def out_of_plane(ds: xr.Dataset) -> xr.Dataset:
    """The points found that are critical, and out of the teachers' plane."""
    return ds.isel(start=np.flatnonzero((ds["gradient_norm"].values <= AT_REST) & (ds["outer"].isel(rank=0).values > OUT)))


def _out_of_plane(s: Settings, ds: xr.Dataset) -> list[Claim]:
    there = out_of_plane(ds)
    count = there.sizes["start"]
    ranks = (there["outer"].values > OUT).sum(1)
    spare = there["flat"].values - orbit_dimension(ranks, s.extra_dim)
    words = {"seeds": count}
    return [
        make_claim(
            "out-of-plane",
            f"{TIAN}, critical points",
            "out of the teachers' plane critical points are never isolated: rotations about it give the Hessian zero eigenvalues",
            float(spare.min()) if count else np.nan,
            ">= 0",
            count > 0 and spare.min() >= 0,
            tolerance=0.0,
            reason=f"a count; rotations of one direction in the {s.extra_dim} dimensions outside give d - K - 1 = {s.extra_dim - 1}",
            unit="smallest number of zero eigenvalues beyond those of rotations, over the points found with K = 2",
            **words,
        ),
        make_claim(
            "rotation",
            f"{TIAN}, critical points",
            "turned about the teachers' plane they are critical points elsewhere",
            float(there["turned"].max()) if count else np.nan,
            "0",
            count > 0 and bool((there["turned"] <= 10 * AT_REST).all() and (there["moved"] > OUT).all()),
            tolerance=10 * AT_REST,
            reason="ten times that of the points themselves",
            unit="largest norm of the gradient after the turn",
            **words,
        ),
    ]


def extra_slopes(ds: xr.Dataset, name: str) -> np.ndarray:
    """Each run's slope of the logarithm against that of time, over the last times.

    Args:
        ds: the runs with two students and one teacher.
        name: `loss` or `gradient_norm`.

    Returns:
        One number a run.
    """
    times = ds["time"].values
    late = times >= times[-1] / LATE
    return np.asarray([slope(np.log(times[late]), np.log(np.abs(row[late])))[0] for row in ds[name].values])


def _extra(s: Settings, ds: xr.Dataset) -> list[Claim]:
    claims = []
    # what is left is of the relative order 1/t, with t the first time of the fit, and of the rounding of J
    for name, key, power in (("loss", "extra-loss", -3), ("gradient_norm", "extra-gradient", -2)):
        slopes = extra_slopes(ds, name)
        middle = float(np.median(slopes))
        # of the median of normal numbers, their deviation from the median's: a run with a tiny student reaches the rounding of J early
        error = float(np.sqrt(np.pi / 2) * 1.4826 * np.median(np.abs(slopes - middle)) / np.sqrt(len(slopes)))
        allowed = max(3 * error, 10 * LATE / s.extra_time)
        claims.append(
            make_claim(
                key,
                DERIVED,
                f"with one student too many for one teacher {'J' if power == -3 else '|gradient|'} falls like t^{power}",
                middle,
                f"{power}",
                abs(middle - power) <= allowed,
                uncertainty=error,
                tolerance=allowed,
                reason="ten over the first time of the fit, or three standard errors of the median",
                seeds=len(slopes),
                unit="median over runs of the slope of the logarithm against log t",
            )
        )
    dim = 3
    flat = ds["flat"].values
    return [
        *claims,
        make_claim(
            "extra-hessian",
            DERIVED,
            "the Hessian is singular where it tends to: students along the teacher may move against each other at no cost",
            float(np.min(flat)),
            f"{dim}",
            bool((flat == dim).all() and (ds["index"] == 0).all()),
            tolerance=0.0,
            reason="a count, d",
            seeds=flat.size,
            unit="smallest number of zero eigenvalues, d = 3",
        ),
    ]
