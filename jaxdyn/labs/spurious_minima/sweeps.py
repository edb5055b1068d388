"""The lab's runs: each a flow until it is nearly still, then Newton's method until it is at rest."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from ... import flows, measure, models
from ...ensemble import polish_lanes, sweep
from ...solve import GradientNormBelow
from .settings import Settings

EXTRA = 0.1
"""With a student too many J falls like t^-3, as the Hessian is singular: the flow is left at this share of `still` then, and for good."""


def make_flow(k: int, students: int) -> flows.PopulationFlow:
    """Students of k inputs, whose output weights stay 1, towards k orthonormal teachers.

    Args:
        k: how many teachers, and inputs.
        students: how many students.

    Returns:
        The flow.
    """
    model = models.TwoLayer(students, k, False, "relu", "one", "a", committee=True, init_scale=1 / np.sqrt(k))
    return flows.PopulationFlow(model, np.eye(k))


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each run a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        A Dataset a run over `seed`, at rest where there are as many students as teachers; and `spectra`, the eigenvalues of the Hessian
        at each size's lowest spurious minimum.
    """
    found = {}
    for name, (k, students, seeds) in s.runs.items():
        flow = make_flow(k, students)
        ds = sweep(
            flow,
            seeds,
            t1=s.end_time,
            stop=GradientNormBelow(s.still if students == k else EXTRA * s.still),
            rtol=s.rtol,
            record=2,
            out=store,
            group=name,
            width=width,
            progress=f"{name:6s}" if progress else False,
        )
        found[name] = _at_rest(s, flow, ds) if students == k else ds[["t_end", "outcome", "num_accepted_steps"]].assign(loss=ds["loss_end"])
    return found | {"spectra": _spectra(s, found)}


def _at_rest(s: Settings, flow: flows.PopulationFlow, ds: xr.Dataset) -> xr.Dataset:
    """Where the runs come to rest."""
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]
    ends = jax.vmap(unravel)(jnp.asarray(ds["params"].values))
    points = polish_lanes(flow, ends, tolerance=s.rest, max_steps=1000, method="differences", batch=16)
    numbers: dict[str, Any] = {
        name: ("seed", np.asarray(getattr(points, name))) for name in ("loss", "gradient_norm", "distance", "num_steps")
    }
    numbers["student"] = (("seed", "neuron", "dim"), np.asarray(points.params["a"]))
    kept = ds[["t_end", "outcome", "num_accepted_steps"]]
    return kept.assign(numbers)


def spurious(s: Settings, ds: xr.Dataset) -> np.ndarray:
    """Which runs ended in a spurious minimum.

    Args:
        s: the settings.
        ds: a run.

    Returns:
        Truth values over the seeds.
    """
    return ds["loss"].values > s.spurious


def lowest(s: Settings, ds: xr.Dataset) -> np.ndarray | None:
    """The student of the lowest spurious minimum.

    Args:
        s: the settings.
        ds: a run.

    Returns:
        Its inner weights; None where no run is spurious.
    """
    losses = np.where(spurious(s, ds) & (ds["gradient_norm"].values <= s.rest), ds["loss"].values, np.inf)
    best = int(np.argmin(losses))
    return ds["student"].values[best] if np.isfinite(losses[best]) else None


def _spectra(s: Settings, found: dict[str, xr.Dataset]) -> xr.Dataset:
    sizes = (*s.sizes, s.large)
    values = np.full((2, len(sizes), s.large**2), np.nan)
    for row, k in enumerate(sizes):
        flow = make_flow(k, k)
        for place, student in enumerate((np.eye(k), lowest(s, found[f"k={k}"]))):
            if student is not None:
                params = {"a": jnp.asarray(student), "c": jnp.ones(k)}
                values[place, row, : k * k] = np.asarray(measure.hessian_spectrum(flow, jnp.zeros(()), params))
    return xr.Dataset({"eigenvalue": (("minimum", "k", "mode"), values)}, {"minimum": ["global", "spurious"], "k": list(sizes)})
