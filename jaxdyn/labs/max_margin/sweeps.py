"""The lab's runs, and how near to KKT points they end."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from ... import data, flows, losses, measure, models
from ..._types import as_leaf
from ...ensemble import sweep
from ...solve import AbstractStopRule, KernelExponential, Outcome
from .settings import Settings

LONG = 1e9
"""In the clock's time, further than any run goes."""
RECORDS = np.concatenate([[0.0], np.geomspace(1.0, 1e4, 900)])
"""When the margin is looked at: the time's logarithm grows exponentially with the clock."""
DATA_KEY = 5


class TimeReached(AbstractStopRule):
    """Stop once the original time's logarithm is at or above a threshold."""

    log_time: Float[Array, ""] = eqx.field(converter=as_leaf)

    @property
    def outcome(self) -> Outcome:
        """A time reached is a stop."""
        return Outcome.stopped

    def __call__(self, moment: Any) -> Bool[Array, ""]:
        """Whether it is there."""
        return moment.flow.log_time(moment.params) >= self.log_time


def samples_of(s: Settings) -> dict[str, data.Samples]:
    """The data sets by name.

    Args:
        s: the settings.

    Returns:
        The cones, and `any`.
    """
    keys = jr.split(jr.key(DATA_KEY), len(s.cosines) + 1)
    found = {f"cone-{mu:g}": data.cone(s.samples, mu, s.dim, key=key) for mu, key in zip(s.cosines, keys[1:], strict=True)}
    inputs = data.nearly_orthogonal(s.samples, s.dim, key=keys[0], norm=1.0, balanced=True)
    return found | {"any": inputs}


def make_flows(s: Settings) -> dict[str, flows.DirectionClock]:
    """The flows by the names of their runs.

    Args:
        s: the settings.

    Returns:
        Two-layer ReLU networks on each data set; squared ReLU and a deep ReLU network on data of no kind and on a cone.
    """
    relu, square = (
        models.TwoLayer(s.width, s.dim, bias=False, activation=name, scaling="one", balanced=True) for name in ("relu", "relu^2")
    )
    deep = models.MLP(s.deep, s.dim, balanced=True)
    samples = samples_of(s)
    runs = [(name, relu, name) for name in samples]
    runs += [("squared", square, "any"), ("deep", deep, f"cone-{s.cosines[-1]:g}")]
    orders = {id(relu): 2, id(square): 3, id(deep): len(s.deep) + 1}
    return {
        name: flows.DirectionClock(
            flows.GradientFlow(model, losses.exponential, samples[of]), order=orders[id(model)], log_norm=np.log(s.start)
        )
        for name, model, of in runs
    }


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each sweep a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets by the runs' names: the margin and the logarithms of loss, norm and time along the clock, and at its end and at
        `s.early` decades (`_early`) residual and complementarity of the KKT conditions; with the limit in `attrs`, NaN where none is known.
    """
    found = {}
    cheap = {"margin": measure.normalised_margin, "log_loss": measure.loss, "log_norm": measure.log_norm, "log_time": measure.log_time}
    for name, flow in make_flows(s).items():
        ends = {}
        for stage, decades in (("", s.decades), ("_early", s.early)):
            ends[stage] = sweep(
                flow,
                s.seeds,
                t1=LONG,
                record=RECORDS if not stage else 2,
                observe=cheap if not stage else {},
                stop=TimeReached(decades * np.log(10)),
                solver=KernelExponential(),
                rtol=s.rtol,
                max_steps=3_000,
                out=store,
                group=name + stage,
                width=width,
                progress=f"{name + stage:14s}" if progress else False,
            )
        ds = ends[""]
        for stage, end in ends.items():
            ds = ds.assign({f"{key}{stage}": ("seed", values) for key, values in _at_end(flow, end["params"].values).items()})
        limit = measure.class_margins(flow.inner.data).two_layer_margin if name.startswith("cone") else np.nan
        found[name] = ds.assign_attrs({"limit": float(limit), "cosine": float(data.smallest_cosine(flow.inner.data))})
    return found


def _at_end(flow: flows.DirectionClock, params: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of final states: the original time, the margin, and how far it is from a KKT point."""
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]

    def of(flat: Array) -> dict[str, Array]:
        y = unravel(flat)
        kkt = measure.margin_kkt(flow, y, zero=1e-4)
        return {
            "end_time": flow.log_time(y) / jnp.log(10.0),
            "end_margin": kkt.margin,
            "residual": kkt.residual,
            "complementarity": kkt.complementarity,
        }

    return {name: np.asarray(values) for name, values in jax.jit(lambda rows: jax.lax.map(of, rows))(jnp.asarray(params)).items()}
