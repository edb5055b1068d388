"""The claims of the lab: theory against the sweeps."""

import functools

import numpy as np
import xarray as xr

from ... import measure
from ...ensemble import outcome_counts
from ..base import Claim, verdict
from ..parts import tested
from .settings import Settings
from .sweeps import GRID, LIMIT_POINTS, REDUCED_TOLERANCES, regimes, square, starts

PAPER = "Williams et al. 2019, arXiv 1906.07842"
LAB = "kernel-vs-adaptive"
FITTED = 1e-3
"""Of the loss at the start: below it the residuals that hold knots at samples fade away."""


def _median(values: np.ndarray) -> tuple[float, float]:
    """Median and its standard error over seeds, by 1000 bootstraps."""
    values = np.asarray(values, float).ravel()
    rng = np.random.default_rng(0)
    draws = np.median(values[rng.integers(0, values.size, (1000, values.size))], axis=1)
    return float(np.median(values)), float(draws.std())


def _slopes(ds: xr.Dataset, name: str, dim: str, scale: np.ndarray) -> np.ndarray:
    """For each seed the slope of log(name) against log(scale)."""
    values = np.log(ds[name].transpose("seed", dim).values)
    x = np.log(scale) - np.log(scale).mean()
    return (values * x).sum(1) / (x**2).sum()


def _claim(
    name: str,
    statement: str,
    measured: float,
    uncertainty: float,
    expected: str,
    tolerance: float,
    reason: str,
    holds: bool,
    seeds: int,
    unit: str,
) -> Claim:
    judged = verdict(holds) if np.isfinite(measured) else "not tested"
    numbers = {"measured": float(measured), "uncertainty": float(uncertainty), "tolerance": float(tolerance), "seeds": int(seeds)}
    words = {"id": f"{LAB}.{name}", "paper": PAPER, "statement": statement, "expected": expected, "reason": reason, "unit": unit}
    return Claim(verdict=judged, **words, **numbers)


def _conservation(s: Settings, found: dict[str, xr.Dataset]) -> Claim:
    ds = found["regimes"]
    drift = (ds["conserved_drift"] / ds["largest_norm"] ** 2).values
    return _claim(
        "delta-conserved",
        "delta_i = c_i^2 - a_i^2 - b_i^2 is conserved along every lane",
        drift.max(),
        float(drift.std()),
        "0",
        10 * s.rtol,
        f"ten times rtol = {s.rtol:g}, the relative error that the solver allows in each parameter at each step",
        drift.max() <= 10 * s.rtol,
        drift.size,
        "largest change of any neuron's delta in any lane, relative to the squared norm of the parameters",
    )


def _drift(found: dict[str, xr.Dataset]) -> Claim:
    full = found["full"]
    slopes = _slopes(full, "conserved_drift", "rtol", full["rtol"].values)
    slope, error = float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(slopes.size))
    return _claim(
        "delta-drift-is-error",
        "what drift there is, is the solver's error: it falls in proportion to the tolerance",
        slope,
        error,
        "1",
        max(0.1, 3 * error),
        "0.1, or three standard errors over seeds: kinks passed in one step make single lanes uneven",
        abs(slope - 1) <= max(0.1, 3 * error),
        slopes.size,
        f"mean slope of log drift against log rtol, from {REDUCED_TOLERANCES[0]:g} to {REDUCED_TOLERANCES[1]:g}",
    )


def _reduction(found: dict[str, xr.Dataset]) -> Claim:
    full, reduced = found["full"]["f"], found["reduced"]["f"]
    loose, fine = (full.sel(rtol=rtol) for rtol in REDUCED_TOLERANCES)
    own = float(np.abs(loose - fine).max())
    gaps = np.abs((fine - reduced).transpose("seed", ...).values).reshape(reduced.sizes["seed"], -1).max(1)
    return _claim(
        "reduced-is-full",
        "the flow in (r, theta) and the flow of a, b, c give the same function at every recorded time",
        gaps.max(),
        float(gaps.std()),
        "0",
        own,
        f"the full flow's own change when rtol goes from {REDUCED_TOLERANCES[0]:g} to {REDUCED_TOLERANCES[1]:g}",
        gaps.max() <= own,
        gaps.size,
        "largest difference of the functions on [-1, 1], over times and lanes",
    )


def _limit(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    ds = found["limit"]
    spline = measure.clamped_cubic_spline(*LIMIT_POINTS, -1.0)(GRID)
    errors = np.sqrt(((ds["f_end"].transpose("width", "seed", ...).values - spline) ** 2).mean(-1))
    widths = np.asarray(s.limit_widths, float)
    x = np.log(widths) - np.log(widths).mean()
    slopes = (np.log(errors) * x[:, None]).sum(0) / (x**2).sum()
    slope, spread = float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(slopes.size))
    widest, widest_error = _median(errors[int(np.argmax(widths))])
    allowed = 3 * 1.5 / float(np.sqrt(widths.max()))
    return [
        _claim(
            "clamped-spline",
            "kernel limit, one orientation, uniform knots: the cubic spline with f(A) = f'(A) = 0 and f'' = 0 at the last sample",
            widest,
            widest_error,
            "0 as the width grows",
            allowed,
            f"three times 1.5/sqrt(m) at m = {int(widths.max())}: random knots sample the kernel (labels of size 1)",
            widest <= allowed,
            errors.shape[1],
            "median root mean square distance to the spline at the largest width",
        ),
        _claim(
            "clamped-spline-rate",
            "the distance to that spline falls with the width like 1/sqrt(m)",
            slope,
            spread,
            "-0.5",
            max(3 * spread, 0.1),
            "three standard errors over seeds, or 0.1 for the next order at small width, whichever is larger",
            abs(slope + 0.5) <= max(3 * spread, 0.1),
            slopes.size,
            "mean slope of log distance against log width",
        ),
    ]


def _curvature(s: Settings, found: dict[str, xr.Dataset]) -> Claim:
    """The curvature at a knot is proportional to the change of c / |a| there; each orientation by itself."""
    ds = found["regimes"].isel(delta=0)
    seeds = ds["seed"].values
    start, m = starts(s, s.kernel_delta, seeds), s.neurons
    x = np.asarray(square(s).x[:, 0])
    at_samples, at_middle = [], []
    for k in range(len(seeds)):
        c_end = ds["params"].values[k][2 * m : 3 * m]
        a, b, c = start["a"][k, :, 0], start["b"][k], start["c"][k]
        for sign in (1, -1):
            mine = np.sign(a) == sign
            if mine.sum() <= len(x) + 2:  # too few for a fit; with none at all the claim is not tested
                continue
            left = measure.second_derivative_residual((b / a)[mine], ((c_end - c) / np.abs(a))[mine], x)
            at_samples.append(left.at_samples)
            at_middle.append(left.at_midpoints)
    if not at_samples:
        at_samples = at_middle = [np.nan]
    value, error = _median(np.asarray(at_samples))
    other = float(np.median(at_middle))
    return _claim(
        "second-derivative",
        "kernel regime: f'' is piecewise linear with breaks at the samples only",
        value,
        error,
        "0",
        other / 10,
        f"a tenth of what is left with the breaks midway between the samples ({other:.2g}), where they should not be",
        value <= other / 10,
        len(seeds),
        "median share of the variance of f'' that a piecewise linear function leaves (1 - R^2)",
    )


def _adaptive(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    ds = found["regimes"]
    kernel, adaptive = ds.isel(delta=0), ds.isel(delta=-1)
    linear, linear_error = _median(adaptive["linear_distance_end"].values)
    near, near_error = _median(adaptive["weight_near_samples_end"].values)
    adaptive = adaptive.transpose("seed", "time", ...)
    last = (adaptive["loss"] > FITTED * adaptive["loss"].isel(time=0)).values.cumsum(-1).argmax(-1)
    shares = (adaptive["sliding_weight"] / adaptive["weight_near_samples"]).values
    held, held_error = _median(shares[np.arange(last.size), last])
    chance = s.samples * 0.04 / (2 * s.reach)
    to_cubic = kernel["cubic_distance_end"] < kernel["linear_distance_end"]
    to_linear = adaptive["linear_distance_end"] < adaptive["cubic_distance_end"]
    swaps = to_cubic & to_linear
    share = float(swaps.mean())
    share_error = float(np.sqrt(max(share * (1 - share), 1e-12) / swaps.size))
    return [
        _claim(
            "linear-spline",
            "adaptive regime: the function is close to the linear spline of the data",
            linear,
            linear_error,
            "0 as r0 falls and T grows",
            0.05,
            "5 % of the labels' size; the cubic spline lies twice as far",
            linear <= 0.05,
            adaptive["seed"].size,
            "median root mean square distance to the linear spline",
        ),
        _claim(
            "knots-at-samples",
            "adaptive regime: the knots gather at the samples",
            near,
            near_error,
            "most of the weight",
            0.5,
            f"more than half within 0.02 of a sample; uniform knots would have {chance:.2f}",
            near >= 0.5,
            adaptive["seed"].size,
            "median share of |c||w| with its knot within 0.02 of a sample",
        ),
        _claim(
            "knots-slide",
            "adaptive regime: knots stick to samples by sliding, held at pre-activation 0 by a gate between 0 and 1, and not by accident",
            held,
            held_error,
            "most of the weight at samples",
            0.5,
            f"more than half, at the last record with a loss above {FITTED:g} of the start's: fitted data hold nothing",
            held >= 0.5,
            adaptive["seed"].size,
            "median over seeds of the weight that slides, over that within 0.02 of a sample, before the data are fitted",
        ),
        _claim(
            "order-swaps",
            "the kernel regime is closer to the cubic spline, the adaptive one to the linear spline",
            share,
            share_error,
            "every seed",
            0.1,
            "finite width: nine seeds in ten",
            share >= 0.9,
            swaps.size,
            "share of seeds where the order of the two distances swaps",
        ),
    ]


def _freezing(found: dict[str, xr.Dataset]) -> Claim:
    ds = found["freezing"]
    slopes = _slopes(ds, "ntk_change_end", "delta", np.abs(ds["delta"].values))
    slope, error = float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(slopes.size))
    return _claim(
        "delta-freezes",
        "delta to -infinity freezes the knots: at fixed |delta| t the kernel changes like delta^-2",
        slope,
        error,
        "-2",
        0.2,
        "next order at the smallest |delta|, where r/|delta| is a third",
        abs(slope + 2) <= 0.2,
        slopes.size,
        "mean slope of log NTK change against log |delta|",
    )


LAZY = {
    "lazy": (-1.0, "c (f - f(start)) with a smooth activation: the relative NTK change falls like 1/c"),
    "paired": (-2.0, "with an antisymmetric start the first-order change cancels: it falls like 1/c^2"),
}
"""The expected slope and the statement of each of the two networks."""


def _lazy(found: dict[str, xr.Dataset], name: str) -> Claim:
    ds, (expected, words) = found[name], LAZY[name]
    slopes = _slopes(ds, "ntk_change_end", "output_multiplier", ds["output_multiplier"].values)
    slope, error = float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(slopes.size))
    return _claim(
        f"{name}-slope",
        words,
        slope,
        error,
        f"{expected:g}",
        0.1,
        "next order in 1/c at the smallest multiplier; statistical error is far below",
        abs(slope - expected) <= 0.1,
        slopes.size,
        "mean slope of log NTK change against log output multiplier",
    )


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """All claims of the lab.

    Args:
        s: the settings.
        found: the sweeps.

    Returns:
        The claims with their verdicts.
    """
    return tested(
        lambda: _conservation(s, found),
        lambda: _drift(found),
        lambda: _reduction(found),
        lambda: _limit(s, found),
        lambda: _curvature(s, found),
        lambda: _adaptive(s, found),
        lambda: _freezing(found),
        *(functools.partial(_lazy, found, name) for name in ("lazy", "paired")),
    )


OF_REGIME = {
    "kernel": (
        "delta-conserved",
        "clamped-spline",
        "clamped-spline-rate",
        "second-derivative",
        "order-swaps",
        "delta-freezes",
        "lazy-slope",
        "paired-slope",
    ),
    "intermediate": ("delta-conserved", "delta-drift-is-error", "reduced-is-full"),
    "adaptive": ("delta-conserved", "linear-spline", "knots-at-samples", "knots-slide", "order-swaps"),
}
"""Which claims rest on which regime, for the table."""


def held_in(regime: str, claims: list[Claim]) -> str:
    """How many of a regime's claims hold, `3/4`.

    Args:
        regime: its name.
        claims: all claims.

    Returns:
        The count in words.
    """
    own = [claim for claim in claims if claim.id.removeprefix(f"{LAB}.") in OF_REGIME[regime]]
    return f"{sum(claim.held for claim in own)}/{len(own)}"


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict]:
    """A row a regime.

    Args:
        s: the settings.
        found: the sweeps.
        claims: the claims.

    Returns:
        The rows; numbers are medians over seeds at the end.
    """
    rows = []
    for number, (name, delta) in enumerate(regimes(s).items()):
        ds = found["regimes"].isel(delta=number)
        rows.append({
            "regime": name,
            "delta": f"{delta:g}",
            "seeds": int(ds["seed"].size),
            "outcomes": ", ".join(f"{count} {outcome}" for outcome, count in outcome_counts(ds).items()),
            "loss": _median(ds["loss_end"].values)[0],
            "NTK change": _median(ds["ntk_change_end"].values)[0],
            "kinks": _median(ds["num_kinks"].values)[0],
            "weight that slides": _median(ds["sliding_weight_end"].values)[0],
            "knot movement": _median(ds["knot_movement_end"].values)[0],
            "to linear spline": _median(ds["linear_distance_end"].values)[0],
            "to cubic spline": _median(ds["cubic_distance_end"].values)[0],
            "claims held": held_in(name, claims),
        })
    return rows
