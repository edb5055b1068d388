"""The claims of the lab, and its table."""

from typing import Any

import numpy as np
import xarray as xr

from ..base import Claim
from .claims_rank import claims_of_rank
from .claims_saddle import claims_of_saddles
from .claims_time import claims_of_time
from .fits import collapsed, grown
from .settings import Settings


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return [*claims_of_time(s, found), *claims_of_rank(s, found), *claims_of_saddles(s, found)]


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: one a network, at the smallest size.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        The rows.
    """
    rows = []
    for name, cell in s.cells.items():
        ds = found[name].isel(log_norm=-1)
        good = grown(ds)
        values, ranks = ds["N"].values[good], ds["rank_one"].values.min(axis=-1)[good]
        none = not good.any()
        rows.append({
            "network": name,
            "L": s.order(*cell),
            "theorem": "inside" if s.inside(*cell) else "outside",
            "starts": good.size,
            "collapsed": int(np.sum(collapsed(ds))),
            "failed": int(np.sum(~good & ~collapsed(ds))),
            "best N": np.nan if none else float(values.max()),
            "kkt residual": np.nan if none else float(np.median(ds["residual"].values[good])),
            "rank-one share": np.nan if none else float(np.median(ranks)),
            "steps": int(np.median(ds["num_accepted_steps"].values)),
        })
    return rows
