"""Claims on the early phase: how long it takes, and where the direction goes."""

import numpy as np
import xarray as xr

from ..base import Claim
from ..parts import tested
from .fits import DERIVED, collapsed, grown, make_claim, paper_of, short, slopes, worst
from .settings import Settings

EXPONENT = 0.01
"""How far a slope may lie from the expected one, relative to it."""
STILL = 1e-3
"""A residual up to which a direction counts as a KKT point."""
ASIDE = " (outside the theorem: the gradient is not locally Lipschitz)"


def aside(s: Settings, cell: tuple[int, int]) -> str:
    """What is said of a network that the theorems leave out."""
    return "" if s.inside(*cell) else ASIDE


def claims_of_time(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """Times, alignment, limits, layers and what is conserved.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    claims = []
    for name, cell in s.cells.items():
        claims.append(_time(s, name, cell, found[name]))
    for name, cell in s.cells.items():
        claims.append(_alignment(s, name, cell, found[name]))
    for name, cell in s.cells.items():
        claims.append(_layers(s, name, cell, found[name]))
    return [*claims, *tested(lambda: _rays(s, found), lambda: _limits(s, found), lambda: _conserved(s, found))]


def _time(s: Settings, name: str, cell: tuple[int, int], ds: xr.Dataset) -> Claim:
    order, log_size = s.order(*cell), ds["log_norm"].values
    good = grown(ds) & (log_size <= np.log(1e-3))[:, None]
    if order == 2:
        late = good & (log_size <= np.log(1e-11))[:, None]
        growth = (ds["norm"].values - log_size[:, None]) / (2 * ds["N"].values[-1])
        same = np.abs(ds["N"].values / ds["N"].values[-1] - 1) < 1e-3
        ratios = slopes(growth, np.exp(ds["log_time"].values), late & same)
        middle = float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else np.nan
        return make_claim(
            f"time-{short(name)}",
            f"{paper_of(order)}; {DERIVED}",
            f"{name}: the time to grow from delta to a norm rho has the slope 1 against ln(rho/delta)/(2 N), N of the direction's limit, "
            f"seed by seed for delta < 1e-11; the seed that is farthest off; the median is {middle:.6f}",
            worst(ratios, 1.0),
            "1",
            abs(worst(ratios, 1.0) - 1) <= EXPONENT,
            tolerance=EXPONENT,
            reason="a hundredth",
            seeds=int(np.isfinite(ratios).sum()),
            unit="slope of time against ln(rho/delta)/(2 N), rho = sqrt(delta)",
        )
    expected = -(order - 2)
    found = slopes(log_size, ds["log_time"].values, good)
    return make_claim(
        f"time-{short(name)}",
        paper_of(order),
        f"{name}, L = {order}: the early phase lasts like delta^-(L-2){aside(s, cell)}; the seed that is farthest off",
        worst(found, expected),
        f"{expected}",
        abs(worst(found, expected) - expected) <= EXPONENT * abs(expected),
        tolerance=EXPONENT * abs(expected),
        reason="a hundredth",
        seeds=int(np.isfinite(found).sum()),
        unit="slope of ln T against ln delta for delta <= 1e-3, T the time from delta to sqrt(delta)",
    )


def _alignment(s: Settings, name: str, cell: tuple[int, int], ds: xr.Dataset) -> Claim:
    good, residual = grown(ds), ds["residual"].values
    medians = np.asarray([np.median(row[use]) if use.any() else np.nan for row, use in zip(residual, good, strict=True)])
    first, last = medians[0], medians[-1]
    end = residual[-1][good[-1]]
    share = float(np.mean(end <= STILL)) if end.size else np.nan
    return make_claim(
        f"kkt-{short(name)}",
        paper_of(s.order(*cell)),
        f"{name}: the direction at |w| = sqrt(delta) tends to a KKT point as delta falls{aside(s, cell)}; from "
        f"{np.exp(ds['log_norm'].values[0]):.0e} to "
        f"{np.exp(ds['log_norm'].values[-1]):.0e} the median residual falls from {first:.1e} to {last:.1e}; at the smallest delta it is "
        f"below {STILL:g}",
        share,
        "1",
        share == 1 and last < first,
        tolerance=0.0,
        reason="every start; and the median falls",
        seeds=int(end.size),
        unit="share of the starts that did not collapse",
    )


def _layers(s: Settings, name: str, cell: tuple[int, int], ds: xr.Dataset) -> Claim:
    degrees, good = s.degrees(*cell), grown(ds)[-1]
    shares = ds["shares"].values[-1][good]
    off = np.max(np.abs(shares - degrees / degrees.sum()), axis=1) if good.any() else np.full(1, np.nan)
    return make_claim(
        f"layers-{short(name)}",
        DERIVED,
        f"{name}: at the smallest delta the squared norms of the layers have the ratio {':'.join(map(str, degrees))}, their orders of "
        f"homogeneity",
        float(off.max()),
        "0",
        off.max() <= STILL,
        tolerance=STILL,
        reason="the solver's, and what the residual leaves",
        seeds=int(good.sum()),
        unit="largest deviation of a layer's share",
    )


def _rays(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    rays = found["newton"]
    off = np.abs(np.expm1(rays["log_time"].values - rays["exact_log_time"].values))
    claims = [
        make_claim(
            "blow-up",
            DERIVED,
            "on a ray through a KKT point of a relu^2 network the time from delta to rho is (1/delta - 1/rho)/(3 N): blow-up at "
            "1/((L-2) L N delta^(L-2)); "
            f"delta = {s.sizes[-1]:.0e}",
            float(off.max()),
            "0",
            off.max() <= 1e-6,
            tolerance=1e-6,
            reason="a thousand times the solver's tolerance",
            seeds=off.size,
            unit="largest relative deviation",
        )
    ]
    for name, (depth, power) in s.cells.items():
        order = s.order(depth, power)
        if depth != 2 or order == 2:
            continue
        ds = found[name]
        good = grown(ds)[-1]
        bound = -np.log((order - 2) * order * np.maximum(ds["N"].values[-1], 1e-300)) - (order - 2) * ds["log_norm"].values[-1]
        ratio = np.exp(ds["log_time"].values[-1] - bound)[good]
        least, middle = float(ratio.min()), float(np.median(ratio))
        claims.append(
            make_claim(
                f"bound-{short(name)}",
                DERIVED,
                f"{name}: N rises along the flow, so no start is faster than the ray it ends at; the median start takes {middle:.3g} "
                f"times as long",
                least,
                ">= 1",
                ("loose" if middle > 2 else "holds") if least >= 1 - 1e-3 else "does not hold",
                tolerance=1e-3,
                reason="the end's share of the time, and the solver's error",
                seeds=int(good.sum()),
                unit="smallest time over that of the ray, delta at its smallest",
            )
        )
    return claims


def _limits(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    runs = [found[name].isel(log_norm=-1) for name in s.cells]
    went = np.concatenate([grown(ds) for ds in runs])
    ended = went | np.concatenate([collapsed(ds) for ds in runs])
    points = np.concatenate([(ds["residual"].values <= STILL) & (ds["N"].values >= 0) for ds in runs])
    right, over = float(np.mean((points | ~went)[ended])), float(np.mean(ended))
    more = {"tolerance": 0.0, "reason": "every start"}
    return [
        make_claim(
            "limits",
            "Kumar & Haupt 2024, arXiv 2402.09226 and 2403.08121",
            "every direction goes to a non-negative KKT point of the neural correlation function, or the weights collapse relative to "
            "delta: "
            "all networks, the smallest delta",
            right,
            "1",
            right == 1,
            seeds=int(ended.sum()),
            unit="share of the runs that came to an end",
            **more,
        ),
        make_claim(
            "ended",
            "ours",
            "the solver brings every run to an end; the others are in no other claim",
            over,
            "1",
            over == 1,
            seeds=int(ended.size),
            unit="share of the runs, all networks, the smallest delta",
            **more,
        ),
    ]


def _conserved(s: Settings, found: dict[str, xr.Dataset]) -> Claim:
    drifts = np.concatenate([found[name]["drift"].values[grown(found[name])] for name in s.cells])
    bound = 100 * s.rtol
    return make_claim(
        "conserved",
        DERIVED,
        "p |out|^2 - |in|^2 of every hidden neuron is conserved: for two layers p c^2 - |w|^2, and in deeper networks between "
        "neighbouring layers",
        float(drifts.max()),
        "0",
        drifts.max() <= bound,
        tolerance=bound,
        reason="a hundred times the solver's tolerance",
        seeds=drifts.size,
        unit="largest change over |w|^2 at the end",
    )
