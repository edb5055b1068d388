"""Claim: directions are followed to KKT points 5 times faster than in the plain clock, and to the largest margin 20 times faster.

**KKT points.** The neural correlation function N of a two-layer network on Gaussian samples of unit length, 256 starts, until the KKT
residual on the sphere is 1e-6. jaxdyn: `CorrelationFlow` by `sweep` with `RungeKuttaChebyshev`. Peer: the same flow off the sphere,
w' = grad N(w) from |w| = 1e-6, by `vmap(diffeqsolve)` with Tsit5 and atol = rtol / 100 times that norm. For ReLU both clocks are the same,
and the peer runs to the time at which ours has arrived, so that it pays for no test of its own; for powers of ReLU an event ends it. A peer
that has taken `MOST_STEPS` steps is stopped, and the ratio is then a lower bound. Residuals of both are those of
`measure.correlation_kkt`, with gates free within 1e-5 of a kink, for the peer within 1e-3 if that is less. The figure is for ReLU, 20
neurons, 20 samples of 5 inputs; other cells are printed beside it, some of which the peer wins. Then from |w| = 1e-100, where w'
underflows for higher orders of homogeneity, and which the sphere knows nothing of.

**Margins.** Two-layer ReLU networks on 20 samples of 10 inputs whose cosines are at least 0.1, exponential loss, |w| = 1e-6 at the start:
until the normalised margin is within 5e-2 of its limit, known from the max-margin problems of both classes. jaxdyn: `DirectionClock` by
`lax.map` of `solve`, kinks stepped over, at a loose tolerance: the limit does not depend on the way. Peers, each at its best setting:
gradient descent on the logarithm of the loss, which is gradient descent normalised by the loss, vectorised; and scipy's LSODA, BDF and
Radau on the flow of the logarithm, with the gradient written in numpy. `margin_ratio` is that to the best of them; beside it, from
|w| = 1e-100, and within 1e-3 of the limit, for which the descent's steps have to be short: relative to |w| they never shrink.

    python -m benchmarks.directions [--quick] [--json FILE]

All on one core, without compilation.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.integrate as si
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from benchmarks.common import arguments, pin, report
from jaxdyn.flows import CorrelationFlow, DirectionClock, GradientFlow

SMALL, TINY = 1e-6, 1e-100
RESIDUAL = 1e-6
MOST_STEPS = 100_000
ZEROS = (1e-5, 1e-3)
"""Within how much of |w| |x| of a kink a gate is free: ours, and the peer's if that is better for it."""
GAP, FINE = 5e-2, 1e-3
RATES = {GAP: (0.1, 0.3, 0.5, 1.0), FINE: (0.002, 0.003, 0.005, 0.01, 0.03)}
"""Of the descent; larger ones do not come so near."""
RTOLS = {GAP: (1e-1, 3e-2, 1e-2), FINE: (1e-2, 3e-3, 1e-3)}
STIFF = ("LSODA", "BDF", "Radau")


class Cell(NamedTuple):
    """A problem of the first part.

    Attributes:
        activation: of the network.
        width: neurons.
        samples: how many.
        dim: inputs.
        seeds: starts.
        rtols: of the peer; the fastest at which all arrive counts, or the first where none does.
    """

    activation: str
    width: int
    samples: int
    dim: int
    seeds: int
    rtols: tuple[float, ...] = (1e-3,)


def seconds(run: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """A function's result and wall time, compiled before."""
    compiled = jax.jit(run).lower(*args).compile()
    begin = time.perf_counter()
    found = jax.block_until_ready(compiled(*args))
    return found, time.perf_counter() - begin


def make_flows(cell: Cell) -> tuple[CorrelationFlow, CorrelationFlow]:
    """The flow on the sphere and off it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(cell.samples, cell.dim)), rng.normal(size=cell.samples)
    samples = jd.data.points(jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True)), jnp.asarray(y))
    model = jd.models.TwoLayer(cell.width, cell.dim, bias=False, activation=cell.activation, scaling="one", balanced=True)
    on, off = (CorrelationFlow(model, jd.losses.square, samples, sphere=sphere) for sphere in (True, False))
    return on, off


def starts_of(flow: Any, seeds: int) -> jax.Array:
    """The starts that `sweep` draws, flat."""
    return jax.vmap(lambda seed: ravel_pytree(flow.init(jr.fold_in(jr.key(0), seed)))[0])(jnp.arange(seeds))


def residuals(flow: CorrelationFlow, params: jax.Array, zero: float) -> np.ndarray:
    """The KKT residuals of flat parameters; NaN where they are no numbers."""
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]

    def of(row: jax.Array) -> jax.Array:
        return jd.measure.correlation_kkt(flow, unravel(row), zero).residual

    return np.asarray(jax.jit(lambda rows: jax.lax.map(of, rows))(params))


def plain_clock(cell: Cell, rtol: float, delta: float, until: jax.Array | None) -> tuple[np.ndarray, float, np.ndarray]:
    """The peer's residuals, wall time and steps; to a time, or until the plain residual is small enough."""
    sphere, flow = make_flows(cell)
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]

    def field(t: Any, w: jax.Array, args: Any) -> jax.Array:
        return ravel_pytree(flow.vector_field(t, unravel(w)))[0]

    def arrived(t: Any, w: jax.Array, args: Any, **_: Any) -> jax.Array:
        up, unit = field(t, w, args), w / jnp.max(jnp.abs(w))
        up, unit = up / jnp.max(jnp.abs(up)), unit / jnp.linalg.norm(unit)
        return jnp.linalg.norm(up - unit * (up @ unit)) <= RESIDUAL * jnp.linalg.norm(up)

    def one(start: jax.Array, t1: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = dfx.diffeqsolve(
            dfx.ODETerm(field),
            dfx.Tsit5(),
            0.0,
            t1,
            None,
            delta * start,
            stepsize_controller=dfx.PIDController(rtol=rtol, atol=1e-2 * rtol * delta),
            event=dfx.Event(arrived) if until is None else None,
            adjoint=dfx.ForwardMode(),
            max_steps=MOST_STEPS,
            throw=False,
        )
        assert found.ys is not None
        return found.ys[0], found.stats["num_steps"]

    starts = starts_of(sphere, cell.seeds)
    (w, steps), spent = seconds(jax.vmap(one), starts, jnp.full(cell.seeds, 1e300) if until is None else until)
    unit = w / jnp.max(jnp.abs(w), axis=1, keepdims=True)
    return np.fmin(*(residuals(sphere, unit, zero) for zero in ZEROS)), spent, np.asarray(steps)


def sweep(flow: CorrelationFlow, cell: Cell) -> Any:
    """Ours. Explicit steps on the sphere leave noise of the tolerance's size where no slide holds it, hence the other solver there."""
    solver = jd.RungeKuttaChebyshev() if cell.activation == "relu" else jd.KernelExponential()
    how = {"rtol": 1e-3, "solver": solver, "stop": jd.GradientNormBelow(RESIDUAL), "max_steps": 5_000, "width": 4}
    return jd.sweep(flow, cell.seeds, t1=1e6, record=2, progress=False, devices=jax.devices()[:1], **how)


def to_kkt_points(cell: Cell) -> dict[str, Any]:
    """A cell's times."""
    flow = make_flows(cell)[0]

    def run() -> Any:
        return sweep(flow, cell)

    run()
    begin = time.perf_counter()
    ds = run()
    ours = time.perf_counter() - begin
    found = residuals(flow, jnp.asarray(ds["params"].values), ZEROS[0])
    print(f"{cell.activation}, {cell.width} neurons, {cell.samples} samples of {cell.dim} inputs, {cell.seeds} seeds")
    print(
        f"  ours       {ours:8.3f} s, {np.mean(found <= RESIDUAL):6.1%} arrive, largest residual {found.max():.1e}, "
        f"steps {ds['num_accepted_steps'].values.mean():.0f}, kinks {ds['num_kinks'].values.mean():.0f}, "
        f"time {np.median(ds['t_end'].values):.3g}",
        flush=True,
    )
    peers = []
    until = jnp.asarray(ds["t_end"].values) if cell.activation == "relu" else None
    for rtol in cell.rtols:
        there, spent, steps = plain_clock(cell, rtol, SMALL, until)
        arrived = float(np.mean(there <= RESIDUAL))
        peers.append({"rtol": rtol, "seconds": spent, "arrived": arrived, "steps": float(steps.mean())})
        print(
            f"  plain clock{spent:8.3f} s at rtol {rtol:.0e}, {arrived:6.1%} arrive, median residual {np.nanmedian(there):.1e}, "
            f"steps {steps.mean():.0f}, up to {steps.max()}",
            flush=True,
        )
    best = min((peer for peer in peers if peer["arrived"] == 1), key=lambda peer: peer["seconds"], default=peers[0])
    ratio = best["seconds"] / ours
    print(f"  ratio      {ratio:8.2f}" + ("" if best["arrived"] == 1 else ", a lower bound: the peer was stopped or blew up"), flush=True)
    return cell._asdict() | {"ours": ours, "arrived": float(np.mean(found <= RESIDUAL)), "peers": peers, "ratio": ratio}


def from_tiny(power: int) -> dict[str, Any]:
    """How many arrive from 1e-100: on the sphere, and in the plain clock."""
    cell = Cell(f"relu^{power}", 8, 10, 3, 16)
    flow = make_flows(cell)[0]
    ds = sweep(flow, cell)
    ours = float(np.mean(residuals(flow, jnp.asarray(ds["params"].values), ZEROS[0]) <= RESIDUAL))
    there = plain_clock(cell, 1e-3, TINY, None)[0]
    peer = float(np.mean(there <= RESIDUAL))
    print(f"relu^{power} from 1e-100: {ours:.1%} arrive, in the plain clock {peer:.1%}", flush=True)
    return {"power": power, "ours": ours, "peer": peer}


def descent(flow: GradientFlow, rate: float, enough: float) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Gradient descent on the loss's logarithm from flat params, until the margin is near its limit: whether, and its steps."""
    unravel, y = ravel_pytree(flow.init(jr.key(0)))[1], flow.data.y

    def step(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        w, done, k = carry
        f, pull = jax.vjp(lambda w: flow.outputs(unravel(w)), w)
        done = (jnp.min(y * f) >= enough * (w @ w)) & jnp.isfinite(w @ w)
        return jnp.where(done, w, w + rate * pull(y * jax.nn.softmax(-y * f))[0]), done, k + 1

    def run(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.while_loop(lambda carry: ~carry[1] & (carry[2] < MOST_STEPS), step, (w, jnp.asarray(False), jnp.asarray(0)))[1:]

    return run


def with_scipy(flow: GradientFlow, starts: np.ndarray, method: str, rtol: float, delta: float, enough: float) -> tuple[float, float]:
    """Which part arrives, and the wall time of all, by one of scipy's stiff solvers."""
    x, y = np.asarray(flow.data.x), np.asarray(flow.data.y)
    m, d = flow.init(jr.key(0))["a"].shape

    def parts(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        a, c = w[: m * d].reshape(m, d), w[m * d :]
        z = np.maximum(x @ a.T, 0.0)
        return a, c, z, z @ c

    def field(t: float, w: np.ndarray) -> np.ndarray:
        _, c, z, f = parts(w)
        q = np.exp(np.min(y * f) - y * f)
        q *= y / q.sum()
        return np.concatenate([(((z > 0) * q[:, None]).T @ x * c[:, None]).ravel(), z.T @ q])

    def near(t: float, w: np.ndarray) -> float:
        return np.min(y * parts(w)[3]) - enough * (w @ w)

    near.terminal, near.direction = True, 1.0  # pyright: ignore[reportFunctionMemberAccess]
    begin, arrived = time.perf_counter(), 0
    for start in starts:
        found = si.solve_ivp(field, (0.0, 1e6), start, method=method, rtol=rtol, atol=1e-2 * rtol * delta, events=near)
        arrived += len(found.t_events[0]) > 0
    return arrived / len(starts), time.perf_counter() - begin


def to_margins(seeds: int, delta: float, gap: float, few: int) -> dict[str, Any]:
    """Times until the margin is near its limit; scipy's of `few` starts, in proportion."""
    samples = jd.data.cone(20, 0.1, 10, key=jr.key(0))
    limit = float(jd.measure.class_margins(samples).two_layer_margin)
    enough = (1 - gap) * limit
    model = jd.models.TwoLayer(20, 10, bias=False, scaling="one", balanced=True)
    inner = GradientFlow(model, jd.losses.exponential, samples)
    flow = DirectionClock(inner, order=2, log_norm=np.log(delta))
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(0), seed))(jnp.arange(seeds))
    starts = jax.vmap(flow.init)(keys)
    flat = delta * jax.vmap(lambda y: ravel_pytree(y["direction"])[0])(starts)
    near = jd.StopWhen(lambda flow, t, y: jnp.min(flow.inner.data.y * flow.outputs(y)) >= enough)
    rows: list[dict[str, Any]] = []

    def note(method: str, setting: float, arrived: float, spent: float) -> None:
        rows.append({"method": method, "setting": setting, "arrived": arrived, "seconds": spent})
        print(f"  {method:18s} {setting:7.0e} {arrived:7.1%} {spent:9.4f} s", flush=True)

    print(f"margin within {gap:g} of {limit:.4g}, from {delta:g}, {seeds} seeds")
    for rtol in RTOLS[gap]:
        how = {"rtol": rtol, "atol": rtol / 10, "solver": jd.RungeKuttaChebyshev(), "locate_kinks": False, "record": 2}

        def solved(y: Any, how: dict[str, Any] = how) -> jax.Array:
            return jd.solve(flow, y, t1=1e6, stop=near, max_steps=5000, **how).outcome

        fates, spent = seconds(lambda ys, solved=solved: jax.lax.map(solved, ys, batch_size=32), starts)
        note("ours", rtol, float(np.mean(np.asarray(fates) == int(jd.Outcome.stopped))), spent)
    for rate in RATES[gap]:
        (done, _), spent = seconds(jax.vmap(descent(inner, rate, enough)), flat)
        note("descent", rate, float(np.mean(done)), spent)
    for method in STIFF:
        for rtol in (1e-1, 1e-2, 1e-3):
            arrived, spent = with_scipy(inner, np.asarray(flat[:few]), method, rtol, delta, enough)
            note(method, rtol, arrived, spent * seeds / few)

    def best(*methods: str) -> float:
        return min((row["seconds"] for row in rows if row["method"] in methods and row["arrived"] == 1), default=np.inf)

    ours, by_descent, by_scipy = best("ours"), best("descent"), best(*STIFF)
    print(f"  ratio to descent {by_descent / ours:.2f}, to scipy {by_scipy / ours:.2f}", flush=True)
    return {"delta": delta, "gap": gap, "rows": rows, "descent": by_descent / ours, "scipy": by_scipy / ours}


def main() -> None:
    """Runs the benchmark."""
    args = arguments(__doc__ or "")
    pin()
    named = Cell("relu", 20, 20, 5, 24 if args.quick else 256)
    cells = [named]
    if not args.quick:
        several = (1e-2, 1e-3, 1e-4)
        cells += [Cell("relu", 20, 20, 3, 256, several), Cell("relu^2", 8, 10, 3, 256, several), Cell("relu", 50, 50, 10, 16)]
    points = [to_kkt_points(cell) for cell in cells]
    tiny = [from_tiny(power) for power in (() if args.quick else (2, 4))]
    seeds, few = (64, 1) if args.quick else (256, 8)
    margins = [to_margins(seeds, delta, gap, few) for delta, gap in ((SMALL, GAP), (TINY, GAP), (SMALL, FINE))]
    first, tiniest, finest = margins
    figures = {
        "kkt_ratio": points[0]["ratio"],
        "margin_ratio": min(first["descent"], first["scipy"]),
        "margin_scipy_ratio": first["scipy"],
        "margin_tiny_ratio": min(tiniest["descent"], tiniest["scipy"]),
        "margin_fine_ratio": min(finest["descent"], finest["scipy"]),
    }
    report("directions", figures, {"points": points, "tiny": tiny, "margins": margins}, args.json)


if __name__ == "__main__":
    main()
