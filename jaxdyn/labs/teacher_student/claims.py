"""The claims of the lab, and its table."""

import math
from typing import Any

import numpy as np
import xarray as xr

from ...solve import Outcome
from ..base import Claim
from .claims_many import claims_of_many, out_of_plane, recovery
from .claims_one import claims_of_one, shares
from .claims_plane import arrivals, claims_of_the_plane, runs_of
from .settings import Settings


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return [*claims_of_one(s, found), *claims_of_the_plane(s, found), *claims_of_many(s, found)]


def make_table(s: Settings, found: dict[str, xr.Dataset]) -> list[dict[str, Any]]:
    """The rows for the terminal: the balls, the plane, the levels of noise, and the critical points that were found.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        Rows with what was run, how many runs, a number and what it is, and how many runs came to no end.
    """
    rows = []

    def add(run: str, runs: int, what: str, value: float, unfinished: int = 0) -> None:
        rows.append({"run": run, "runs": runs, "what": what, "value": value, "unfinished": unfinished})

    ball = found["ball"]
    converged, counted = shares(ball)
    for cell, (d, eps) in enumerate(zip(ball["d"].values, ball["eps"].values, strict=True)):
        open_ends = int((ball["outcome"].isel(cell=cell) != int(Outcome.converged)).sum())
        add(f"one neuron, d={d}, eps={eps:g}", ball.sizes["seed"], "converged", converged[cell], open_ends)
        add(f"one neuron, d={d}, eps={eps:g}", ball.sizes["seed"], f"counted (bound {(1 - eps) / 2:g})", counted[cell])
    for k in s.sizes:
        add(f"plane, K={k}, from ({s.start:g}, 0)", 1, "arrival", float(arrivals(found, "path", k)[0]))
        add(f"plane, K={k}, from ({s.start:g}, 0)", 1, "largest y", float(runs_of(found, "path", k)["ordinate"].max()))
    for k in s.sizes:
        ds = found[f"noise-{k}"]
        every, same = recovery(ds, s)
        for cell, noise in enumerate(s.noises):
            open_ends = int((ds["outcome"].isel(cell=cell) != int(Outcome.converged)).sum())
            add(f"K={k}, noise {noise:g}", s.seeds, "permutation", every[cell], open_ends)
            add(f"K={k}, noise {noise:g}", s.seeds, f"in order (by chance {1 / math.factorial(k):.1g})", same[cell])
    there = out_of_plane(found["out"])
    for level in np.unique(np.round(there["loss"].values, 6)):
        add("critical point out of the plane, K=2", int((np.abs(there["loss"].values - level) < 1e-6).sum()), "J", float(level))
    return rows
