"""Claims about one neuron: its angle, where it converges from, and its gradient against samples."""

import numpy as np
import xarray as xr

from ..base import Claim
from ..fits import slope
from ..parts import tested
from .fits import DERIVED, TIAN, binomial_error, make_claim, share_nearer_than_zero
from .settings import Settings

DEVIATIONS = 4.0
"""Standard errors that the worst of a dozen of shares may be off."""
LOOSE = 0.25
"""A bound is loose if every share is so far above it."""
AT_TEACHER = 1e-5
"""How near a neuron that has converged is to its teacher."""


def shares(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """For each ball the share of starts that converge to the teacher, and of those that the bound counts, |w0 - w*| < |w*|.

    Args:
        ds: the runs of one neuron.

    Returns:
        Two arrays over the cells.
    """
    r, angle = (ds["params"].values[..., k] for k in (0, 1))
    at_start = ds.isel(time=0)
    return np.mean((np.abs(r - 1) < AT_TEACHER) & (angle < AT_TEACHER), axis=1), np.mean(
        at_start["r"].values < 2 * np.cos(at_start["theta"].values), axis=1
    )


def claims_of_one(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return tested(lambda: _of_balls(s, found["ball"]), lambda: _of_the_formula(s, found["formula"]))


def _of_balls(s: Settings, ds: xr.Dataset) -> list[Claim]:
    bound = (1 - ds["eps"].values) / 2
    converged, counted = shares(ds)
    exact = np.asarray([
        share_nearer_than_zero(int(d), eps * np.sqrt(2 * np.pi / (d + 1))) for d, eps in zip(ds["d"].values, ds["eps"].values, strict=True)
    ])
    count = ds.sizes["seed"]
    errors = np.sqrt(exact * (1 - exact) / count)
    off = np.abs(counted - exact) / errors
    above, near = converged - bound, counted - bound
    least = int(np.argmin(near + 3 * errors))
    rise = float(np.nanmax(np.diff(ds["theta"].values, axis=-1)))
    allowed = 10 * s.rtol * np.pi
    return [
        make_claim(
            "angle",
            f"{TIAN}, K = 1",
            "the angle between one neuron and its teacher never grows along the flow",
            rise,
            "<= 0",
            rise <= allowed,
            tolerance=allowed,
            reason="ten times the solver's tolerance of an angle of pi",
            seeds=ds["outcome"].size,
            unit="largest rise between recorded times, radians",
        ),
        make_claim(
            "ball",
            f"{TIAN}, K = 1, theorem on the ball",
            "starts in the ball of radius eps sqrt(2 pi/(d+1)) |w*| converge with probability (1 - eps)/2 at least",
            above.min(),
            ">= 0",
            "does not hold" if (above < 0).any() else "loose" if above.min() > LOOSE else "holds",
            tolerance=0.0,
            reason=f"a bound; loose if all shares are {LOOSE:g} above it",
            seeds=ds["outcome"].size,
            unit="smallest difference of share and bound over d and eps",
        ),
        make_claim(
            "ball-counted",
            f"{TIAN}, K = 1, its proof",
            "the starts that the bound counts, |w0 - w*| < |w*|, are (1 - eps)/2 of the ball at least",
            near[least],
            ">= 0",
            near[least] >= -3 * errors[least],
            uncertainty=errors[least],
            tolerance=3 * errors[least],
            reason="three binomial standard errors",
            seeds=ds["outcome"].size,
            unit="smallest difference of share and bound over d and eps",
        ),
        make_claim(
            "ball-exact",
            DERIVED,
            "their share is that of the part of the ball nearer to w* than 0 is",
            off.max(),
            f"<= {DEVIATIONS:g}",
            off.max() <= DEVIATIONS,
            tolerance=0.0,
            reason=f"{DEVIATIONS:g} binomial standard errors for the worst of {len(off)} shares; the exact ones are integrals over caps",
            seeds=ds["outcome"].size,
            unit="largest deviation in standard errors",
        ),
        make_claim(
            "everywhere",
            DERIVED,
            "the exact flow converges from almost everywhere",
            converged.mean(),
            "1",
            (converged == 1).all(),
            uncertainty=binomial_error(float(converged.mean()), ds["outcome"].size),
            tolerance=0.0,
            reason="no run may stay away",
            seeds=ds["outcome"].size,
            unit="share of all starts that end at the teacher",
        ),
    ]


def _of_the_formula(s: Settings, ds: xr.Dataset) -> list[Claim]:
    counts = ds["samples"].values.astype(float)
    relative = (ds["error"] / ds["expected"]).mean("theta").values
    # over all numbers of samples, as the ratio should be 1 for each
    ratio, spread = relative.mean(), np.sqrt(np.sum(relative.var(1, ddof=1) / relative.shape[1])) / len(counts)
    whole = (ds["error"] / (ds["expected"] * ds["samples"])).mean("theta").values
    logs, errors = np.log(whole.mean(1)) / 2, whole.std(1, ddof=1) / np.sqrt(whole.shape[1]) / whole.mean(1) / 2
    found, error = slope(np.log(counts), logs, errors)
    last = ds["error"].isel(samples=-1).values
    steps = np.diff(last, axis=1)
    deviations = steps.std(0, ddof=1) / np.sqrt(len(steps))
    scores = steps.mean(0) / deviations
    ends = last[:, -1] - last[:, 0]
    end_score = ends.mean() / (ends.std(ddof=1) / np.sqrt(len(ends)))
    more = {"seeds": s.repeats}
    return [
        make_claim(
            "formula-rate",
            f"{TIAN}, experiments",
            "the relative error of the gradient's formula against N samples falls like N^(-1/2)",
            found,
            "-0.5",
            abs(found + 0.5) <= 3 * error,
            uncertainty=error,
            tolerance=3 * error,
            reason="three standard errors of the fit, from the spread over sets of samples",
            unit="slope of log error against log N",
            **more,
        ),
        make_claim(
            "formula-size",
            DERIVED,
            "the mean squared error is (E|z|^2 - |F|^2)/N, z being a sample's part, which is in closed form too",
            ratio,
            "1",
            abs(ratio - 1) <= 3 * spread,
            uncertainty=spread,
            tolerance=3 * spread,
            reason="three standard errors over sets of samples",
            unit="squared error over its expectation, mean over N and angles",
            **more,
        ),
        make_claim(
            "formula-angle",
            f"{TIAN}, experiments",
            "the relative error grows with the angle towards pi",
            scores.min(),
            f">= -{DEVIATIONS:g}, and from the first angle to the last > {DEVIATIONS:g}",
            scores.min() >= -DEVIATIONS and end_score > DEVIATIONS,
            tolerance=0.0,
            reason="standard errors of the difference at neighbouring angles; near 0 the exact growth is below what samples show",
            unit=f"smallest growth of the squared error in standard errors ({end_score:.1f} from the first angle to the last)",
            **more,
        ),
    ]
