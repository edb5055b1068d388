"""The claims of the lab, and its table."""

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


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: the balls, the plane, the levels of noise, and the critical points that were found.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        Rows with what was run, how many runs, two numbers and what they are, and how many runs came to no end.
    """
    rows = []

    def add(run: str, runs: int, what: str, first: float, second: float, unfinished: int = 0) -> None:
        rows.append({"run": run, "runs": runs, "numbers": what, "first": first, "second": second, "unfinished": unfinished})

    def unfinished(ds: xr.Dataset, cell: int) -> int:
        return int((ds["outcome"].isel(cell=cell) != int(Outcome.converged)).sum())

    if "ball" in found:
        ball = found["ball"]
        converged, counted = shares(ball)
        for cell, (d, eps) in enumerate(zip(ball["d"].values, ball["eps"].values, strict=True)):
            what = f"converged; counted by the bound {(1 - eps) / 2:g}"
            add(f"d={d}, eps={eps:g}", ball.sizes["seed"], what, converged[cell], counted[cell], unfinished(ball, cell))
    for k in s.sizes if "plane" in found else ():
        add(
            f"K={k}, plane",
            1,
            "arrival; largest y",
            float(arrivals(found, "path", k)[0]),
            float(runs_of(found, "path", k)["ordinate"].max()),
        )
    for k in (k for k in s.sizes if f"noise-{k}" in found):
        every, same = recovery(found[f"noise-{k}"], s)
        for cell, noise in enumerate(s.noises):
            add(f"K={k}, noise {noise:g}", s.seeds, "permutation; in order", every[cell], same[cell], unfinished(found[f"noise-{k}"], cell))
    if "out" not in found:
        return rows
    there = out_of_plane(found["out"])
    for level in np.unique(np.round(there["loss"].values, 6)):
        same = np.abs(there["loss"].values - level) < 1e-6
        add("out of the plane", int(same.sum()), "J; negative eigenvalues", float(level), float(there["index"].values[same].max()))
    return rows
