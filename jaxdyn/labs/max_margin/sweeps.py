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
from jaxtyping import Array, Float, PRNGKeyArray

from ... import data, flows, losses, measure, models
from ..._types import Params, as_leaf
from ...ensemble import sweep
from ...solve import KernelExponential, Outcome
from ..parts import Runs
from ..stops import Reached
from .settings import Settings

LONG = 1e9
"""In the clock's time, further than any run goes."""
RECORDS = np.concatenate([[0.0], np.geomspace(1e-2, 1e6, 401)])
"""When a stage is looked at, from where it begins: the first may wait 1e5 beside a saddle, the others are over in some ten."""
STAGES = ("start", "early", "late")
"""Until the loss is below 1; until `Settings.early` decades; until `Settings.decades`. One program does all three."""
MOST_STEPS = {"start": 1_000, "early": 3_000, "late": 3_000}
"""Of each stage. A start that needs more slides in and out of kinks with its neurons dying: the others take at most 400 steps."""
DATA_KEY = 5
OBSERVE: dict[str, Any] = {
    "margin": measure.normalised_margin,
    "log_loss": measure.loss,
    "log_norm": measure.log_norm,
    "log_time": measure.log_time,
}


class Started(flows.AbstractWrapper):
    """A gradient flow whose start is given, and may vary from lane to lane.

    Attributes:
        inner: the flow, of which all else is.
        flat: the parameters at the start.
    """

    inner: flows.GradientFlow
    flat: Float[Array, " param"] = eqx.field(converter=as_leaf)

    @property
    def wrapped(self) -> flows.GradientFlow:
        """The flow, whose parameters these are."""
        return self.inner

    def vector_field(self, t: Array, y: Params, args: Any = None) -> Params:
        """That of the flow."""
        return self.inner.vector_field(t, y, args)

    def loss(self, y: Params) -> Array:
        """That of the flow."""
        return self.inner.loss(y)

    def init(self, key: PRNGKeyArray) -> Params:
        """The start, whatever the key."""
        return ravel_pytree(self.inner.init(key))[1](self.flat)

    def __getattr__(self, name: str) -> Any:
        """What the inner flow has."""
        if name in ("inner", "flat", "model") or name.startswith("__"):  # measures look for the model in the flow that is within
            raise AttributeError(name)
        return getattr(self.inner, name)


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
    """The flows by the names of their runs, their starts still to be given.

    Args:
        s: the settings.

    Returns:
        Two-layer ReLU networks on each data set; squared ReLU and a deep ReLU network on data of no kind and on a cone.
    """
    relu, square = (
        models.TwoLayer(s.neurons, s.dim, bias=False, activation=name, scaling="one", balanced=True) for name in ("relu", "relu^2")
    )
    deep = models.MLP(s.deep, s.dim, balanced=True)
    samples = samples_of(s)
    runs = [(name, relu, name) for name in samples]
    runs += [("squared", square, "any"), ("deep", deep, f"cone-{s.cosines[-1]:g}")]
    orders = {id(relu): 2, id(square): 3, id(deep): len(s.deep) + 1}
    found = {}
    for name, model, of in runs:
        inner = flows.GradientFlow(model, losses.exponential, samples[of])
        inner = Started(inner, ravel_pytree(model.init(jr.key(0)))[0])
        found[name] = flows.DirectionClock(inner, order=orders[id(model)])
    return found


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab, each in the `STAGES`.

    Args:
        s: the settings.
        store: the Zarr store, each sweep a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets by the runs' names over `seed` and `record`, those of one stage after those of another: the clock, the margin and the
        logarithms of loss, norm and time; at the end and at `s.early` decades (`_early`) time, margin, and residual and complementarity
        of the KKT conditions; with the limit in `attrs`, NaN where none is known.
    """
    found = Runs(s.leave_out)
    far = (-LONG, s.early * np.log(10), s.decades * np.log(10))
    for name, flow in make_flows(s).items():
        if name in s.leave_out:
            continue
        starts = jax.vmap(lambda seed, flow=flow: _start(s, flow.inner.inner.model, seed))(jnp.arange(s.seeds))
        stages: list[xr.Dataset] = []
        for stage, log_time in zip(STAGES, far, strict=True):
            ds = sweep(
                flow,
                1,
                {"inner.flat": list(starts)},
                t1=LONG,
                record=RECORDS,
                observe=OBSERVE,
                stop=Reached(log_time, LONG if stages else 0.0),
                solver=KernelExponential(),
                rtol=s.rtol,
                max_steps=MOST_STEPS[stage],
                out=store,
                group=f"{name}-{stage}-{s.seeds}",
                width=width,
                progress=f"{name + ' ' + stage:18s}" if progress else False,
            )
            stages.append(_begun_after(stages[-1] if stages else None, ds))
            # a lane that has not come here is not followed further: another is, once more, as a batch's shape is compiled in
            good = stages[-1]["reached"].values
            starts = _weights(flow, ds["params"].values.reshape(s.seeds, -1))[np.where(good, np.arange(s.seeds), np.argmax(good))]
        ds = _together(stages)
        for end, part in (("_early", stages[1]), ("", stages[2])):
            values = _at_end(flow, jnp.asarray(part["params"].values))
            ds = ds.assign({f"{key}{end}": ("seed", np.asarray(value)) for key, value in values.items()})
            ds[f"end_time{end}"] = part["log_time_end"] / np.log(10)
        limit = measure.class_margins(flow.inner.data).two_layer_margin if name.startswith("cone") else np.nan
        found[name] = ds.assign_attrs({"limit": float(limit), "cosine": float(data.smallest_cosine(flow.inner.data))})
    return found


def _start(s: Settings, model: Any, seed: Array) -> Array:
    flat = ravel_pytree(model.init(jr.fold_in(jr.key(0), seed)))[0]
    return flat * (s.start / jnp.linalg.norm(flat))


def _weights(flow: flows.DirectionClock, params: np.ndarray) -> np.ndarray:
    """States to the networks' parameters."""
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]

    def of(flat: Array) -> Array:
        y = unravel(flat)
        return ravel_pytree(flow.weights(y))[0] * jnp.exp(y["log_norm"])

    return np.asarray(jax.vmap(of)(jnp.asarray(params)))


def _begun_after(before: xr.Dataset | None, ds: xr.Dataset) -> xr.Dataset:
    """A stage over `seed` and `record`, with clock, time and steps counted from the first stage's beginning.

    Args:
        before: the stage before, or None.
        ds: what the sweep found.

    Returns:
        The stage; `reached` says which lanes have come to its end.
    """
    (cell,) = (dim for dim in ds["outcome"].dims if dim != "seed")
    plain = ds.isel(seed=0, drop=True).rename({cell: "seed", "time": "record"})
    plain = plain.drop_vars(list(plain.coords)).assign(clock=("record", RECORDS))
    plain["clock"] = plain["clock"].where(np.isfinite(plain["log_loss"])).transpose("seed", "record")
    plain["reached"] = plain["outcome"] == int(Outcome.stopped)
    if before is not None:
        there = before["reached"]
        for name in ("log_time", "log_time_end"):
            with np.errstate(invalid="ignore"):  # where nothing was recorded
                plain[name] = np.logaddexp(plain[name], before["log_time_end"])
        for name, since in (("clock", "t_end"), ("t_end", "t_end"), ("num_accepted_steps", "num_accepted_steps")):
            plain[name] = plain[name] + before[since]
        for name in ("clock", *OBSERVE):
            plain[name] = plain[name].where(there)
        for name in ("t_end", "log_time_end", "num_accepted_steps", "outcome"):
            plain[name] = plain[name].where(there, before[name])
        plain["reached"] &= there
    return plain


def _together(stages: list[xr.Dataset]) -> xr.Dataset:
    """The records of all stages, what the last one knows of the ends, and when the loss was 1, `begun`."""
    records = xr.concat([one[["clock", *OBSERVE]] for one in stages], "record")
    ends = {name: stages[-1][name] for name in ("reached", "outcome", "t_end", "num_accepted_steps")}
    return records.assign(ends | {"begun": stages[0]["t_end"]}).assign_coords(seed=np.arange(records.sizes["seed"]))


@eqx.filter_jit
def _at_end(flow: flows.DirectionClock, params: Array) -> dict[str, Array]:
    """What is known of states: the margin, and how far each is from a KKT point."""
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]

    def of(flat: Array) -> dict[str, Array]:
        kkt = measure.margin_kkt(flow, unravel(flat), zero=1e-4)
        return {"end_margin": kkt.margin, "residual": kkt.residual, "complementarity": kkt.complementarity}

    return jax.lax.map(of, params)
