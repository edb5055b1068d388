"""The lab's runs, and the critical points at their ends."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from ... import measure
from ...ensemble import sweep
from ...solve import GradientNormBelow, polish, solve
from ...ensemble import polish_lanes
from .gradients import formula_against_samples, signs_of_cross_term
from .settings import Settings
from .starts import BallStart, NoisyStart, PlaneStart, make_flow, on_plane, saddle_of

NEAR = 1e-2
"""Students have arrived at their teachers once (x - 1)^2 + (K - 1) y^2 is below this."""
DETOUR = 20.0
"""How long the runs off the diagonal are followed."""
BESIDE = 0.1
"""Where the runs begin that measure the delay: x + y is twice this."""
FINE = np.linspace(0.0, DETOUR, 2001)


def theta(flow: Any, t: Any, y: Any) -> Any:
    """The angle of one neuron to its teacher."""
    return y["theta"]


def abscissa(flow: Any, t: Any, y: Any) -> Any:
    """x of the invariant plane."""
    return y["x"]


def ordinate(flow: Any, t: Any, y: Any) -> Any:
    """y of the invariant plane."""
    return y["y"]


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each sweep a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets by name: `ball` (one neuron), `formula`, `signs` (of L_12), `path`, `diagonal` and `delay` (in the plane), `plane` (full flow
        against the plane's, and the saddle), `noise-K`, `weights-K` (recovery), `out` (critical points out of the plane), `extra`.
    """

    def swept(name: str, flow: Any, seeds: int, **how: Any) -> xr.Dataset:
        bar = f"{name:9s}" if progress else False
        return sweep(flow, seeds, out=store, group=name, width=width, progress=bar, **({"rtol": s.rtol, "record": 2} | how))

    watch = {"abscissa": abscissa, "ordinate": ordinate}
    numbers = ("flow.number", "x", "y")
    balls = [(float(d), eps * np.sqrt(2 * np.pi / (d + 1))) for d in s.dims for eps in s.radii]
    found = {
        "ball": swept(
            "ball",
            BallStart(),
            s.starts,
            over={("dim", "radius"): balls},
            t1=1e3,
            observe={"theta": theta},
            record=50,
            stop=GradientNormBelow(1e-8),
        ),
        "formula": formula_against_samples(s),
        "signs": signs_of_cross_term(s),
        "path": swept("path", PlaneStart(), 1, over={numbers: [(k, s.start, 0.0) for k in s.sizes]}, t1=DETOUR, observe=watch, record=FINE),
        "diagonal": swept(
            "diagonal",
            PlaneStart(),
            1,
            over={numbers: [(k, x, x) for k in s.sizes for x in (s.start, 1.0)]},
            t1=200.0,
            observe=watch,
            record=np.linspace(0.0, 200.0, 201),
        ),
    }
    rates = {k: unstable_rate(k) for k in s.sizes}
    rows = [(k, BESIDE + d / 2, BESIDE - d / 2, DETOUR + np.log(1 / d) / rates[k]) for k in s.sizes for d in s.distances]
    end = max(row[-1] for row in rows)
    found["delay"] = swept(
        "delay",
        PlaneStart(),
        1,
        over={numbers: [row[:-1] for row in rows]},
        t1=end,
        observe=watch,
        record=np.linspace(0.0, end, 4001),
    )
    found["plane"] = _in_the_full_flow(s)
    for k in s.sizes:
        for name, weights, noises in (("noise", np.ones(k), s.noises), ("weights", spread_weights(s, k), s.noises[:1])):
            flow = NoisyStart(make_flow(k, k, k, weights), s.start)
            ds = swept(
                f"{name}-{k}",
                flow,
                s.seeds,
                over={"noise": list(noises)},
                t1=1e4,
                rtol=100 * s.rtol,
                stop=GradientNormBelow(1e-5),
            )
            found[f"{name}-{k}"] = _recovered(k, ds)
    found["out"] = _out_of_plane(s)
    extra = make_flow(2, 1, 3)
    times = np.concatenate([[0.0], np.geomspace(1.0, s.extra_time, 41)])
    observe = {"loss": measure.loss, "gradient_norm": measure.gradient_norm}
    found["extra"] = swept("extra", extra, s.extra_seeds, t1=s.extra_time, record=times, observe=observe)
    return found


def spread_weights(s: Settings, k: int) -> np.ndarray:
    """Output weights that differ: a geometric row, its middle at 1.

    Args:
        s: the settings.
        k: how many.

    Returns:
        The weights.
    """
    return s.weight_ratio ** (np.arange(k) / (k - 1) - 0.5)


def plane_jacobian(number: int, x: float, y: float) -> np.ndarray:
    """The derivatives of the plane's velocity by (x, y).

    Args:
        number: K.
        x: where.
        y: where.

    Returns:
        A matrix of two rows.
    """
    flow = PlaneStart(number)

    def field(z: jax.Array) -> jax.Array:
        velocity = flow.vector_field(jnp.zeros(()), {"x": z[0], "y": z[1]})
        return jnp.stack([velocity["x"], velocity["y"]])

    return np.asarray(jax.jacfwd(field)(jnp.asarray([x, y])))


def unstable_rate(number: int) -> float:
    """The largest eigenvalue of the plane's velocity at the saddle."""
    place = float(saddle_of(number))
    return float(np.max(np.linalg.eigvals(plane_jacobian(number, place, place)).real))


def arrival(number: float, times: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """The first time at which (x - 1)^2 + (K - 1) y^2 is below `NEAR`, by a cubic spline through the records.

    Args:
        number: K.
        times: of the records.
        x: there.
        y: there.

    Returns:
        The time; NaN where that does not happen.
    """
    distance = (x - 1) ** 2 + (number - 1) * y**2
    below = np.flatnonzero(distance < NEAR)
    if not below.size or below[0] == 0:
        return np.nan
    near = slice(max(below[0] - 6, 0), below[0] + 6)
    roots = CubicSpline(times[near], np.log(distance[near])).solve(np.log(NEAR), extrapolate=False)
    return float(roots[0])


def _in_the_full_flow(s: Settings) -> xr.Dataset:
    """The plane within the population flow: how far the two flows are apart, and what the saddle is in each."""
    times = np.linspace(0.0, DETOUR, 41)
    rows = []
    for k in s.sizes:
        flow = make_flow(k, k, k)
        full = solve(flow, on_plane(k, s.start, 0.0), DETOUR, record=times, rtol=s.rtol).states["a"]
        plane = solve(PlaneStart(k), {"x": jnp.asarray(s.start), "y": jnp.zeros(())}, DETOUR, record=times, rtol=s.rtol).states
        expected = plane["y"][:, None, None] + (plane["x"] - plane["y"])[:, None, None] * jnp.eye(k)
        own = jnp.diagonal(full, axis1=1, axis2=2)
        x, y = own.mean(1), (full.sum((1, 2)) - own.sum(1)) / (k * (k - 1))
        off = full - (y[:, None, None] + (x - y)[:, None, None] * jnp.eye(k))
        place = float(saddle_of(k))
        point = on_plane(k, place, place)
        kind = measure.critical_point(flow, jnp.zeros(()), point)
        # from nearby, off the diagonal and off the plane, and back
        nudged = {"a": point["a"] + 1e-3 * jr.normal(jr.key(k), point["a"].shape), "c": point["c"]}
        slopes = np.sort(np.linalg.eigvals(plane_jacobian(k, place, place)).real)
        rows.append({
            "apart": float(jnp.max(jnp.abs(full - expected))),
            "off_plane": float(jnp.max(jnp.abs(off))),
            "gradient_norm": float(measure.gradient_norm(flow, jnp.zeros(()), point)),
            "index": int(kind.index),
            "flat": int(kind.dimension),
            "gap": float(kind.gap),
            "lowest": float(kind.eigenvalues[0]),
            "stable": float(slopes[0]),
            "unstable": float(slopes[1]),
            "leaves_to": float(polish(flow, nudged).loss),
        })
    return xr.Dataset({name: ("K", [row[name] for row in rows]) for name in rows[0]}, {"K": list(s.sizes)})


def _recovered(k: int, ds: xr.Dataset) -> xr.Dataset:
    """Which runs ended at a permutation of the teacher, and at the identity."""
    students = ds["params"].values[..., : k * k].reshape(*ds["params"].shape[:-1], k, k)
    flat = students.reshape(-1, k, k)
    size = np.isfinite(flat).all((1, 2))
    matches = [measure.match_neurons(one, np.eye(k), by="distance") if good else None for one, good in zip(flat, size, strict=True)]
    far = [np.nan if m is None else np.abs(one[m.permutation] - np.eye(k)).max() for one, m in zip(flat, matches, strict=True)]
    same = [m is not None and bool((m.permutation == np.arange(k)).all()) for m in matches]
    shape, dims = students.shape[:-2], ds["loss_end"].dims
    plain = ds[["loss_end", "outcome", "t_end", "num_accepted_steps"]]
    return plain.assign(distance=(dims, np.reshape(far, shape)), identity=(dims, np.reshape(same, shape)))


def _out_of_plane(s: Settings) -> xr.Dataset:
    """Critical points of two students, looked for from starts out of the plane of two teachers, and their Hessians."""
    dim = 2 + s.extra_dim
    flow = make_flow(2, 2, dim)
    starts = jax.vmap(flow.init)(jr.split(jr.key(1), s.out_of_plane))
    points = polish_lanes(flow, starts, tolerance=1e-11, max_steps=400, saddles=True, method="eigen", batch=16)
    kinds = jax.lax.map(lambda params: measure.critical_point(flow, jnp.zeros(()), params, 1e-7), points.params)
    students = points.params["a"]
    turn = jnp.linalg.qr(jr.normal(jr.key(2), (s.extra_dim, s.extra_dim)))[0]
    turned = {"a": students.at[:, :, 2:].set(students[:, :, 2:] @ turn), "c": points.params["c"]}
    norms = jax.vmap(lambda params: measure.gradient_norm(flow, jnp.zeros(()), params))(turned)
    outer = np.linalg.svd(np.asarray(students[:, :, 2:]), compute_uv=False)
    columns = {
        "loss": points.loss,
        "gradient_norm": points.gradient_norm,
        "converged": points.converged,
        "index": kinds.index,
        "flat": kinds.dimension,
        "gap": kinds.gap,
        "turned": norms,
        "moved": jnp.max(jnp.abs(turned["a"] - students), axis=(1, 2)),
        "shortest": jnp.min(jnp.linalg.norm(students, axis=2), axis=1),
    }
    ds = xr.Dataset({name: ("start", np.asarray(column)) for name, column in columns.items()})
    return ds.assign(outer=(("start", "rank"), outer), student=(("start", "neuron", "dim"), np.asarray(students)))
