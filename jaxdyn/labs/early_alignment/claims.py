"""The claims of the lab, and its table."""

from typing import Any

import numpy as np
import xarray as xr

from ..base import Claim
from .claims_early import claims_of_the_early_phase
from .claims_late import claims_of_the_late_phase
from .claims_open import claims_of_open_questions, neurons_at_end, share_aligned
from .settings import Settings
from .times import levels, of_kind, phases

VARIED = {
    "grid": "mu",
    "norm": "norm",
    "delta": "delta",
    "flip": "share",
    "outlier": "share",
    "plane": "norm",
    "digits": "draw",
    "mnist": "draw",
}
"""What each kind of cells varies."""


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return [*claims_of_the_early_phase(s, found), *claims_of_the_late_phase(s, found), *claims_of_open_questions(s, found)]


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: one a level of what is varied.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        The rows.
    """
    rows = []
    for name, ds in found.items():
        for kind in dict.fromkeys(ds["kind"].values.tolist()):
            for level, one in levels(of_kind(ds, kind), VARIED[kind]):
                times = phases(one)
                digits = f" {'/'.join(map(str, s.pairs[int(level)]))}" if VARIED[kind] == "draw" else f" {VARIED[kind]}={level:g}"
                rows.append({
                    "run": f"{name} {kind}".replace(f"{name} {name}", name) + digits,
                    "runs": one["outcome"].size,
                    "cosine": float(one["cosine"].min()),
                    "t_1": float(np.nanmedian(times.aligned)) if np.isfinite(times.aligned).any() else np.nan,
                    "t_2": float(np.nanmedian(times.grown)) if np.isfinite(times.grown).any() else np.nan,
                    "aligned": share_aligned(one),
                    "right": neurons_at_end(one),
                    "rank": float(np.median(one["stable_rank_end"].values)),
                })
    return rows
