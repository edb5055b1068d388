"""The sweeps of the lab; nothing here but declarations."""

from pathlib import Path

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from ... import data, flows, losses, measure, models
from ..._types import Params
from ...ensemble import sweep
from ..parts import Runs
from .settings import Settings

GRID = np.linspace(-1.0, 1.0, 201)
LIMIT_POINTS = (np.asarray([-0.5, 0.0, 0.5, 1.0]), np.asarray([1.0, -1.0, -1.0, 1.0]))
"""Four points, because the clamped spline's kernel has condition 1e3 on them and 4e4 on ten: every mode must have converged."""
LIMIT_TIME = 5e3
LAZY_TIME = 10.0
REDUCED_TIME = 2.0
REDUCED_TOLERANCES = (1e-6, 1e-8)
FREEZING_DELTAS = (-300.0, -1000.0, -3000.0, -10000.0)


def knot_weights(flow: flows.AbstractFlow, t: Array, params: Params) -> Array:
    """How much each knot bends the function: |c_i| |a_i|, shape (hidden,)."""
    return abs(params["c"] * params["a"][:, 0])


def square(s: Settings) -> data.Samples:
    """The data of the regimes."""
    return data.square_wave(n=s.samples, periods=s.periods)


def network(s: Settings, **more: object) -> models.TwoLayer:
    """The network of the regimes, balanced to a given delta."""
    return models.TwoLayer(width=s.neurons, balanced=True, knots=(-s.reach, s.reach), init_scale=s.init_scale, **more)  # pyright: ignore[reportArgumentType]


def regimes(s: Settings) -> dict[str, float]:
    """Names and imbalances."""
    return {"kernel": s.kernel_delta, "intermediate": s.intermediate_delta, "adaptive": s.adaptive_delta}


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All sweeps of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each sweep a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        The Datasets by name.
    """

    def swept(name: str, flow: flows.AbstractFlow, seeds: int, over: dict | None = None, **how: object) -> xr.Dataset:
        label = f"{name:9s}" if progress else False
        how.setdefault("solver", dfx.Tsit5())  # one for all lanes, as sweeps are compared; and the observables compile once
        return sweep(flow, seeds, over, out=store, group=name, width=width, progress=label, **how)  # pyright: ignore[reportArgumentType]

    samples = square(s)
    flow = flows.GradientFlow(network(s), losses.square, samples)
    near = {
        "loss": measure.loss,
        "ntk_change": measure.ntk_change,
        "knot_movement": measure.knot_movement,
        "weight_near_samples": measure.weight_near_samples,
        "linear_distance": measure.linear_spline_distance(samples),
        "cubic_distance": measure.cubic_spline_distance(samples),
        "f": measure.function_on(GRID),
        "knots": measure.knots,
        "knot_weights": knot_weights,
        "slides": measure.slides,
        "sliding_weight": measure.sliding_weight,
    }
    timed = ("model.delta", "t1")
    found = Runs(s.leave_out)
    found.add(
        "regimes",
        lambda: swept(
            "regimes",
            flow,
            s.seeds,
            {timed: [(delta, s.end_time(delta, s.scaled_time)) for delta in regimes(s).values()]},
            observe=near,
            rtol=s.rtol,
            record=60,
        ),
    )
    found.add(
        "phase",
        lambda: swept(
            "phase",
            flow,
            max(2, s.seeds // 4),
            {"model.init_scale": s.phase_scales, timed: [(delta, s.end_time(delta, s.phase_time)) for delta in s.phase_deltas]},
            observe={name: near[name] for name in ("loss", "ntk_change", "knot_movement")},
            rtol=s.rtol,
            record=2,
        ),
    )
    found.add(
        "freezing",
        lambda: swept(
            "freezing",
            flow,
            s.seeds,
            {timed: [(delta, s.end_time(delta, s.phase_time)) for delta in FREEZING_DELTAS]},
            observe={name: near[name] for name in ("loss", "ntk_change", "knot_movement")},
            rtol=s.rtol,
            record=2,
        ),
    )
    small = models.TwoLayer(width=32, balanced=True, delta=-3.0, knots=(-s.reach, s.reach))
    watch = {"f": measure.function_on(GRID[::5])}
    full = flows.GradientFlow(small, losses.square, samples)
    reduced = flows.ReducedFlow(small, losses.square, samples)
    how = {"t1": REDUCED_TIME, "observe": watch, "record": 30}
    found.add("full", lambda: swept("full", full, s.seeds, {"rtol": REDUCED_TOLERANCES}, **how))
    found.add("reduced", lambda: swept("reduced", reduced, s.seeds, rtol=REDUCED_TOLERANCES[-1], **how))
    points = data.points(*map(jnp.asarray, LIMIT_POINTS), name="four points")
    one_sided = models.TwoLayer(width=s.limit_widths[0], trains=("c",), knots=(-1.0, 1.0), orientation=1, scale_c=0.0)
    found.add(
        "limit",
        lambda: swept(
            "limit",
            flows.GradientFlow(one_sided, losses.square, points),
            s.seeds,
            {"model.width": s.limit_widths},
            t1=LIMIT_TIME,
            observe={"f": measure.function_on(GRID), "loss": measure.loss},
            record=2,
            rtol=s.rtol,
        ),
    )
    wave = data.sinusoid(n=s.samples)
    lazy = {("model.output_multiplier", "t1"): [(c, LAZY_TIME / c**2) for c in s.lazy_multipliers]}
    for name, antisymmetric in (("lazy", False), ("paired", True)):
        model = models.Centred(models.TwoLayer(width=64, activation="tanh", antisymmetric=antisymmetric))
        centred = flows.GradientFlow(model, losses.square, wave)
        ntk = {"ntk_change": measure.ntk_change}
        found.add(name, lambda name=name, flow=centred, ntk=ntk: swept(name, flow, s.seeds, lazy, observe=ntk, record=2, rtol=1e-7))
    return found


def starts(s: Settings, delta: float, seeds: np.ndarray) -> dict[str, np.ndarray]:
    """The starts of a regime's lanes, drawn again from their seeds.

    Args:
        s: the settings.
        delta: the regime's imbalance.
        seeds: the seeds.

    Returns:
        a, b, c with a leading axis over the seeds.
    """
    model, key = network(s, delta=delta), jax.random.key(0)
    drawn = jax.vmap(lambda seed: model.init(jax.random.fold_in(key, seed)))(np.asarray(seeds, np.uint32))
    return {name: np.asarray(leaf) for name, leaf in drawn.items()}
