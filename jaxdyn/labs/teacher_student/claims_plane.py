"""Claims about K neurons in the invariant plane: the reduction, the saddle, the detour, the delay; and about the sign of L_12."""

import functools

import numpy as np
import xarray as xr

from ..base import Claim
from ..fits import slope
from ..parts import tested
from .fits import DERIVED, TIAN, make_claim
from .settings import Settings
from .starts import saddle_of
from .sweeps import arrival, unstable_rate

ARRIVALS = {2: 8.83, 5: 4.245}
"""Known times from (1e-3, 0) to the neighbourhood of (1, 0)."""
LARGEST = {2: 0.39767, 5: 0.18914}
"""Known largest y on the way."""
DIGITS = {2: 0.5e-2, 5: 0.5e-3}
"""Half a unit of the last digit of the times; of the largest y it is 0.5e-5."""
SMALL = 1e-3
"""Distances from the diagonal up to which the delay is that of the linear flow at the saddle."""
CURVATURE = 1 / 4 - 1 / (2 * np.pi)
"""The smallest eigenvalue of the Hessian at the teacher."""
KNOWN_START = 1e-3
"""Where these runs begin."""


def runs_of(found: dict[str, xr.Dataset], kind: str, k: int) -> xr.Dataset:
    """The runs of one kind and one K in the plane.

    Args:
        found: the runs.
        kind: `path`, `diagonal` or `delay`.
        k: K.

    Returns:
        Those cells.
    """
    ds = found["plane"]
    return ds.isel(cell=np.flatnonzero((ds["kind"].values == kind) & (ds["K"].values == k)))


def arrivals(found: dict[str, xr.Dataset], kind: str, k: int) -> np.ndarray:
    """When the runs of one kind and one K arrive at (1, 0).

    Args:
        found: the runs.
        kind: as in `runs_of`.
        k: K.

    Returns:
        Times.
    """
    ds = runs_of(found, kind, k)
    return np.asarray([arrival(k, ds["time"].values, x, y) for x, y in zip(ds["abscissa"].values, ds["ordinate"].values, strict=True)])


def delay_slope(found: dict[str, xr.Dataset], k: int) -> tuple[float, float]:
    """The slope of the time of arrival against log(1/distance), and its standard error.

    Args:
        found: the runs.
        k: K.

    Returns:
        Both, from distances of at most `SMALL`.
    """
    distances = runs_of(found, "delay", k)["distance"].values
    small = distances <= SMALL
    return slope(-np.log(distances[small]), arrivals(found, "delay", k)[small])


def claims_of_the_plane(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    parts = (functools.partial(part, s, found) for part in (_reduction, _saddle, detours, delays))
    return tested(*parts, lambda: _signs(s, found["signs"]))


def _reduction(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    full = found["full"]
    allowed = 100 * s.rtol
    off, apart = float(full["off_plane"].max()), float(full["apart"].max())
    more = {"tolerance": allowed, "seeds": len(s.sizes), "unit": "largest difference of a weight over times and K"}
    return [
        make_claim(
            "plane-invariant",
            f"{TIAN}, K >= 2",
            "students w_j = x w_j* + y sum_(i != j) w_i* stay of this form in the population flow",
            off,
            "0",
            off <= allowed,
            reason="a hundred times the solver's relative tolerance",
            **more,
        ),
        make_claim(
            "plane-equations",
            f"{TIAN}, K >= 2",
            "there the population flow is that of x and y alone",
            apart,
            "0",
            apart <= allowed,
            reason="a hundred times the solver's relative tolerance, for two solves",
            **more,
        ),
    ]


def _saddle(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    full = found["full"]
    off = max(
        float(np.abs(runs_of(found, "diagonal", k)[name].isel(time=-1).values - saddle_of(k)).max())
        for k in s.sizes
        for name in ("abscissa", "ordinate")
    )
    ends = [runs_of(found, kind, k).isel(time=-1) for kind in ("path", "delay") for k in s.sizes]
    to_teacher = max(float(np.hypot(end["abscissa"] - 1, end["ordinate"]).max()) for end in ends)
    count = sum(end.sizes["cell"] for end in ends)
    kinds = full["index"].values
    expected = (full["K"].values - 1) ** 2
    # the last one where all are right
    worst = len(kinds) - 1 - int(np.argmax(np.abs(kinds - expected)[::-1]))
    zero = full["flat"].values
    curvatures = full["at_teacher"].values
    curved = int(np.argmax(np.abs(curvatures - CURVATURE)))
    return [
        make_claim(
            "saddle-reached",
            f"{TIAN}, K >= 2",
            "from x = y the flow ends at x = y = (sqrt(K-1) - arccos(1/sqrt K) + pi)/(pi K)",
            off,
            "0",
            off <= 100 * s.rtol,
            tolerance=100 * s.rtol,
            reason="a hundred times the solver's relative tolerance",
            seeds=2 * len(s.sizes),
            unit="largest distance of x or y over K and two starts",
        ),
        make_claim(
            "saddle-stationary",
            f"{TIAN}, K >= 2",
            "it is a critical point of the population loss",
            float(full["gradient_norm"].max()),
            "0",
            bool((full["gradient_norm"] <= 1e-13).all()),
            tolerance=1e-13,
            reason="rounding of a sum of K^2 terms",
            seeds=len(s.sizes),
            unit="norm of the gradient, largest over K",
        ),
        make_claim(
            "saddle-plane",
            f"{TIAN}, K >= 2",
            "it is a saddle of the plane: one eigenvalue of the linear flow is positive, one negative",
            float(full["unstable"].min()),
            "> 0, the other < 0",
            bool((full["unstable"] > 0).all() and (full["stable"] < 0).all()),
            tolerance=0.0,
            reason="signs, far above rounding",
            seeds=len(s.sizes),
            unit="smallest of the positive eigenvalues over K",
        ),
        make_claim(
            "saddle-index",
            "ours, found by the Hessian",
            "in the population flow of K inputs its Hessian has (K-1)^2 negative eigenvalues",
            float(kinds[worst]),
            f"{expected[worst]}",
            bool((kinds == expected).all()),
            tolerance=0.0,
            reason="a count",
            seeds=len(s.sizes),
            unit=f"number, K = {int(full['K'].values[worst])}",
        ),
        make_claim(
            "saddle-manifold",
            DERIVED,
            "and K - 1 that are zero: equal students may share their length otherwise",
            float(zero[-1]),
            f"{s.sizes[-1] - 1}",
            bool((zero == full["K"].values - 1).all()),
            tolerance=0.0,
            reason="a count, of all K",
            seeds=len(s.sizes),
            unit=f"number, K = {s.sizes[-1]}",
        ),
        make_claim(
            "teacher-curvature",
            DERIVED,
            "at the teacher the Hessian's smallest eigenvalue is 1/4 - 1/(2 pi) for every K",
            float(curvatures[curved]),
            f"{CURVATURE:.9f}",
            bool(abs(curvatures[curved] - CURVATURE) <= 1e-12),
            tolerance=1e-12,
            reason="rounding of a Hessian of order one",
            seeds=len(s.sizes),
            unit="eigenvalue, that of the K farthest off",
        ),
        make_claim(
            "teacher-reached",
            f"{TIAN}, K >= 2",
            "from x > y it ends at the teacher, (1, 0), however near the diagonal it begins",
            to_teacher,
            "0",
            to_teacher <= 1e-3,
            tolerance=1e-3,
            reason="what the slowest rate leaves of the way at the end time",
            seeds=count,
            unit="largest distance at the end",
        ),
    ]


def detours(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims about the detour from (1e-3, 0); none for other starts and other K than the known ones.

    Args:
        s: the settings.
        found: the runs; `plane` is looked at.

    Returns:
        The claims.
    """
    claims = []
    for k in (k for k in s.sizes if k in ARRIVALS and s.start == KNOWN_START):
        way = runs_of(found, "path", k)
        time, largest = float(arrivals(found, "path", k)[0]), float(way["ordinate"].max())
        claims += [
            make_claim(
                f"arrival-{k}",
                DERIVED,
                f"from (1e-3, 0), K = {k}, the time at which (x-1)^2 + (K-1) y^2 falls below 1e-2",
                time,
                f"{ARRIVALS[k]:g}",
                abs(time - ARRIVALS[k]) <= DIGITS[k],
                tolerance=DIGITS[k],
                reason="half a unit of the last digit",
                seeds=1,
                unit="time in units of J",
            ),
            make_claim(
                f"detour-{k}",
                DERIVED,
                f"from (1e-3, 0), K = {k}, the largest y on the way",
                largest,
                f"{LARGEST[k]:.5f}",
                abs(largest - LARGEST[k]) <= 0.5e-5 + 1e-6,
                tolerance=0.5e-5 + 1e-6,
                reason="half a unit of the last digit, and what lies between two records",
                seeds=1,
                unit="y",
            ),
        ]
    return claims


def delays(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims about the delay, one a K.

    Args:
        s: the settings.
        found: the runs; `plane` is looked at.

    Returns:
        The claims.
    """
    claims = []
    for k in s.sizes:
        (measured, error), expected = delay_slope(found, k), 1 / unstable_rate(k)
        # the linear flow at the saddle is off by a share of the distance, and so is what is left of the approach to the saddle
        allowed = max(SMALL * expected, 3 * error)
        claims.append(
            make_claim(
                f"delay-{k}",
                f"{TIAN}; the slope is derived",
                f"symmetry breaking is delayed by the logarithm of the distance to the diagonal over the saddle's rate, K = {k}",
                measured,
                f"{expected:.6g}",
                abs(measured - expected) <= allowed,
                uncertainty=error,
                tolerance=allowed,
                reason="the largest distance that is fitted, relative, or three standard errors of the fit",
                seeds=int((np.asarray(s.distances) <= SMALL).sum()),
                unit=f"slope of the time against log(1/distance), down to {s.distances[-1]:g}",
            )
        )
    return claims


def _signs(s: Settings, ds: xr.Dataset) -> Claim:
    wrong = float((ds["inside"] >= 0).mean() + (ds["outside"] <= 0).mean())
    return make_claim(
        "cross-term",
        f"{TIAN}, critical points in the plane; L_12 is our reconstruction",
        "two students with both teachers inside their cone, or both outside, are not critical: L_12 < 0 inside and > 0 outside",
        wrong,
        "0",
        wrong == 0,
        tolerance=0.0,
        reason=f"a sign, on a grid of {s.grid} by {s.grid} angles; next to the cone's edges it is 0 by construction",
        seeds=2 * s.grid**2,
        unit="share of the grid with another sign",
    )
