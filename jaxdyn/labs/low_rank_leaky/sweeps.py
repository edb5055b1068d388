"""The lab's runs: the flow to a late time, gradient descent for many steps, and its first steps at many sizes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ... import data, flows, losses, measure, models
from ...ensemble import sweep
from ..parts import Runs
from ..stops import Reached
from .settings import Settings
from .theory import DATA_KEY, samples_of

LONG = 1e9
"""In the clock's time, further than any run goes."""
RECORDS = np.concatenate([[0.0], np.geomspace(0.1, 10.0, 20), np.arange(11.0, 200.0)])
"""In the clock's time."""


def third(flow: Any, t: Any, y: Any) -> Any:
    """The third singular value of W over its first."""
    values = measure.singular_values(flow, t, y)
    return values[2] / values[0]


def ranks(flow: Any, t: Any, y: Any) -> Any:
    """The stable ranks of the neurons that count positively and of those that count negatively."""
    inner = y.get("direction", y)["a"]
    return jnp.stack([measure.stable_rank(None, t, {"a": rows, "c": rows[:, 0]}) for rows in (inner[0::2], inner[1::2])])


def spread(flow: Any, t: Any, y: Any) -> Any:
    """The largest y f of a sample over the smallest, less 1; infinite until all samples are classified."""
    margins = flow.data.y * flow.outputs(y) if hasattr(flow, "data") else flow.inner.data.y * flow.outputs(y)
    return jnp.where(jnp.min(margins) > 0, jnp.max(margins) / jnp.min(margins) - 1, jnp.inf)


ranks.dims = ("sign",)  # pyright: ignore[reportFunctionMemberAccess]
SHARED: dict[str, Callable] = {"rank": measure.stable_rank, "ranks": ranks, "spread": spread, "loss": measure.loss}


def network(slope: float, width: int, dim: int, scale: float) -> models.TwoLayer:
    """f(x) = sum_j a_j phi(w_j.x) with a_j = +-1/sqrt(m), of which only the w_j train.

    Args:
        slope: of phi below zero.
        width: m.
        dim: inputs.
        scale: standard deviation of the start.

    Returns:
        The network.
    """
    name = f"leaky_relu:{slope:g}" if slope else "relu"
    return models.TwoLayer(width, dim, False, name, "sqrt", "a", committee=True, alternating=True, init_scale=scale)


def starts_of(flow: Any, seeds: int) -> np.ndarray:
    """The inner weights that a sweep starts at, shape (seed, neuron, input)."""
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(jnp.arange(seeds))
    found = jax.vmap(flow.init)(keys)
    return np.asarray(found.get("direction", found)["a"])


def flow_of(s: Settings, slope: float) -> flows.DirectionClock:
    """The flow of a slope in the clock, of the exponential loss on the orthonormal data."""
    inner = flows.GradientFlow(network(slope, s.width, s.samples, 1.0), losses.exponential, samples_of(s, slope)["orthonormal"])
    return flows.DirectionClock(inner, order=1, log_norm=np.log(s.start))


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each run a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets by name: `flow-0.5` and so on over `cell` (the data), `seed` and `time`, `descent-0.5` and so on likewise, both with
        `inner` and `outputs` at the end, at the network's own norm; `step-32x100` and so on over `scale`, `seed` and `time`.
    """
    found = Runs(s.leave_out)
    for slope in (*s.slopes, 0.0):
        relu = None if slope else "relu"
        found.add(f"flow-{slope:g}", lambda slope=slope: _flow(s, slope, store, width, progress), relu)
        if "descent" not in s.leave_out:
            found.add(f"descent-{slope:g}", lambda slope=slope: _descent(s, slope, store, width, progress), relu)
    for neurons, dim in s.sizes:
        found.add(f"step-{neurons}x{dim}", lambda neurons=neurons, dim=dim: _steps(s, neurons, dim, store, width, progress), "step")
    return found


def _flow(s: Settings, slope: float, store: Path | None, width: int | None, progress: bool) -> xr.Dataset:
    """The flow of a slope on all data sets."""
    samples, flow = samples_of(s, slope), flow_of(s, slope)
    ds = sweep(
        flow,
        s.seeds,
        {("inner.data.x", "inner.data.y"): _rows(samples)},
        t1=LONG,
        record=RECORDS,
        observe=SHARED | {"log_time": measure.log_time, "log_norm": measure.log_norm, "third": third},
        stop=Reached(s.decades * np.log(10)),
        solver=dfx.Tsit5(),  # explicit steps suffice to some hundred decades, and compile sooner
        rtol=s.rtol,
        max_steps=20_000,
        locate_kinks=slope in (0.0, s.slopes[-1]),  # leaky neurons slide on hardly orthogonal data only
        out=store,
        width=width,
        group=f"flow-{slope:g}",
        progress=f"flow, slope {slope:g}" if progress else False,
    )
    return _ends(flow, samples, ds)


def _descent(s: Settings, slope: float, store: Path | None, width: int | None, progress: bool) -> xr.Dataset:
    """Gradient descent of a slope on all data sets."""
    samples = samples_of(s, slope)
    plain = flows.GradientFlow(network(slope, s.width, s.samples, s.start), losses.logistic, samples["orthonormal"])
    descent = flows.StochasticDescent(plain, s.rate)
    ds = sweep(
        descent,
        s.seeds,
        {("flow.data.x", "flow.data.y"): _rows(samples)},
        t1=s.rate * s.steps,
        record=np.concatenate([[0.0], s.rate * np.unique(np.geomspace(1, s.steps, 60).round())]),
        observe=SHARED | {"size": measure.parameter_norm},
        max_steps=s.steps + 1,
        out=store,
        width=width,
        group=f"descent-{slope:g}",
        progress=f"descent, slope {slope:g}" if progress else False,
    )
    return _ends(descent, samples, ds)


def _rows(samples: dict[str, data.Samples]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(one.x), np.asarray(one.y)) for one in samples.values()]


def drawn_for(s: Settings, dim: int) -> data.Samples:
    """The random directions on which first steps are taken, in all their coordinates."""
    return data.nearly_orthogonal(s.samples, dim, key=jr.key(DATA_KEY), norm=1.0, balanced=True)


def step_of(s: Settings, neurons: int, dim: int, scale: float) -> flows.StochasticDescent:
    """Gradient descent of the smallest slope, of the logistic loss, in all coordinates of the inputs."""
    return flows.StochasticDescent(
        flows.GradientFlow(network(s.slopes[0], neurons, dim, scale), losses.logistic, drawn_for(s, dim)), s.rate
    )


def _steps(s: Settings, neurons: int, dim: int, store: Path | None, width: int | None, progress: bool) -> xr.Dataset:
    """First steps of gradient descent from starts of all scales."""
    steps = s.first if (neurons, dim) == s.sizes[0] else 3
    ds = sweep(
        step_of(s, neurons, dim, s.scales[0]),
        s.seeds,
        {"flow.model.init_scale": list(s.scales)},
        t1=s.rate * steps,
        record=np.concatenate([[0.0], s.rate * np.unique(np.geomspace(1, steps, 30).round())]),
        observe={"rank": measure.stable_rank, "loss": measure.loss},
        max_steps=steps + 1,
        out=store,
        group=f"step-{neurons}x{dim}",
        width=width,
        progress=f"step, {neurons} x {dim}" if progress else False,
    )
    return _renamed(ds, "scale").assign_coords(scale=("scale", list(s.scales)))


def _renamed(ds: xr.Dataset, name: str) -> xr.Dataset:
    """The grid's only dimension by another name, without the coordinates of single leaves."""
    (first,) = (dim for dim in ds["outcome"].dims if dim != "seed")
    plain = ds.rename({first: name}) if first != name else ds
    return plain.drop_vars([one for one in plain.coords if one not in ("seed", "time")])


def _ends(flow: Any, samples: dict[str, data.Samples], ds: xr.Dataset) -> xr.Dataset:
    """With the weights and outputs at the end, at the network's own norm, and the end's logarithm of time."""
    plain = _renamed(ds, "cell").assign_coords(cell=list(samples))
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]
    clocked = isinstance(flow, flows.DirectionClock)

    def of(flat: Array, x: Array) -> tuple[Array, Array]:
        y = unravel(flat)
        params = flow.weights(y) if clocked else y
        factor = jnp.exp(y["log_norm"]) if clocked else 1.0
        model = flow.inner.model if clocked else flow.flow.model
        return factor * params["a"], factor * model.apply(params, x)

    stacked = jnp.stack([jnp.asarray(one.x) for one in samples.values()])
    inner, outputs = jax.jit(jax.vmap(lambda rows, x: jax.vmap(lambda row: of(row, x))(rows)))(jnp.asarray(plain["params"].values), stacked)
    late = plain["log_time_end"].values if clocked else np.log(plain["t_end"].values)
    return plain.assign(
        inner=(("cell", "seed", "hidden", "dim"), np.asarray(inner)),
        outputs=(("cell", "seed", "sample"), np.asarray(outputs)),
        late=(("cell", "seed"), late),
    )
