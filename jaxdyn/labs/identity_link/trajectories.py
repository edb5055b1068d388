"""What is read off the runs."""

from typing import Any

import numpy as np
import xarray as xr

from ..base import Claim
from .settings import Settings

SECOND = np.exp(-3.0)
"""The second phase is taken to begin when |g| has fallen to this part of its start."""


def turns(ds: xr.Dataset) -> np.ndarray:
    """When the gradient turns towards W*: between two records on a straight line.

    Args:
        ds: `inner` over `run` and `time`.

    Returns:
        A time a run; NaN where it points there from the start, or never.
    """
    times, found = ds["time"].values, []
    for row in ds["inner"].values:
        k = int(np.argmax(row > 0))
        found.append(np.nan if k == 0 else times[k - 1] - row[k - 1] * (times[k] - times[k - 1]) / (row[k] - row[k - 1]))
    return np.asarray(found)


def second_phase(ds: xr.Dataset) -> np.ndarray:
    """Which records lie in the second phase.

    Args:
        ds: `potential` over `run` and `time`.

    Returns:
        Truth values over both: from the first record on at which |g| is at most e^-3 of its start.
    """
    g = np.abs(ds["potential"].transpose("run", "time").values)
    return np.logical_or.accumulate(g <= SECOND * g[:, :1], axis=1)


def deviations(s: Settings, found: dict[str, xr.Dataset]) -> np.ndarray:
    """How far SGD strays from the flow from the same start.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        max_t |W_SGD(t) - W_flow(t)|_F over learning rates and seeds, for the identity link.
    """
    sgd, flow = found["sgd"], found["flow"]["weights"].sel(link="identity").values
    rows = [np.flatnonzero((sgd["link"].values == "identity") & (sgd["rate"].values == rate))[0] for rate in s.learning_rates]
    return np.asarray([np.linalg.norm(sgd["weights"].values[row] - flow, axis=(2, 3)).max(axis=1) for row in rows])


def decay_steps(s: Settings, found: dict[str, xr.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """The error of SGD with decaying learning rates.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        k + k0 at the records, k the step, and |W - W*|_F^2 over seeds and records.
    """
    ds = found["decay"]
    return s.decay_offset * np.exp(ds["time"].values / s.decay_rate), ds["distance"].transpose("seed", "time").values ** 2


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict[str, Any]]:
    """The rows for the terminal: one a run.

    Args:
        s: the settings.
        found: the runs.
        claims: the claims, unused.

    Returns:
        The rows.
    """
    del claims

    def row(name: str, ds: xr.Dataset, runs: int) -> dict[str, Any]:
        first, last = ds.isel(time=0), ds.isel(time=-1)
        return {
            "run": name,
            "runs": runs,
            "time": float(ds["time"].values[-1]),
            "L": float(last["loss"].mean()),
            "|W - W*|": float(last["distance"].mean()),
            "at the start": float(first["distance"].mean()),
            "least ratio": float(ds["ratio"].min()),
        }

    rows = []
    if "flow" in found:
        rows += [row(f"flow, {link}", found["flow"].sel(link=link), s.seeds) for link in ("identity", "vanilla")]
    if "sgd" in found:
        cells = [found["sgd"].isel(cell=k) for k in range(found["sgd"].sizes["cell"])]
        rows += [row(f"SGD {float(cell['rate']):g}, {cell['link'].item()}", cell, s.seeds) for cell in cells]
    last = {"decay": ("SGD c/(k + k0), identity", s.seeds), "phases": (f"two phases, d = {s.phase_dim}", s.phase_runs)}
    return rows + [row(words, found[name], runs) for name, (words, runs) in last.items() if name in found]
