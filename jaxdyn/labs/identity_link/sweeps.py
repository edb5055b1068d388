"""The lab's runs, and what is measured without running anything."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from ... import flows, measure
from ...ensemble import polish_lanes, sweep
from ..parts import Runs
from .settings import Settings
from .starts import Started, random_pair, two_phase_pair

LINKS = ("identity", "vanilla")
SCALES = 0.5 ** np.arange(1, 9)
"""Scales of W and W* at which the decay of g is compared to its first order."""
SAMPLES, BATCHES = 4000, 100
"""Fresh samples that the gradient's formula is compared to, in batches whose spread is the error."""
REST = 1e-10
"""The gradient's norm below which a point counts as at rest."""


def teacher(s: Settings) -> np.ndarray:
    """W* of the runs by SGD: Gaussian, the same for all.

    Args:
        s: the settings.

    Returns:
        Its matrix.
    """
    return s.scale * np.random.default_rng(s.dim).standard_normal((s.dim, s.dim)) / np.sqrt(s.dim)


def distance(flow: Any, t: Any, params: Any) -> Any:
    """|W - W*|_F, an observable."""
    return jnp.linalg.norm(params["w"] - flow.teacher)


def weights(flow: Any, t: Any, params: Any) -> Any:
    """W, an observable."""
    return params["w"]


weights.dims = ("neuron", "input")


def watched(target: np.ndarray) -> dict[str, Callable]:
    """The observables of all runs.

    Args:
        target: W*.

    Returns:
        Names to functions.
    """
    goal = {"w": jnp.asarray(target)}
    return {
        "loss": measure.loss,
        "distance": distance,
        "inner": measure.one_point_convexity(goal),
        "ratio": measure.one_point_convexity(goal, relative=True),
        "potential": measure.potential,
    }


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each run a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets: `flow` over `link`, `seed`, `time`; `sgd` over `rate` too, where only the first learning rate has the vanilla link;
        `decay` over `seed`, `time`; `phases` over `run`, `time`; `starts`, `scales`, `formula`, `points`, `permuted`.
    """
    target = teacher(s)
    flow = Started(target)
    starts = [(0.0, s.scale), (1.0, s.vanilla_scale)]
    watch = watched(target) | {"weights": weights}

    def swept(one: Any, group: str, seeds: Any = s.seeds, **more: Any) -> xr.Dataset:
        how = {"observe": watch, "record": s.times, "t1": s.end_time} | more
        if not isinstance(one, flows.StochasticDescent):
            how["rtol"] = s.rtol
        return sweep(one, seeds, out=store, group=group, width=width, progress=f"{group:9s}" if progress else False, **how)

    first, *others = s.learning_rates
    cells = [(*start, first) for start in starts] + [(*starts[0], rate) for rate in others]

    def flown() -> xr.Dataset:
        both = swept(flow, "flow", over={("gap", "scale"): starts})
        (grid,) = (dim for dim in both["loss"].dims if dim not in ("seed", "time"))
        return _plain(both, [*KEPT, "weights"]).rename({grid: "link"}).assign_coords(link=list(LINKS))

    def stepped() -> xr.Dataset:
        sgd = flows.StochasticDescent(flow, first, batch=s.batch)
        steps = swept(sgd, "sgd", over={("flow.gap", "flow.scale", "learning_rate"): cells})
        (cell,) = (dim for dim in steps["loss"].dims if dim not in ("seed", "time"))
        columns = {"link": ("cell", [LINKS[int(gap)] for gap, *_ in cells]), "rate": ("cell", [rate for *_, rate in cells])}
        return _plain(steps, [*KEPT, "weights"]).rename({cell: "cell"}).assign_coords(columns)

    def slowed() -> xr.Dataset:
        slower = flows.StochasticDescent(Started(target, scale=s.scale), decaying(s.decay_rate, s.decay_offset), batch=s.batch)
        times = np.linspace(0.0, 0.999 * s.decay_time, 40)
        return _plain(swept(slower, "decay", t1=s.decay_time, record=times, observe=watched(target)), KEPT)

    def phased() -> xr.Dataset:
        phases: list[xr.Dataset] = []
        for run in range(s.phase_runs):
            start, goal = two_phase_pair(s.phase_dim, s.phase_norm, run)
            ds = swept(Started(goal, start), f"phases {run}", 1, t1=s.phase_time, record=s.phase_times, observe=watched(goal))
            phases.append(ds[list(watched(goal))].isel(seed=0, drop=True))
        return _plain(xr.concat(phases, "run"), KEPT)

    found = Runs(s.leave_out)
    found.add("flow", flown)
    found.add("sgd", stepped)
    found.add("decay", slowed)
    found.add("phases", phased)
    found.add("starts", lambda: _starts(s))
    found.add("scales", lambda: _scales(s))
    found.add("formula", lambda: _formula(s, target))
    found.add("points", lambda: _points(s, flow, found["flow"], progress))
    found.add("permuted", lambda: _permuted(flow))
    return found


KEPT = ["loss", "distance", "inner", "ratio", "potential"]
"""The observables that all runs share."""


def decaying(c: float, offset: float) -> Callable:
    """Learning rates c / (k + k0), a schedule as optax has them.

    Args:
        c: their numerator.
        offset: k0.

    Returns:
        A function of the number k of the step.
    """
    return lambda k: c / (k + offset)


def _plain(ds: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Some variables of a sweep, without the coordinates of its grid."""
    kept = ds[names].reset_coords(drop=True)
    return kept.drop_vars([name for name in kept.coords if name not in ("seed", "time")])


def _starts(s: Settings) -> xr.Dataset:
    """The direction of the gradient at starts with two phases, and at those that are to have one."""
    look = jax.jit(lambda goal, w: watched(goal)["inner"](Started(goal), jnp.zeros(()), {"w": w}))
    kinds = {
        "two phases": (two_phase_pair, s.phase_dim),
        "random pair": (random_pair, s.phase_dim),
        "small": (two_phase_pair, s.phase_small),
    }
    values = np.empty((len(kinds), s.starts))
    for row, (pair, dim) in enumerate(kinds.values()):
        for k in range(s.starts):
            start, goal = pair(dim, s.phase_norm, k)
            values[row, k] = float(look(jnp.asarray(goal), jnp.asarray(start)))
    return xr.Dataset({"inner": (("kind", "start"), values)}, {"kind": list(kinds)})


def _scales(s: Settings) -> xr.Dataset:
    """The rate of g over its first order, at pairs with the same sum of neurons and a shrinking scale."""

    def rate(goal: Any, w: Any) -> Any:
        flow, params = Started(goal), {"w": w}
        g, change = jax.jvp(lambda at: measure.potential(flow, jnp.zeros(()), at), (params,), (flow.vector_field(jnp.zeros(()), params),))
        return -change / g

    values, rate = np.empty((s.seeds, len(SCALES))), jax.jit(rate)
    for k in range(s.seeds):
        start, goal = _balanced_pair(s.dim, k)
        for column, scale in enumerate(SCALES):
            values[k, column] = float(rate(jnp.asarray(scale * goal), jnp.asarray(scale * start)))
    return xr.Dataset({"rate": (("seed", "scale"), values)}, {"scale": SCALES})


def _balanced_pair(dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian W and W* with sums of neurons 0, and tr(W* - W), which g is to first order, of its usual size, sqrt 2, by a small shift."""
    pair = np.random.default_rng([dim, seed, 2]).standard_normal((2, dim, dim)) / np.sqrt(dim)
    start, goal = pair - pair.mean(axis=1, keepdims=True)
    return start, goal + (np.sqrt(2) - np.trace(goal - start)) / (dim - 1) * (np.eye(dim) - 1 / dim)


def potential_rate(dim: int) -> float:
    """The rate at which g decays, to first order in W and W*.

    Args:
        dim: inputs.

    Returns:
        A number over time.
    """
    return (dim - 1 + math.pi / 2) / math.pi


def section_formula(w: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Minus the gradient of L as the paper writes it, with angles from arccos.

    Args:
        w: W, one row a neuron.
        target: W*.

    Returns:
        A matrix like `w`.
    """
    u, v = np.eye(len(w)) + w, np.eye(len(w)) + target
    lengths_u, lengths_v = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    cosines_v, cosines_u = v @ u.T / np.outer(lengths_v, lengths_u), u @ u.T / np.outer(lengths_u, lengths_u)
    np.fill_diagonal(cosines_u, 1.0)
    angle_v, angle_u = np.arccos(np.clip(cosines_v, -1, 1)), np.arccos(np.clip(cosines_u, -1, 1))
    along = lengths_v @ np.sin(angle_v) - lengths_u @ np.sin(angle_u)
    total = np.pi / 2 * np.sum(target - w, axis=0)[None, :] + (np.pi / 2 - angle_v).T @ v - (np.pi / 2 - angle_u).T @ u
    return (total + (along / lengths_u)[:, None] * u) / np.pi


def _formula(s: Settings, target: np.ndarray) -> xr.Dataset:
    """The flow's field against the paper's formula and against fresh samples, at the first start."""
    flow = Started(target, scale=s.scale)
    params = flow.init(jr.key(1))
    sgd = flows.StochasticDescent(flow, 1.0, batch=SAMPLES)

    @jax.jit
    def sampled(flow: Any) -> Any:
        return jax.lax.map(lambda k: -sgd.stochastic_gradient(params, jr.key(2), k)["w"], jnp.arange(BATCHES))

    field, batches = np.asarray(flow.vector_field(jnp.zeros(()), params)["w"]), np.asarray(sampled(flow))
    variables = {
        "field": field,
        "paper": section_formula(np.asarray(params["w"]), target),
        "sampled": batches.mean(axis=0),
        "error": batches.std(axis=0, ddof=1) / np.sqrt(BATCHES),
    }
    return xr.Dataset({name: (("neuron", "input"), values) for name, values in variables.items()})


def _points(s: Settings, flow: Started, both: xr.Dataset, progress: bool) -> xr.Dataset:
    """Where the runs of the flow come to rest."""
    ends = both["weights"].isel(time=-1).transpose("link", "seed", "neuron", "input").values
    bar, starts = "to rest" if progress else False, {"w": jnp.asarray(ends.reshape(-1, s.dim, s.dim))}
    found = polish_lanes(flow, starts, tolerance=REST, max_steps=1000, method="differences", progress=bar)
    shape = ends.shape[:2]
    numbers = {name: (("link", "seed"), np.asarray(getattr(found, name)).reshape(shape)) for name in ("loss", "gradient_norm")}
    points = (("link", "seed", "neuron", "input"), np.asarray(found.params["w"]).reshape(ends.shape))
    return xr.Dataset({**numbers, "weights": points}, {"link": list(LINKS), "seed": both["seed"].values})


def _permuted(flow: Started) -> xr.Dataset:
    """The solutions in which two neurons are exchanged: their loss, their distance from W*, and their spectral norm."""
    target = np.asarray(flow.teacher)
    dim = len(target)
    pairs = [(i, j) for i in range(dim) for j in range(i)]
    rows = np.tile(np.arange(dim), (len(pairs), 1))
    for row, (i, j) in zip(rows, pairs, strict=True):
        row[[i, j]] = j, i
    solutions = (np.eye(dim) + target)[rows] - np.eye(dim)
    losses = jax.lax.map(lambda w: flow.loss({"w": w}), jnp.asarray(solutions))
    variables = {
        "loss": np.asarray(losses),
        "distance": np.linalg.norm(solutions - target, axis=(1, 2)),
        "norm": np.linalg.norm(solutions, 2, axis=(1, 2)),
    }
    return xr.Dataset({name: ("pair", values) for name, values in variables.items()}, attrs={"norm": float(np.linalg.norm(target, 2))})
