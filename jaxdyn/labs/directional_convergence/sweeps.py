"""The lab's runs: every network from many starts of every size, and what their ends are."""

from pathlib import Path
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from ... import flows, losses, measure
from ...ensemble import polish_lanes, sweep
from ...solve import GradientNormBelow, StopWhen, solve
from ..parts import Runs
from .networks import make_flow, make_model, samples_in_plane
from .saddles import beside_saddle, orthonormal
from .settings import Settings

TINY = 1e-150
"""The absolute tolerance: each weight has its own relative accuracy, however far it lags behind."""
FOREVER = 1e12
"""The clock's time at which a run is given up: its weights have collapsed."""
MOST_STEPS, MOST_DEEP_STEPS = 1500, 300
"""Twice what a start of 1e-100 takes, with accuracy of every weight by itself and without; a run that needs more counts against the "
"claims."""
STILL, REST = 1e-3, 1e-11
"""The flow on the sphere is left for Newton's method below the first gradient; that ends below the second."""
STORY = 60.0
"""How far the starts of the story are followed, in the clock's time."""


def grown(flow: flows.DirectionClock, t: Any, state: Any) -> Any:
    """Whether the norm is the square root of what it was."""
    assert flow.log_norm is not None
    return state["log_norm"] >= flow.log_norm / 2


def inner_weights(flow: Any, t: Any, state: Any) -> Any:
    """The inner weights of a two-layer network, of the direction."""
    return flow.weights(state)["a"]


def outer_weights(flow: Any, t: Any, state: Any) -> Any:
    """Its output weights."""
    return flow.weights(state)["c"]


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each sweep a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets by name: one a network of `s.cells`, what its direction is when the norm is the square root of delta; `few`, the count of
        collapses; `newton`, KKT points by the flow and by Newton's method, and the times of rays from there; `story`, some starts
        followed to the end; `saddle` and `orthonormal`, see `run_saddles`.
    """

    def swept(name: str, flow: Any, seeds: int, over: dict[Any, Any], **how: Any) -> xr.Dataset:
        cells = int(np.prod([len(values) for values in over.values()]))
        how = {"rtol": s.rtol, "atol": TINY, "record": 2, "solver": dfx.Tsit5(), "max_steps": MOST_STEPS} | how
        bar = f"{name:14s}" if progress else False
        # all lanes at once: they take about as long as each other, and their order needs no guess
        return sweep(flow, seeds, over, out=store, group=name, width=width or seeds * cells, progress=bar, **how)

    found = Runs(s.leave_out)
    watched = {"size": measure.log_norm, "log_time": measure.log_time}
    for name, (depth, power) in s.cells.items():
        flow = make_flow(s, depth, power)
        over = {"log_norm": list(np.log(s.sizes if depth == 2 else s.deep_sizes))}
        accuracy = (
            {} if depth == 2 else {"atol": 1e-2 * s.rtol, "max_steps": MOST_DEEP_STEPS if power == 1 else MOST_STEPS, "norm_bound": 1e300}
        )
        ds = swept(name, flow, s.seeds, over, t1=FOREVER, stop=StopWhen(grown), observe=watched, **accuracy)
        found[name] = ends_of(flow, ds)
    numbers = xr.DataArray(list(s.few), dims="number", name="number")
    found.add("few", lambda: xr.concat([_collapses(s, swept, number) for number in s.few], numbers))
    found.add("newton", lambda: _newton(s, progress))
    found.add(
        "story",
        lambda: swept(
            "story",
            make_flow(s, 2, 2),
            1,
            {"log_norm": list(np.log(s.story_sizes))},
            t1=STORY,
            record=np.linspace(0.0, STORY, 1201),
            observe=watched | {"loss": measure.loss, "a": inner_weights, "c": outer_weights},
        ),
    )
    found.add("saddle", lambda: beside_saddle(s, swept))
    found.add("orthonormal", lambda: orthonormal(s, swept))
    return found


def _collapses(s: Settings, swept: Any, number: int) -> xr.Dataset:
    flow = make_flow(s, 2, 2, number, balanced=True)
    ds = swept(f"few-{number}", flow, s.collapse_seeds, {"log_norm": [np.log(1e-8)]}, t1=1e6, stop=StopWhen(grown))
    return ds[["outcome", "t_end"]].isel(log_norm=0, drop=True)


def ends_of(flow: Any, ds: xr.Dataset) -> xr.Dataset:
    """What the directions at the ends of a sweep over sizes are.

    Args:
        flow: its flow.
        ds: the sweep.

    Returns:
        Over `size` (log delta) and `seed`: the norm's and the time's logarithms, N, the cosine, the KKT residual and the multiplier, the
        shares of layers and of rank one, sizes and angles of neurons where there is one layer of them, and the drift of what is conserved.
    """
    like = flow.init(jr.key(0))
    unravel = ravel_pytree(like)[1]
    zero = jnp.zeros(())
    inner, deep = flow.inner, isinstance(like["direction"], list)

    def one(flat: Any, start: Any, growth: Any) -> dict[str, Any]:
        v, v0 = flow.weights(unravel(flat)), flow.weights(start)
        kkt = measure.correlation_kkt(inner, v, 1e-4)
        rank = measure.rank_one_share(inner, zero, v)
        parts = {
            "N": measure.correlation(inner, zero, v),
            "start_N": measure.correlation(inner, zero, v0),
            "cosine": measure.correlation_cosine(inner, zero, v),
            "residual": kkt.residual,
            "shares": measure.layer_shares(inner, zero, v),
            "rank_one": jnp.atleast_1d(rank),
            "drift": jnp.max(jnp.abs(inner.model.conserved(v) - inner.model.conserved(v0) * jnp.exp(-2 * growth))),
        }
        return parts if deep else parts | {"a": v["a"], "c": v["c"]}

    starts = jax.vmap(lambda seed: flow.init(jr.fold_in(jr.key(0), seed)))(jnp.asarray(ds["seed"].values))
    growth = ds["size_end"].values - ds["log_norm"].values[:, None]
    each = jax.jit(jax.vmap(one))
    rows = [each(jnp.asarray(ds["params"].values[k]), starts, jnp.asarray(growth[k])) for k in range(ds.sizes["log_norm"])]
    axes = {"shares": ("layer",), "rank_one": ("matrix",), "a": ("neuron", "input"), "c": ("neuron",)}
    parts = {name: (("log_norm", "seed", *axes.get(name, ())), np.stack([np.asarray(row[name]) for row in rows])) for name in rows[0]}
    kept = ds[["size_end", "log_time_end", "outcome", "t_end", "num_accepted_steps"]]
    return kept.assign(parts).rename({"size_end": "norm", "log_time_end": "log_time"})


def _newton(s: Settings, progress: bool) -> xr.Dataset:
    """KKT points of the relu^2 network twice, by the flow alone and by Newton's method, and the time of rays from there."""
    sphere = flows.CorrelationFlow(make_model(s, 2, 2), losses.square, samples_in_plane(s))
    starts = jax.vmap(sphere.init)(jr.split(jr.key(1), s.seeds))

    @jax.jit
    def flown(starts: Any, until: Any) -> Any:
        return jax.vmap(lambda y: solve(sphere, y, 1e5, stop=GradientNormBelow(until), rtol=1e-9).params)(starts)

    ends, still = flown(starts, STILL), flown(starts, 1e-8)
    polished = polish_lanes(sphere, ends, tolerance=REST, progress="Newton" if progress else False)
    apart = jax.vmap(lambda a, b: ravel_pytree(sphere.weights(a))[0] - ravel_pytree(sphere.weights(b))[0])(polished.params, still)
    residual = jax.vmap(lambda y: measure.correlation_kkt_residual(sphere, jnp.zeros(()), y))(polished.params)
    best = -np.asarray(jax.vmap(sphere.loss)(polished.params))
    clock, log_size = make_flow(s, 2, 2), float(np.log(s.sizes[-1]))

    def ray(y: Any) -> Any:
        state = clock.start(sphere.weights(y)) | {"log_norm": jnp.asarray(log_size)}
        end = solve(clock, state, FOREVER, stop=StopWhen(lambda flow, t, z: z["log_norm"] >= log_size / 2), rtol=1e-9).params
        return clock.log_time(end), end["log_norm"]

    times, norms = jax.jit(jax.vmap(ray))(polished.params)
    L = 3
    exact = -np.log((L - 2) * L * best) - (L - 2) * log_size + np.log1p(-np.exp((L - 2) * (log_size - np.asarray(norms))))
    parts = {
        "converged": np.asarray(polished.converged),
        "residual": np.asarray(residual),
        "steps": np.asarray(polished.num_steps),
        "apart": np.linalg.norm(np.asarray(apart), axis=1),
        "N": best,
        "log_time": np.asarray(times),
        "exact_log_time": exact,
        "a": np.asarray(polished.params["a"]),
    }
    return xr.Dataset({name: (("seed", "neuron", "input")[: part.ndim], part) for name, part in parts.items()})
