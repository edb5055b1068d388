"""Claim: in the kernel regime the kernel-exponential solver takes a twentieth of the time of scipy's best stiff solver, at any end time.

Sum of squares / 2 of a two-layer tanh network on 20 samples of sin(3x), start of scale 2, to T = 1e6: the tangent kernel's eigenvalues
spread over eight decades. Ours is `jd.solve(..., solver=KernelExponential())` under `jit`.

Peers at their best, on one core, compilation apart: scipy's LSODA, BDF and Radau with the analytic Jacobian, both functions jitted; and
diffrax's Kvaerno3, Kvaerno5 and KenCarp4 under `jit`, with optimistix's Chord and Newton iterations in place of diffrax's VeryChord, which
rejects half of the steps or more here (249 steps against 30 to T = 100); Kvaerno5 also as it is. To T = 1e2 also Tsit5, by `jd.solve`.
A peer is stopped after ten minutes, and counts as ten minutes then.

Equal accuracy: the largest error of a parameter at the end, against ours at rtol 1e-12, for which scipy's Radau vouches, at rtol 1e-10
or, in the quick run, 1e-7 (the line "agree to"). Times are interpolated log-log to error 1e-6 between the tolerances that were run;
outside them the line says "extrapolated".

    python -m benchmarks.stiff [--quick] [--json FILE] [--figure FILE]

- `scipy_ratio`, `diffrax_ratio`: the best of each over ours, m = 128, T = 1e6, error 1e-6. `steps`: ours, accepted and rejected.
- `wide_ratio`: the best of both over ours at m = 1024 (not in the quick run).
- `short_ratio`: Tsit5 over ours at T = 1e2.
- `sweep_ratio`: scipy's best over ours a lane, 64 seeds by `jd.sweep`, ours at the tolerance that is interpolated above.
- `order`: of ours with fixed steps where nothing is stiff; `stiff_order`: minus the slope of the log error against the log number of steps
  to T = 1e6.
"""

import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import scipy.integrate

import jaxdyn as jd
from benchmarks.common import alternating_seconds, arguments, at_error, pin, report
from jaxdyn.solve import KernelExponential

SAMPLES = 20
TARGET = 1e-6
LIMIT = 600.0
"""Seconds for one run of a peer."""
SCIPY = ("LSODA", "BDF", "Radau")
DIFFRAX = (*(f"{name} {finder}" for name in ("Kvaerno3", "Kvaerno5", "KenCarp4") for finder in ("Chord", "Newton")), "Kvaerno5")
"""Solvers of diffrax, and the root finder of optimistix."""


class Row(NamedTuple):
    """A method at a tolerance: steps (-1 if unknown), error, seconds."""

    method: str
    width: int
    t1: float
    rtol: float
    steps: int
    error: float
    seconds: float


class Network:
    """tanh(X a^T) c / sqrt(m) on flat parameters: the prototype's."""

    def __init__(self, width: int):
        """A network of this many neurons."""
        self.width = width

    def apply(self, flat: jax.Array, x: jax.Array) -> jax.Array:
        """The outputs."""
        m = self.width
        return jnp.tanh(x @ flat[: 2 * m].reshape(m, 2).T) @ flat[2 * m :] / jnp.sqrt(m)

    def init(self, key: jax.Array) -> jax.Array:
        """A start of scale 2."""
        return 2.0 * jax.random.normal(key, (3 * self.width,))


def make_flow(width: int) -> jd.flows.GradientFlow:
    """The problem."""
    x = np.linspace(-1, 1, SAMPLES)
    return jd.flows.GradientFlow(Network(width), jd.losses.square, jd.data.points(np.stack([x, -np.ones(SAMPLES)], 1), np.sin(3 * x)))


def ours(width: int, solver: Any = None) -> Callable:
    """(t1, rtol) to the end and the number of steps, jitted."""
    flow = make_flow(width)
    start = flow.init(jax.random.key(0))

    @jax.jit
    def run(t1: jax.Array, rtol: jax.Array) -> tuple:
        sol = jd.solve(flow, start, t1=t1, rtol=rtol, record=2, solver=solver or KernelExponential())
        return sol.params, sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps

    return run


def our_rows(width: int, t1: float, rtols: tuple, truth: np.ndarray, repeats: int, solver: Any = None) -> list[Row]:
    """Ours, or another solver in our loop."""
    run, rows = ours(width, solver), []
    for rtol in rtols:
        seconds = alternating_seconds([lambda rtol=rtol: run(t1, rtol)], repeats)[0]
        end, steps = run(t1, rtol)
        name = "ours" if solver is None else type(solver).__name__
        rows.append(Row(name, width, t1, rtol, int(steps), float(np.abs(end - truth).max()), seconds))
    return rows


def by_scipy(method: str, width: int, t1: float, rtol: float) -> tuple[np.ndarray, int, float]:
    """The end, the number of steps, seconds."""
    flow = make_flow(width)
    start = np.asarray(flow.init(jax.random.key(0)))
    field = jax.jit(lambda y: flow.vector_field(0.0, y))
    slope = jax.jit(jax.jacfwd(field))
    jax.block_until_ready((field(start), slope(start)))
    begin = time.perf_counter()
    sol = scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(field(y)), (0.0, t1), start, method, rtol=rtol, atol=1e-2 * rtol, jac=lambda t, y: np.asarray(slope(y))
    )
    return sol.y[:, -1], len(sol.t) - 1, time.perf_counter() - begin


def by_diffrax(method: str, width: int, t1: float, rtol: float) -> tuple[np.ndarray, int, float]:
    """The same."""
    flow = make_flow(width)
    start = flow.init(jax.random.key(0))
    term = dfx.ODETerm(lambda t, y, args: flow.vector_field(t, y))
    name, *finder = method.split()
    how = {"root_finder": dfx.with_stepsize_controller_tols(getattr(optx, finder[0]))()} if finder else {}
    if name == "KenCarp4":  # explicit in a first part, which is nothing here
        term = dfx.MultiTerm(dfx.ODETerm(lambda t, y, args: jnp.zeros_like(y)), term)

    @jax.jit
    def run(y: jax.Array) -> tuple:
        sol = dfx.diffeqsolve(
            term,
            getattr(dfx, name)(**how),
            0.0,
            t1,
            None,
            y,
            max_steps=10**6,
            adjoint=dfx.ForwardMode(),
            throw=False,
            stepsize_controller=dfx.PIDController(rtol=rtol, atol=1e-2 * rtol),
        )
        return sol.ys[0], sol.stats["num_steps"]

    compiled = run.lower(start).compile()
    begin = time.perf_counter()
    end, steps = jax.block_until_ready(compiled(start))
    return np.asarray(end), int(steps), time.perf_counter() - begin


def _peer(method: str, width: int, t1: float, rtol: float, pipe: Any) -> None:
    pin()
    jax.config.update("jax_enable_x64", True)
    pipe.send((by_scipy if method in SCIPY else by_diffrax)(method, width, t1, rtol))


def peer_row(method: str, width: int, t1: float, rtol: float, truth: np.ndarray) -> Row:
    """A peer in a process of its own, stopped after the limit."""
    context = get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_peer, args=(method, width, t1, rtol, its))
    process.start()
    its.close()  # or the end of a process that failed would not be seen
    done = mine.poll(LIMIT + 60)  # a minute to begin and to compile
    end, steps, seconds = mine.recv() if done else (truth, -1, LIMIT)
    process.kill()
    process.join()
    return Row(method, width, t1, rtol, steps, float(np.abs(end - truth).max()) if done else np.nan, min(seconds, LIMIT))


def at_target(rows: list[Row], method: str) -> tuple[float, float, str]:
    """Seconds and tolerance at which a method reaches the error, and what to say of it; a peer that was stopped counts as the limit."""
    mine = [row for row in rows if row.method == method and np.isfinite(row.error)]
    if not mine:
        return LIMIT, np.nan, " (stopped)"
    if len(mine) == 1:
        return mine[0].seconds, mine[0].rtol, f" (at error {mine[0].error:.1e})"
    (seconds, remark), (rtol, _) = (at_error(mine, TARGET, what) for what in ("seconds", "rtol"))
    return seconds, rtol, remark


def show(rows: list[Row]) -> None:
    """A table."""
    print(f"{'method':>18s} {'m':>5s} {'T':>7s} {'rtol':>7s} {'steps':>7s} {'error':>9s} {'seconds':>9s}")
    for row in rows:
        print(
            f"{row.method:>18s} {row.width:5d} {row.t1:7.0e} {row.rtol:7.0e} {row.steps:7d} {row.error:9.1e} {row.seconds:9.4f}", flush=True
        )


def best(rows: list[Row], methods: tuple[str, ...]) -> float:
    """The shortest time at the target among methods."""
    found = {method: at_target(rows, method) for method in methods if any(row.method == method for row in rows)}
    for method, (seconds, _, remark) in found.items():
        print(f"  {method} at error {TARGET:.0e}: {seconds:.3g} s{remark}")
    return min(seconds for seconds, _, _ in found.values())


def cell(width: int, t1: float, rtols: tuple, peers: dict[str, tuple], repeats: int) -> tuple[list[Row], np.ndarray]:
    """Ours and the peers at one width and end time."""
    truth = np.asarray(ours(width)(t1, 1e-12)[0])
    rows = our_rows(width, t1, rtols, truth, repeats)
    for method, tolerances in peers.items():
        for rtol in tolerances:
            rows.append(peer_row(method, width, t1, rtol, truth))
            if rows[-1].steps < 0:
                break
    show(rows)
    return rows, truth


def order() -> float:
    """With fixed steps to T = 1 from a start of small weights."""
    flow = make_flow(8)
    start = 0.1 * flow.init(jax.random.key(0))
    sizes = np.array([0.1, 0.05, 0.025])

    def end(dt: jax.Array) -> jax.Array:
        how = {"controller": dfx.ConstantStepSize(), "dt0": dt, "solver": KernelExponential(), "record": 2}
        return jd.solve(flow, start, t1=1.0, **how).params

    truth = jd.solve(flow, start, t1=1.0, rtol=1e-13, atol=1e-15, record=2, solver=dfx.Dopri8()).params
    errors = [float(jnp.abs(end(jnp.asarray(dt)) - truth).max()) for dt in sizes]
    print("fixed steps", sizes.tolist(), "errors", [f"{error:.1e}" for error in errors])
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def sweep_seconds(width: int, t1: float, rtol: float, lanes: int) -> float:
    """Wall time a lane of a sweep, compiled."""
    flow = make_flow(width)

    def run(key: int) -> Any:
        how = {"t1": t1, "rtol": rtol, "record": 2, "solver": KernelExponential(), "progress": False, "devices": jax.devices()[:1]}
        return jd.sweep(flow, lanes, key=jax.random.key(key), **how)

    run(0)
    begin = time.perf_counter()
    run(1)
    return (time.perf_counter() - begin) / lanes


def draw(rows: list[Row], file: str) -> None:
    """Work against precision, and time at the target against the end time."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    longest = max(row.t1 for row in rows)
    names = [name for name in dict.fromkeys(row.method for row in rows) if not name.endswith("Newton")]
    for name in names:
        mine = [row for row in rows if row.method == name and row.width == 128]
        here = sorted((row for row in mine if row.t1 == longest), key=lambda row: row.error)
        bold = {"color": "black", "linewidth": 2.4} if name == "ours" else {"color": f"C{names.index(name)}", "linewidth": 1.2}
        style = {"marker": "o", "markersize": 4, **bold}
        left.loglog([row.error for row in here], [row.seconds for row in here], label=name if here else None, **style)
        ends = sorted({row.t1 for row in mine})
        right.loglog(ends, [at_target([row for row in mine if row.t1 == t1], name)[0] for t1 in ends], label=name, **style)
    left.set(xlabel="largest error of a parameter", ylabel="seconds", title=f"m = 128, T = {longest:.0e}")
    right.set(xlabel="end time T", ylabel=f"seconds at error {TARGET:.0e}", title="m = 128")
    fig.legend(*right.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    fig.savefig(file, dpi=150)


def main() -> None:
    """Runs the benchmark."""
    args = arguments(__doc__ or "", figure=True)
    pin()
    repeats, rtols = (3, (1e-5, 1e-6, 1e-7)) if args.quick else (7, (1e-4, 1e-5, 1e-6, 1e-7, 1e-8))
    if args.quick:
        peers: dict[str, tuple] = {"LSODA": (1e-6, 1e-7), "Kvaerno5 Chord": (1e-5, 1e-6)}
    else:
        peers = dict.fromkeys(SCIPY, (0.0001, 1e-05, 1e-06, 1e-07, 1e-08)) | dict.fromkeys(DIFFRAX, (1e-05, 1e-06, 1e-07))
    figures: dict[str, float] = {}
    rows, truth = cell(128, 1e6, rtols, peers, repeats)
    judge = peer_row("Radau", 128, 1e6, 1e-7 if args.quick else 1e-10, truth)
    print(f"ours at rtol 1e-12 and Radau at {judge.rtol:.0e} agree to {judge.error:.1e}")
    mine, rtol, remark = at_target(rows, "ours")
    print(f"ours at error {TARGET:.0e}: {mine:.3g} s{remark}")
    scipys = best(rows, SCIPY)
    diffraxes = best(rows, DIFFRAX)
    figures |= {"scipy_ratio": scipys / mine, "diffrax_ratio": diffraxes / mine}
    figures["steps"] = float(next(row.steps for row in rows if row.method == "ours" and row.rtol == 1e-6))
    stiff = [row for row in rows if row.method == "ours"]
    slope = np.polyfit(np.log([row.steps for row in stiff]), np.log([row.error for row in stiff]), 1)[0]

    short, truth = cell(128, 1e2, rtols, {}, repeats)
    short += our_rows(128, 1e2, (1e-5, 1e-6, 1e-7), truth, repeats, dfx.Tsit5())
    show(short[-3:])
    figures["short_ratio"] = at_target(short, "Tsit5")[0] / at_target(short, "ours")[0]
    everything = rows + short
    if not args.quick:
        for t1 in (1e3, 1e4, 1e5):
            everything += cell(128, t1, rtols, {"LSODA": (1e-5, 1e-6, 1e-7), "BDF": (1e-6, 1e-7, 1e-8)}, repeats)[0]
        wide, _ = cell(1024, 1e6, (1e-5, 1e-6, 1e-7), {"LSODA": (1e-6,), "BDF": (1e-7,), "Radau": (1e-5,), "Kvaerno5 Chord": (1e-5,)}, 3)
        mine_wide = at_target(wide, "ours")[0]
        figures["wide_ratio"] = min(best(wide, SCIPY), best(wide, DIFFRAX)) / mine_wide
        everything += wide
        print("three neurons, which do not interpolate:")
        everything += cell(3, 1e6, rtols, {"LSODA": (1e-6, 1e-7, 1e-8)}, repeats)[0]
    figures["sweep_ratio"] = scipys / sweep_seconds(128, 1e6, rtol, 16 if args.quick else 64)
    figures |= {"order": order(), "stiff_order": -float(slope)}
    if args.figure is not None:
        draw(everything, args.figure)
    report("stiff", figures, [row._asdict() for row in everything], args.json)


if __name__ == "__main__":
    main()
