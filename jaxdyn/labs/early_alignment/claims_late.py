"""Claims about what comes after: the loss, the rank, and how the two times depend on the start's norm."""

import numpy as np
import xarray as xr

from ..base import Claim
from ..fits import slope
from .claims_early import MIN, grids, make_claim
from .settings import Settings
from .times import late_slopes, levels, of_kind, phases

DERIVED = "derived"
SLOPE = 2e-3
"""How far a late slope may lie from that of 1/(t log t): the margin still grows."""
LIMIT = 0.02
"""How far from its limit the stable rank may be, and the normalised margin relative to it: they go like one over log t."""
SMALL = 0.02
"""Up to this norm of the start times are compared."""
SAME, ALMOST = 0.02, 0.05
"""And up to this part t_1, and the growth of t_2, count as the same."""


def claims_of_the_late_phase(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return [*_loss(s, found), *_limits(s, found), *_norms(of_kind(found[f"n={s.studied}"], "norm"))]


def _loss(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    cells = [ds for _, ds in grids(s, found)]
    slopes, expected = (np.concatenate(rows, axis=None) for rows in zip(*map(late_slopes, cells), strict=True))
    off = np.abs(slopes - expected).max()
    reached = np.concatenate([ds["log_time_end"].values.ravel() for ds in cells]) / np.log(10)
    ends = np.concatenate([ds["loss_end"].values.ravel() for ds in cells]) / np.log(10)
    until = f"from a loss of 1e-30 on, to 1e{np.median(ends):.0f} at t = 1e{np.median(reached):.0f}"
    return [
        make_claim(
            "loss",
            f"{MIN}, theorem 1 (ii)",
            "after t_2 the loss falls as O(1/t)",
            slopes.max(),
            "<= -1",
            slopes.max() <= -1,
            reason="a bound",
            seeds=slopes.size,
            unit=f"largest slope of log loss against log t, {until}",
        ),
        make_claim(
            "loss-logarithm",
            f"{DERIVED}; Lyu & Li 2020, arXiv 1906.05890, for all homogeneous networks",
            "it falls like 1/(t log t), as weights grow on",
            off,
            "0",
            off <= SLOPE,
            tolerance=SLOPE,
            reason="the margin still grows",
            seeds=slopes.size,
            unit="largest difference of the slope from that of 1/(t log t)",
        ),
    ]


def _limits(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    cells = [ds for _, ds in grids(s, found)]
    rank, limit = (
        np.concatenate([np.broadcast_to(part(ds), ds["outcome"].shape).ravel() for ds in cells])
        for part in (lambda ds: ds["stable_rank_end"].values, lambda ds: ds["rank_limit"].values[:, None])
    )
    ratio = np.concatenate([(ds["margin_end"] / ds["margin_limit"]).transpose("cell", "seed").values.ravel() for ds in cells])
    more = {"seeds": rank.size}
    return [
        make_claim(
            "stable-rank",
            f"{MIN}, theorem 1 (iii)",
            "the first layer's stable rank ends at 2 at most, up to O(eps)",
            rank.max(),
            "<= 2",
            "does not hold" if rank.max() > 2 + 10 * s.small else "loose" if rank.max() < 1.5 else "holds",
            tolerance=10 * s.small,
            reason=f"ten norms of the start; loose below 1.5; the median is {np.median(rank):.3f}",
            unit="largest of the runs",
            **more,
        ),
        make_claim(
            "stable-rank-limit",
            DERIVED,
            "it tends to that of the classes' max-margin directions u, with |W_+|^2 : |W_-|^2 = 1/gamma_+ : 1/gamma_-; "
            "as u_+ and u_- are nearly opposite it is near 1",
            np.abs(rank - limit).max(),
            "0",
            np.abs(rank - limit).max() <= LIMIT,
            tolerance=LIMIT,
            reason="directions converge like one over log t",
            unit="largest difference",
            **more,
        ),
        make_claim(
            "margin",
            DERIVED,
            "the normalised margin tends to 1 / (2 (1/gamma_+ + 1/gamma_-))",
            np.abs(ratio - 1).max(),
            "0",
            np.abs(ratio - 1).max() <= LIMIT,
            tolerance=LIMIT,
            reason="directions converge like one over log t",
            unit="largest relative difference",
            **more,
        ),
    ]


def _norms(ds: xr.Dataset) -> list[Claim]:
    small = [(norm, one) for norm, one in levels(ds, "norm") if norm <= SMALL]
    times = [phases(one) for _, one in small]
    logs = -np.log([norm for norm, _ in small])
    first = np.stack([one.aligned for one in times])
    second = np.stack([one.grown for one in times])
    rates = small[0][1]["rate"].values[:, None]
    change = np.abs(first / first[0] - 1).max()
    slopes = np.stack([[slope(logs, row)[0] for row in rows] for rows in second.transpose(1, 2, 0)]) * rates
    more = {"seeds": first[0].size}
    norms = ", ".join(f"{norm:g}" for norm, _ in small)
    return [
        make_claim(
            "t1-norm",
            f"{MIN}, theorem 1 (i)",
            "t_1 does not depend on the start's norm once that is small",
            change,
            "0",
            change <= SAME,
            tolerance=SAME,
            reason="the spacing of the records",
            unit=f"largest relative change over the norms {norms}",
            **more,
        ),
        make_claim(
            "t2-norm",
            DERIVED,
            "t_2 grows by 1/min(|x_+|, |x_-|) for each e-folding of a smaller start, x_+ and x_- being the sums of the classes' inputs",
            float(np.abs(slopes - 1).max()),
            "0",
            np.abs(slopes - 1).max() <= ALMOST,
            tolerance=ALMOST,
            reason="corrections of the largest of these norms",
            unit=f"largest relative difference of the slope, norms {norms}",
            **more,
        ),
    ]
