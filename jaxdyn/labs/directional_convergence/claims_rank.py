"""Claims on rank one and its lag, on collapse, and on KKT points by Newton's method."""

import numpy as np
import xarray as xr

from ..base import Claim
from ..parts import tested
from .claims_time import aside
from .fits import DERIVED, collapsed, error_of_median, grown, make_claim, paper_of, short
from .networks import OneNeuron, one_neuron, ray_share
from .settings import Settings

ONE = 1e-3
"""How far the share of rank one may be from 1, and how small a neuron is that did not survive."""
APART = 1e-2
"""Neurons within this angle, in radians, have one direction."""


def claims_of_rank(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """Rank, lag, values, collapse and Newton's method.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    claims = [_rank(s, name, cell, found[name]) for name, cell in s.cells.items()]
    for name, (depth, power) in s.cells.items():
        if depth == 2:
            one = one_neuron(s, power)
            claims += [_values(name, power, one, found[name]), _lag(name, power, one, found[name])]
            if power > 1:
                claims.append(_survivors(s, name, power, found[name]))
    return [*claims, *tested(lambda: _collapse(s, found["few"]), lambda: _newton(s, found["newton"]))]


def _rank(s: Settings, name: str, cell: tuple[int, int], ds: xr.Dataset) -> Claim:
    good = grown(ds)
    least = ds["rank_one"].values.min(axis=-1)
    ends = least[-1][good[-1]]
    share = float(np.mean(ends >= 1 - ONE)) if ends.size else np.nan
    first = float(np.median(least[0][good[0]])) if good[0].any() else np.nan
    return make_claim(
        f"rank-{short(name)}",
        paper_of(s.order(*cell)),
        f"{name}: the matrices of all hidden layers tend to rank one{aside(s, cell)}; the smallest share of rank one has the median "
        f"{first:.4f} at "
        f"delta = {np.exp(ds['log_norm'].values[0]):.0e} and the median {np.median(ends) if ends.size else np.nan:.6f} at "
        f"{np.exp(ds['log_norm'].values[-1]):.0e}",
        share,
        "1",
        share == 1,
        tolerance=0.0,
        reason=f"every start, and rank one is a share of at least {1 - ONE:g}",
        seeds=int(ends.size),
        unit="share of the starts with rank one at the smallest delta",
    )


def _values(name: str, power: int, one: OneNeuron, ds: xr.Dataset) -> Claim:
    good = grown(ds)[-1]
    best = one.peaks * ray_share(np.asarray([power, 1]))
    ends = ds["N"].values[-1][good]
    off = np.min(np.abs(ends[:, None] / best - 1), axis=1)
    first = float(np.mean(np.abs(ends / best[0] - 1) <= ONE))
    return make_claim(
        f"values-{short(name)}",
        DERIVED,
        f"{name}: N at the smallest delta is that of one neuron at a local maximum of its correlation on the circle, "
        f"one of {', '.join(f'{value:.4f}' for value in best)}; a share {first:.2f} of the starts ends at the best",
        float(off.max()),
        "0",
        off.max() <= ONE,
        tolerance=ONE,
        reason="what is left of the other neurons",
        seeds=int(good.sum()),
        unit="largest relative distance to the nearest of these values",
    )


def lags(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How much weight the largest neuron has that points elsewhere than the strongest one.

    Args:
        ds: a two-layer network's ends.

    Returns:
        Over sizes and seeds: the logarithm of its norm over that of the strongest; minus infinity where all point the same way. And its
        output weight's sign times the angle it points at, less that of the strongest.
    """
    a, c = ds["a"].values, ds["c"].values
    norms = np.sqrt(np.sum(a**2, axis=-1) + c**2)
    strongest = np.argmax(norms, axis=-1)[..., None]
    angle = np.arctan2(a[..., 1], a[..., 0])
    apart = np.abs(np.angle(np.exp(1j * (angle - np.take_along_axis(angle, strongest, -1))))) > APART
    apart |= np.sign(c) != np.sign(np.take_along_axis(c, strongest, -1))
    rest = np.where(apart, norms, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(rest.max(axis=-1)) - np.log(norms.max(axis=-1)), np.take_along_axis(angle, np.argmax(rest, axis=-1)[..., None], -1)[
            ..., 0
        ]


def _lag(name: str, power: int, one: OneNeuron, ds: xr.Dataset) -> Claim:
    log_size = ds["log_norm"].values
    ratio, _ = lags(ds)
    growth = ds["norm"].values - log_size[:, None]
    # of the two smallest sizes
    exponents = -(ratio[-1] - ratio[-2]) / (growth[-1] - growth[-2])
    best = one.peaks * ray_share(np.asarray([power, 1]))
    there = grown(ds)[-1] & grown(ds)[-2] & np.isfinite(exponents) & (np.abs(ds["N"].values[-2] / ds["N"].values[-1] - 1) < ONE)
    if power > 1:
        expected, words, law = np.ones(len(exponents)), "1", "the others stay of order delta while one grows"
    else:
        winner = np.argmin(np.abs(ds["N"].values[-1][:, None] - best), axis=1)
        # the next best place that some neurons went to: all but the first few are filled in every seed
        expected = np.where(winner + 1 < len(best), 1 - best[np.minimum(winner + 1, len(best) - 1)] / best[winner], np.nan)
        words, law = f"1 - N2/N1 = {expected[0]:.4f} where both best places are taken", "two groups grow at the rates 2 N1 and 2 N2"
    off = np.abs(exponents - expected)
    fits = off <= 0.02
    middle = float(np.median(exponents[there])) if there.any() else np.nan
    share = float(np.mean(fits[there])) if there.any() else np.nan
    return make_claim(
        f"lag-{short(name)}",
        DERIVED,
        f"{name}: off the strongest direction the weights are left behind like a power of delta, since {law}; {share:.2f} of the seeds "
        f"are within .02",
        middle,
        words,
        abs(middle - float(np.nanmedian(expected))) <= 0.02 and share >= 0.5,
        uncertainty=error_of_median(exponents[there]),
        tolerance=0.02,
        reason="a prefactor that has not died out; and half of the seeds or more, as some have no neuron at the second place",
        seeds=int(there.sum()),
        unit="median exponent in delta/|w| of the largest other neuron's norm over that of the strongest",
    )


def _survivors(s: Settings, name: str, power: int, ds: xr.Dataset) -> Claim:
    good = grown(ds)[-1]
    norms = np.sqrt(np.sum(ds["a"].values[-1] ** 2, axis=-1) + ds["c"].values[-1] ** 2)[good]
    number = np.sum(norms > ONE * norms.max(axis=1, keepdims=True), axis=1)
    share = float(np.mean(number == 1))
    return make_claim(
        f"survivors-{short(name)}",
        DERIVED,
        f"{name}: one neuron survives at the smallest delta",
        share,
        "1",
        share == 1,
        tolerance=0.0,
        reason=f"every start; the others are below {ONE:g} of it",
        seeds=int(good.sum()),
        unit="share of the starts with one neuron left",
    )


def _collapse(s: Settings, ds: xr.Dataset) -> list[Claim]:
    lost = one_neuron(s, 2).collapse
    claims = []
    for number in s.few:
        share = float(np.mean(collapsed(ds.sel(number=number))))
        expected = lost**number
        error = float(np.sqrt(expected * (1 - expected) / s.collapse_seeds))
        claims.append(
            make_claim(
                f"collapse-{number}",
                f"{paper_of(3)}; the number is {DERIVED}",
                f"some starts collapse: with {number} balanced relu^2 neuron{'s' if number > 1 else ''} those whose neurons all climb "
                f"to no positive maximum",
                share,
                f"{expected:.4f}",
                abs(share - expected) <= 3 * error,
                uncertainty=error,
                tolerance=3 * error,
                reason="three binomial errors",
                seeds=s.collapse_seeds,
                unit="share of starts that collapse",
            )
        )
    return claims


def _newton(s: Settings, ds: xr.Dataset) -> list[Claim]:
    residual, apart = ds["residual"].values, ds["apart"].values
    converged = ds["converged"].values
    more = {"tolerance": 0.0, "seeds": converged.size}
    worst = float(residual.max())
    # a path beside a saddle may end elsewhere
    same = float(np.mean(apart <= 1e-6))
    return [
        make_claim(
            "newton",
            DERIVED,
            "Newton's method ends at KKT points of the relu^2 network to rounding, in one batch",
            worst,
            "< 1e-10",
            worst < 1e-10 and converged.all(),
            unit="largest KKT residual",
            reason="all of them",
            **more,
        ),
        make_claim(
            "newton-flow",
            DERIVED,
            "the flow on the sphere comes to rest at the same points",
            same,
            "1",
            same == 1,
            unit="share of starts at which both agree within 1e-6",
            reason="every start",
            **more,
        ),
    ]
