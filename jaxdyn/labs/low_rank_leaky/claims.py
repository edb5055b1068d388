"""The claims of the lab, and its table."""

from typing import Any

import numpy as np
import xarray as xr

from ..base import Claim
from .claims_descent import claims_of_descent
from .claims_flow import cells_of, claims_of_the_flow
from .settings import Settings


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """All claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return [*claims_of_the_flow(s, found), *claims_of_descent(s, found)]


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: one a run and data set.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        The rows.
    """
    rows = []
    for name, ds in found.items():
        kind, _, slope = name.partition("-")
        if kind == "step":
            continue
        for of, cell in cells_of(s, ds, float(slope)).items():
            runs = cell.runs
            one = runs.sizes["seed"] > 0
            rows.append({
                "run": name,
                "data": of,
                "assumption": cell.met,
                "seeds": runs.sizes["seed"],
                "lost": cell.lost,
                "stable rank": float(runs["rank_end"].mean()) if one else np.nan,
                "limit": cell.limit.stable_rank if float(slope) and cell.limit.all_active else np.nan,
                "of a sign": float(runs["ranks_end"].mean()) if one else np.nan,
                "margins": 1 + float(runs["spread_end"].mean()) if one else np.nan,
                "log10 t": float(runs["late"].mean()) / np.log(10) if one else np.nan,
                "steps": float(ds["num_accepted_steps"].sel(cell=of).mean()),
            })
    return rows
