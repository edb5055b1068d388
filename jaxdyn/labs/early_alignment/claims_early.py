"""Claims about the early phase: neurons turn to their class by t_1, and stay."""

from functools import partial

import numpy as np
import xarray as xr

from .. import base
from ..base import Claim
from ..parts import tested
from .settings import Settings
from .times import early_errors, levels, of_kind, phases, plane_of_logs

LAB = "early-alignment"
make_claim = partial(base.make_claim, LAB)
MIN = "Min, Mallada & Vidal 2023, arXiv 2307.12851"
EXACT = 1e-3
"""Up to what part of the sum of samples the early equation counts as met."""
LARGE = 0.01
"""From this norm of the start on its error is above the solver's."""
CONSERVED = 1e-8
"""And up to what part of the squared norm balancedness as conserved."""


def grids(s: Settings, found: dict[str, xr.Dataset]) -> list[tuple[int, xr.Dataset]]:
    """The cones in which n and mu are varied.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        For each n the cells.
    """
    return [(n, of_kind(found[f"n={n}"], "grid")) for n in s.sizes]


def constants(s: Settings, found: dict[str, xr.Dataset]) -> dict[tuple[int, float], np.ndarray]:
    """The constants of the bound, t_1 sqrt(mu) / log n, of all lanes.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        By n and mu, one number a lane; NaN where a lane never aligns.
    """
    return {(n, mu): phases(cell).aligned.ravel() * np.sqrt(mu) / np.log(n) for n, ds in grids(s, found) for mu, cell in levels(ds, "mu")}


def claims_of_the_early_phase(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return tested(
        lambda: _alignment(s, found),
        lambda: _bound(s, found),
        lambda: _equation(s, found["plane"]),
        lambda: _conserved(s, found),
    )


def _alignment(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    all_phases = [phases(ds) for _, ds in grids(s, found)]
    parted = np.concatenate([one.parted.ravel() for one in all_phases])
    left = np.concatenate([(one.left | ~np.isfinite(one.aligned)).ravel() for one in all_phases])
    more = {"seeds": parted.size, "reason": "no run may differ"}
    return [
        make_claim(
            "aligned",
            f"{MIN}, theorem 1 (i)",
            "every neuron with v > 0 is in S_+ or dead, every one with v < 0 in S_- or dead, before the loss falls, t_1 < t_2",
            parted.mean(),
            "1",
            parted.all(),
            unit="share of runs over n, mu, data and starts",
            **more,
        ),
        make_claim(
            "no-exit",
            f"{MIN}, theorem 1 (i)",
            "after t_1 no neuron leaves its set again",
            left.mean(),
            "0",
            not left.any(),
            unit="share of runs in which one does, at any record until the end",
            **more,
        ),
    ]


def _bound(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    cells = constants(s, found)
    largest = {key: float(np.max(values)) for key, values in cells.items()}  # NaN where one never aligns
    n, mu = (np.log([key[k] for key in cells]) for k in (0, 1))
    typical = np.log([np.median(values) * np.log(key[0]) / np.sqrt(key[1]) for key, values in cells.items()])
    worst = np.log(list(largest.values()))
    enough = len(s.sizes) > 1 and len(s.separations) > 1 and np.isfinite(typical).all() and np.isfinite(worst).all()
    slopes, errors = plane_of_logs([n, mu], typical) if enough else (np.full(2, np.nan), np.full(2, np.nan))
    drift, drift_error = plane_of_logs([n, -mu], worst) if enough else (np.full(2, np.nan), np.full(2, np.nan))
    rises = bool((drift > 3 * drift_error).any())
    top, bottom = max(largest.values()), min(largest.values())
    more = {"seeds": sum(values.size for values in cells.values())}
    return [
        make_claim(
            "t1-bound",
            f"{MIN}, theorem 1 (i)",
            "t_1 = O(log n / sqrt mu): the largest t_1 sqrt(mu) / log n of a cell does not rise with n nor with 1/mu",
            top,
            "bounded",
            "does not hold" if rises else "loose" if top > 3 * bottom else "holds",
            reason="three standard errors of the exponents; loose where the largest of a cell is a third of the largest of all",
            unit=f"largest constant; it is {bottom:.2g} in another cell, with the exponents {drift[0]:.2f} in n and {drift[1]:.2f} in 1/mu",
            **more,
        ),
        make_claim(
            "t1-samples",
            "derived: directions turn at the speed of a sum over samples",
            "the median t_1 falls with n like 1/n, where the bound grows like log n",
            slopes[0],
            "-1",
            abs(slopes[0] + 1) <= 0.2,
            uncertainty=errors[0],
            tolerance=0.2,
            reason="cones of random samples are alike only for large n",
            unit="slope of log t_1 against log n",
            **more,
        ),
        make_claim(
            "t1-separation",
            f"{MIN}, theorem 1 (i)",
            "t_1 does not grow faster than mu^(-1/2) as mu falls",
            slopes[1],
            ">= -0.5",
            "does not hold" if slopes[1] < -0.5 - 3 * errors[1] else "loose" if slopes[1] > -0.25 else "holds",
            uncertainty=errors[1],
            tolerance=3 * errors[1],
            reason="three standard errors of the fit; loose above half of the exponent",
            unit="slope of log t_1 against log mu, medians of cells",
            **more,
        ),
    ]


def _equation(s: Settings, ds: xr.Dataset) -> list[Claim]:
    errors = early_errors(s, ds)
    worst, count = errors[s.small]
    large = sorted(norm for norm in errors if norm >= LARGE)
    logs = np.log([[norm, max(errors[norm][0], 1e-300)] for norm in large])
    power = float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])
    lanes = ds.sizes["seed"] * s.draws
    return [
        make_claim(
            "direction-equation",
            f"{MIN}, section 3",
            "while weights are small d/dt w/|w| = sign(v) (I - ww^T/|w|^2) sum over active samples of y x",
            worst,
            "0",
            worst <= EXACT,
            tolerance=EXACT,
            reason="the solver's tolerance over the records' spacing",
            seeds=lanes,
            unit=f"largest error over the sum, of {count} differences of records in the plane at norm {s.small:g}",
        ),
        make_claim(
            "direction-error",
            f"{MIN}, section 3",
            "its error is O(eps)",
            power,
            ">= 1",
            "does not hold" if power < 1 else "loose" if power > 1.5 else "holds",
            reason="outputs are of the second order in the weights, so 2 is expected",
            seeds=lanes * len(large),
            unit=f"exponent of the largest error in the start's norm, {large[0]:g} to {large[-1]:g}",
        ),
    ]


def _conserved(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    balanced = [ds.isel(cell=ds["kind"].values != "delta") for ds in found.values()]
    turned = np.concatenate([np.nanmax(ds["turned_over"].values, -1).ravel() for ds in balanced])
    plane = float(np.nanmax(found["plane"]["unbalanced"].values))
    others = max(float(np.nanmax(ds["unbalanced"].values)) for ds in balanced)
    tolerance = max(CONSERVED, s.rtol / 100)
    return [
        make_claim(
            "signs",
            f"{MIN}, section 2",
            "from balanced starts no output weight changes its sign",
            (turned > 0).mean(),
            "0",
            not (turned > 0).any(),
            reason="no run may differ",
            seeds=turned.size,
            unit="share of runs, all data included",
        ),
        make_claim(
            "balanced",
            f"{MIN}, section 2",
            "|v| = |w| stays",
            plane,
            "0",
            plane <= tolerance,
            tolerance=tolerance,
            reason=f"the solver's relative tolerance, {s.rtol / 1000:g} in the plane; with {s.rtol:g} elsewhere it is {others:.0e}",
            seeds=found["plane"]["outcome"].size,
            unit="largest |v^2 - |w|^2| over the squared norm of all weights, in the plane",
        ),
    ]
