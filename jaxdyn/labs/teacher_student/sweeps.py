"""The lab's runs, and the critical points at their ends."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from ... import measure
from ...ensemble import polish_lanes, sweep
from ...solve import GradientNormBelow, solve
from ..parts import Runs
from .gradients import formula_against_samples, signs_of_cross_term
from .settings import Settings
from .starts import BallStart, NoisyStart, PlaneStart, make_flow, on_plane, saddle_of

NEAR = 1e-2
"""Students have arrived at their teachers once (x - 1)^2 + (K - 1) y^2 is below this."""
DETOUR = 20.0
"""How long runs off the diagonal are followed, beyond the delay that is expected."""
BESIDE = 0.1
"""Where the runs begin that measure the delay: x + y is twice this."""
EXTRA_DIM = 3
"""Inputs of two students and one teacher."""
ZERO = 1e-7
"""Eigenvalues of a Hessian below this share of the largest are zero."""
RECOVERED = 1e-2
"""A run has recovered the teacher if no weight is farther away than this, up to the order of the neurons."""
MOST_STEPS = 5000
"""Ten times what a run with noise takes; where a neuron's length nearly reaches 0 its direction is stiff."""


def theta(flow: Any, t: Any, y: Any) -> Any:
    """The angle of one neuron to its teacher."""
    return y["theta"]


def length(flow: Any, t: Any, y: Any) -> Any:
    """The length of one neuron."""
    return y["r"]


def abscissa(flow: Any, t: Any, y: Any) -> Any:
    """The coordinate x of the invariant plane."""
    return y["x"]


def ordinate(flow: Any, t: Any, y: Any) -> Any:
    """The coordinate y of the invariant plane."""
    return y["y"]


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each sweep a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets by name: `ball`, one neuron; `formula`, the gradient against samples; `signs`, of L_12; `plane`, runs in the invariant
        plane; `full`, the plane and its saddle in the population flow; `noise-K`, recovery; `out`, critical points out of the teachers'
        plane; `extra`, two students and one teacher.
    """

    def swept(name: str, flow: Any, seeds: int, **how: Any) -> xr.Dataset:
        bar = f"{name:9s}" if progress else False
        return sweep(flow, seeds, out=store, group=name, width=width, progress=bar, **({"rtol": s.rtol, "record": 2} | how))

    def balls() -> xr.Dataset:
        cells = [(d, eps) for d in s.dims for eps in s.radii]
        over = {("dim", "radius"): [(float(d), eps * np.sqrt(2 * np.pi / (d + 1))) for d, eps in cells]}
        how = {"t1": 1e3, "observe": {"theta": theta, "r": length}, "record": 50, "stop": GradientNormBelow(1e-8)}
        ds = swept("ball", BallStart(), s.starts, over=over, **how)
        return _with_coordinates(ds, {"d": [d for d, _ in cells], "eps": [eps for _, eps in cells]})

    def plane() -> xr.Dataset:
        rows = plane_runs(s)
        end = DETOUR + max(-np.log(distance) / unstable_rate(k) for _, k, distance, _, _ in rows if distance)
        how = {"t1": end, "observe": {"abscissa": abscissa, "ordinate": ordinate}, "record": np.linspace(0.0, end, 4001)}
        ds = swept("plane", PlaneStart(), 1, over={("flow.number", "x", "y"): [(k, x, y) for _, k, _, x, y in rows]}, **how)
        kinds, numbers, distances, *_ = zip(*rows, strict=True)
        columns = {"kind": kinds, "K": numbers, "distance": distances}
        return _with_coordinates(ds.isel(seed=0), columns)

    def noisy(k: int) -> xr.Dataset:
        levels = [(noise, 1.0) for noise in s.noises] + [(s.noises[0], s.weight_ratio)]
        how = {"t1": 1e4, "rtol": 100 * s.rtol, "stop": GradientNormBelow(1e-5), "max_steps": MOST_STEPS}
        ds = swept(f"noise-{k}", NoisyStart(make_flow(k, k, k), s.start), s.seeds, over={("noise", "ratio"): levels}, **how)
        return _recovered(k, _with_coordinates(ds, dict(zip(("noise", "ratio"), zip(*levels, strict=True), strict=True))))

    def extra() -> xr.Dataset:
        times = np.concatenate([[0.0], np.geomspace(1.0, s.extra_time, 41)])
        how = {"t1": s.extra_time, "record": times, "observe": {"loss": measure.loss, "gradient_norm": measure.gradient_norm}}
        return _with_hessians(swept("extra", make_flow(2, 1, EXTRA_DIM), s.extra_seeds, **how))

    found = Runs(s.leave_out)
    found.add("ball", balls)
    found.add("formula", lambda: formula_against_samples(s))
    found.add("signs", lambda: signs_of_cross_term(s))
    found.add("plane", plane)
    found.add("full", lambda: _in_the_full_flow(s))
    for k in s.sizes:
        found.add(f"noise-{k}", lambda k=k: noisy(k), "noise")
    found.add("out", lambda: _out_of_plane(s, progress))
    found.add("extra", extra)
    return found


def plane_runs(s: Settings) -> list[tuple[str, int, float, float, float]]:
    """The runs in the invariant plane.

    Args:
        s: the settings.

    Returns:
        For each its kind, K, the distance from the diagonal at the start where that is varied (else 0), and the start's x and y.
    """
    rows = [("path", k, 0.0, s.start, 0.0) for k in s.sizes]
    rows += [("diagonal", k, 0.0, x, x) for k in s.sizes for x in (s.start, 1.0)]
    return rows + [("delay", k, one, BESIDE + one / 2, BESIDE - one / 2) for k in s.sizes for one in s.distances]


def _with_coordinates(ds: xr.Dataset, columns: dict[str, Any]) -> xr.Dataset:
    """A sweep over cells, with these for the grid's own coordinates."""
    (first,) = (dim for dim in ds["outcome"].dims if dim != "seed")
    plain = ds.rename({first: "cell"}).reset_coords(drop=True)
    plain = plain.drop_vars([name for name in plain.coords if name not in ("seed", "time")])
    return plain.assign_coords({name: ("cell", list(values)) for name, values in columns.items()})


def plane_jacobian(number: int, x: float, y: float) -> np.ndarray:
    """The derivatives of the plane's velocity by (x, y).

    Args:
        number: K.
        x: where.
        y: where.

    Returns:
        A matrix of two rows.
    """
    return np.asarray(_jacobian(PlaneStart(number), jnp.asarray([x, y])))


@eqx.filter_jit
def _jacobian(flow: PlaneStart, place: jax.Array) -> jax.Array:
    def field(z: jax.Array) -> jax.Array:
        velocity = flow.vector_field(jnp.zeros(()), {"x": z[0], "y": z[1]})
        return jnp.stack([velocity["x"], velocity["y"]])

    return jax.jacfwd(field)(place)


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


@eqx.filter_jit
def _look(flow: Any, params: Any, tolerance: float) -> tuple[measure.CriticalPoint, Any]:
    """The kind of a point, and its gradient's norm."""
    t = jnp.zeros(())
    return measure.critical_point(flow, t, params, tolerance), measure.gradient_norm(flow, t, params)


def _in_the_full_flow(s: Settings) -> xr.Dataset:
    """The plane within the population flow: how far the two flows are apart, and what the saddle is in each."""
    times = np.linspace(0.0, DETOUR, 41)
    rows = []
    for k in s.sizes:
        flow, start = make_flow(k, k, k), PlaneStart(k, s.start)
        full = np.asarray(solve(flow, on_plane(k, s.start, 0.0), DETOUR, record=times, rtol=s.rtol).states["a"])
        plane = solve(start, start.init(jr.key(0)), DETOUR, record=times, rtol=s.rtol).states
        expected = np.stack([on_plane(k, x, y)["a"] for x, y in zip(plane["x"], plane["y"], strict=True)])
        own = full.trace(axis1=1, axis2=2)
        x, y = own / k, (full.sum((1, 2)) - own) / (k * (k - 1))
        nearest = np.stack([on_plane(k, *pair)["a"] for pair in zip(x, y, strict=True)])
        place = float(saddle_of(k))
        kind, norm = _look(flow, on_plane(k, place, place), ZERO)
        slopes = np.sort(np.linalg.eigvals(plane_jacobian(k, place, place)).real)
        rows.append({
            "apart": np.abs(full - expected).max(),
            "off_plane": np.abs(full - nearest).max(),
            "gradient_norm": float(norm),
            "index": int(kind.index),
            "flat": int(kind.dimension),
            "at_teacher": float(_look(flow, on_plane(k, 1.0, 0.0), ZERO)[0].eigenvalues[0]),
            "stable": slopes[0],
            "unstable": slopes[1],
        })
    return xr.Dataset({name: ("K", [row[name] for row in rows]) for name in rows[0]}, {"K": list(s.sizes)})


def _recovered(k: int, ds: xr.Dataset) -> xr.Dataset:
    """Which runs ended at a permutation of the teacher, and at the identity."""
    shape, dims = ds["outcome"].shape, ds["outcome"].dims
    students = ds["params"].values[..., : k * k].reshape(-1, k, k)
    orders = [measure.match_neurons(one, np.eye(k), by="distance").permutation for one in students]
    far = np.asarray([np.abs(one[order] - np.eye(k)).max() for one, order in zip(students, orders, strict=True)]).reshape(shape)
    same = np.asarray([(order == np.arange(k)).all() for order in orders]).reshape(shape)
    plain = ds[["loss_end", "outcome", "t_end", "num_accepted_steps"]]
    return plain.assign(recovered=(dims, far < RECOVERED), identity=(dims, same & (far < RECOVERED)))


def _out_of_plane(s: Settings, progress: bool) -> xr.Dataset:
    """Critical points of two students, looked for from starts out of the plane of two teachers, and their Hessians."""
    flow = make_flow(2, 2, 2 + s.extra_dim)
    starts = jax.vmap(flow.init)(jr.split(jr.key(1), s.out_of_plane))
    bar = "critical points" if progress else False
    points = polish_lanes(flow, starts, tolerance=1e-11, max_steps=200, saddles=True, method="eigen", batch=16, progress=bar)
    students = points.params["a"]
    kinds, _ = jax.lax.map(lambda params: _look(flow, params, ZERO), points.params)
    turn = jnp.linalg.qr(jr.normal(jr.key(2), (s.extra_dim, s.extra_dim)))[0]
    turned = points.params | {"a": students.at[:, :, 2:].set(students[:, :, 2:] @ turn)}
    columns = {
        "loss": points.loss,
        "gradient_norm": points.gradient_norm,
        "converged": points.converged,
        "index": kinds.index,
        "flat": kinds.dimension,
        "turned": jax.lax.map(lambda params: _look(flow, params, ZERO)[1], turned),
        "moved": jnp.linalg.norm(turned["a"] - students, axis=(1, 2)),
    }
    ds = xr.Dataset({name: ("start", np.asarray(column)) for name, column in columns.items()})
    outer = np.linalg.svd(np.asarray(students[:, :, 2:]), compute_uv=False)
    return ds.assign(outer=(("start", "rank"), outer), student=(("start", "neuron", "dim"), np.asarray(students)))


def _with_hessians(ds: xr.Dataset) -> xr.Dataset:
    """The number of zero eigenvalues at the points of the teacher's line next to the ends."""
    ends = ds["params"].values[:, : 2 * EXTRA_DIM].reshape(-1, 2, EXTRA_DIM)
    line = np.zeros_like(ends)
    line[:, 0, 0] = ends[:, 0, 0] / ends[:, :, 0].sum(1)
    line[:, 1, 0] = 1 - line[:, 0, 0]
    flow = make_flow(2, 1, EXTRA_DIM)
    kinds, norms = jax.lax.map(lambda a: _look(flow, {"a": a, "c": jnp.ones(2)}, ZERO), jnp.asarray(line))
    columns = {
        "flat": kinds.dimension,
        "index": kinds.index,
        "limit_gradient_norm": norms,
        "to_limit": np.linalg.norm(ends - line, axis=(1, 2)),
    }
    return ds[["loss", "gradient_norm", "outcome", "t_end"]].assign({name: ("seed", np.asarray(value)) for name, value in columns.items()})
