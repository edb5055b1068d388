"""Which solver is fastest where: Tsit5, Dopri8 and KernelExponential on some fifty named problems; is the default near the best?

Two-layer networks (one deep one), half the sum of squares or a loss of classes, on n points; kernel regime: start of scale 2 (ReLU: 1.5,
and outputs times 3), adaptive regime: start of scale 0.1. Wall time of a call of `solve` on one core, the second one, so without
compilation; at the same achieved error: the Euclidean distance at the end from a run at rtol 1e-9, relative to the
norm of the parameters, 1e-6; times are interpolated log-log between tolerances, up to the first that does better.
A run of a named solver that takes more than `MOST_STEPS` steps is stopped, and its time is extrapolated by the time
that it reached; one that takes more than `CAP` seconds counts as that.

    python -m benchmarks.solvers [--quick] [--costs] [--json FILE] [--figure FILE]

`--costs` instead times single steps of Tsit5 and KernelExponential against the operations that `jaxdyn/solve/work.py` counts for them, by
which the default is chosen.

- `default_worst`: the time of a call without `solver=` over that of the best of the three, the largest of all problems.
- `default_median`: the median.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from benchmarks.common import alternating_seconds, arguments, at_error, pin, report
from jaxdyn.solve.work import step_ratio

TARGET = 1e-6
MOST_STEPS = 10_000
EARLY = 10.0
"""End times up to which Tsit5 is the truth, at rtol 1e-9; KernelExponential beyond."""
CAP = 60.0
"""Seconds that the slowest solver counts as."""
TRIAL_STEPS = 20
"""Steps by which the time of one is estimated, so that none is run for much longer than `CAP`."""
CLASSES = ("logistic", "exponential", "cross_entropy")
LONG = 1.0
"""Seconds from which on a run is timed once; shorter ones are timed in turn, several times."""
DEFAULT = "default"
SOLVERS: dict[str, Any] = {DEFAULT: None, "Tsit5": dfx.Tsit5(), "Dopri8": dfx.Dopri8(), "KernelExponential": jd.KernelExponential()}
RTOLS = (1e-4, 1e-5, 1e-6, 1e-7)


class Problem(NamedTuple):
    """A named problem; `kernel` is the regime; one input on a grid, or normally distributed ones."""

    name: str
    activation: str
    kernel: bool
    samples: int
    width: int
    t1: float
    loss: str = "square"
    dim: int = 1


def classes(loss: str, samples: int, width: int, dim: int, t1: float) -> Problem:
    """A problem of classes, from a start of size 1; 3 outputs for each sample under the cross-entropy."""
    return Problem(f"{loss} n={samples} m={width} d={dim} T={t1:.0e}", "tanh", False, samples, width, t1, loss, dim)


PROBLEMS = [
    *(Problem(f"tanh kernel T={t1:.0e}", "tanh", True, 20, 128, t1) for t1 in (1.0, 1e2, 1e4, 1e6)),
    *(Problem(f"tanh adaptive T={t1:.0e}", "tanh", False, 20, 128, t1) for t1 in (1.0, 1e2, 1e4, 1e6)),
    *(Problem(f"relu kernel T={t1:.0e}", "relu", True, 20, 128, t1) for t1 in (1.0, 1e2, 1e5)),
    *(Problem(f"relu adaptive T={t1:.0e}", "relu", False, 20, 128, t1) for t1 in (1.0, 1e2, 1e4)),
    Problem("tanh kernel n=10 m=32 T=1e+04", "tanh", True, 10, 32, 1e4),
    Problem("tanh kernel n=100 m=512 T=1e+02", "tanh", True, 100, 512, 1e2),
    Problem("tanh kernel n=100 m=512 T=1e+05", "tanh", True, 100, 512, 1e5),
    Problem("tanh kernel n=1000 m=32 T=1e+01", "tanh", True, 1000, 32, 1e1),
    Problem("tanh kernel n=1000 m=512 T=1e+00", "tanh", True, 1000, 512, 1.0),
    Problem("tanh kernel n=20 m=4096 T=1e+04", "tanh", True, 20, 4096, 1e4),
    Problem("relu kernel n=100 m=256 T=1e+01", "relu", True, 100, 256, 1e1),
    Problem("tanh logistic T=1e+06", "tanh", True, 20, 128, 1e6, "logistic"),
    Problem("tanh cross-entropy T=1e+04", "tanh", True, 20, 128, 1e4, "cross_entropy"),
    *(classes(loss, n, 32, 10, t1) for loss in CLASSES for n in (20, 200) for t1 in (1e1, 1e3, 1e6)),
    *(classes(loss, n, 64, 64, t1) for loss, n in zip(CLASSES, (1000, 1000, 600), strict=True) for t1 in (1e1, 1e6)),
]
QUICK = ("logistic n=200 m=32 d=10 T=1e+03", "tanh kernel T=1e+00", "tanh kernel T=1e+04", "tanh adaptive T=1e+02")


class Row(NamedTuple):
    """A solver at a tolerance: steps, error, seconds."""

    problem: str
    solver: str
    rtol: float
    steps: int
    error: float
    seconds: float


def make(problem: Problem) -> tuple[jd.flows.GradientFlow, Any]:
    """The flow and its start."""
    if problem.dim == 1:
        x = jnp.linspace(-1.0, 1.0, problem.samples)[:, None]
    else:
        x = jax.random.normal(jax.random.key(1), (problem.samples, problem.dim)) / np.sqrt(problem.dim)
    y = jnp.sin(3 * x[:, 0])
    scale, factor = (
        (1.0 if problem.dim > 1 else 0.1, 1.0) if not problem.kernel else (1.5, 3.0) if problem.activation == "relu" else (2.0, 1.0)
    )
    how = {"activation": problem.activation, "init_scale": scale, "output_multiplier": factor}
    if problem.loss == "cross_entropy":
        labels = jnp.asarray(jnp.digitize(y, jnp.asarray([-0.5, 0.5])))
        model = jd.models.MLP((problem.width,), problem.dim, outputs=3, **how)
    else:
        model, labels = jd.models.TwoLayer(problem.width, problem.dim, **how), jnp.sign(y) if problem.loss in CLASSES else y
    flow = jd.flows.GradientFlow(model, jd.losses.loss(problem.loss), jd.data.points(x, labels))
    return flow, flow.init(jax.random.key(0))


def runner(problem: Problem, solver: Any) -> Callable[[float], jd.Solution]:
    """A tolerance to the solution."""
    flow, start = make(problem)

    def run(rtol: float, most: int | None) -> jd.Solution:
        return jd.solve(flow, start, t1=problem.t1, rtol=rtol, record=2, solver=solver, max_steps=most)

    if solver is None:
        return lambda rtol: run(rtol, None)
    (seconds,) = alternating_seconds([partial(run, RTOLS[0], TRIAL_STEPS)], 1)
    most = int(np.clip(CAP * TRIAL_STEPS / seconds, 2 * TRIAL_STEPS, MOST_STEPS))
    return lambda rtol: run(rtol, most)


def rows_of(problem: Problem, repeats: int) -> tuple[list[Row], str]:
    """All solvers at all tolerances, and the one that the default took."""
    of_truth = "Dopri8" if problem.loss in CLASSES else "Tsit5" if problem.t1 <= EARLY else "KernelExponential"
    flow, start = make(problem)
    truth = np.asarray(ravel_pytree(jd.solve(flow, start, problem.t1, rtol=1e-9, record=2, solver=SOLVERS[of_truth]).params)[0])
    rows, taken, runs = [], "", {name: runner(problem, solver) for name, solver in SOLVERS.items()}
    for rtol in RTOLS:
        sols, times = {}, []
        for name, run in runs.items():
            begin = time.perf_counter()
            sols[name] = jax.block_until_ready(run(rtol))
            times.append(time.perf_counter() - begin)
        taken = sols[DEFAULT].method.split(",")[0] if DEFAULT in sols else taken
        timed = [partial(run, rtol) for run in runs.values()]
        again = [k for k, seconds in enumerate(times) if seconds < LONG or rtol == RTOLS[0]]  # the first call of all compiles
        for count in (1, repeats):
            for k, seconds in zip(again, alternating_seconds([timed[k] for k in again], count, compiled=True), strict=True):
                times[k] = seconds
            again = [k for k in again if times[k] < LONG]
        for (name, sol), seconds in zip(sols.items(), times, strict=True):
            error = float(np.linalg.norm(ravel_pytree(sol.params)[0] - truth) / np.linalg.norm(truth))
            stopped = sol.fate is jd.Outcome.max_steps  # at the looser tolerances that come first already
            if stopped:
                seconds, error = min(seconds * problem.t1 / float(sol.t), CAP), rtol
            if stopped or error <= TARGET:  # what is tighter needs no run
                del runs[name]
            steps = int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps)
            rows.append(Row(problem.name, name, rtol, steps, error, seconds))
            print(f"{problem.name:>34s} {name:>18s} {rtol:7.0e} {steps:8d} {error:9.1e} {seconds:9.4f}", flush=True)
    return rows, taken


def costs() -> None:
    """Prints, for problems of all sizes, the time of a step of each solver and the ratio, measured and as counted."""
    for problem in PROBLEMS:
        if not problem.name.endswith("T=1e+01") and problem.t1 != 1.0:
            continue
        flow, start = make(problem)
        times = []
        for solver, steps in ((dfx.Tsit5(), 400), (jd.KernelExponential(), 40)):
            both = [partial(jd.solve, flow, start, 1e30, solver=solver, record=2, max_steps=most) for most in (steps, 2 * steps)]
            short, long = alternating_seconds(both, 5)
            times.append((long - short) / steps)
        explicit, kernel, counted = times[0] * 1e6, times[1] * 1e6, step_ratio((flow, start))
        print(
            f"{problem.name:>34s} {explicit:9.1f} us {kernel:9.0f} us, ratio {kernel / explicit:6.1f}, counted {counted:6.1f}", flush=True
        )
        jax.clear_caches()


def at_target(rows: list[Row]) -> float:
    """Seconds at the target; those of the loosest tolerance where even that does better."""
    return rows[0].seconds if len(rows) == 1 or rows[0].error <= TARGET else at_error(rows, TARGET, "seconds")[0]


def best(seconds: dict[str, float]) -> float:
    """The shortest time of a named solver."""
    return min(time for solver, time in seconds.items() if solver != DEFAULT)


def draw(table: dict[str, dict[str, float]], chosen: dict[str, str], file: str) -> None:
    """The times of each problem over the best of the three; what the default took in words."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8, 0.32 * len(table) + 1.2), layout="constrained")
    places = np.arange(len(table))
    for solver, style in zip(SOLVERS, ("ko", "C0.", "C1.", "C2."), strict=True):
        ratios = [seconds[solver] / best(seconds) for seconds in table.values()]
        ax.semilogx(ratios, places, style, fillstyle="none", markersize=11 if solver == DEFAULT else 9, label=solver)
    ax.axvline(2, color="0.7", linewidth=1, zorder=0)
    ax.set(
        yticks=places, yticklabels=[f"{name}: {chosen[name]}" for name in table], xlabel=f"seconds at error {TARGET:.0e} over the best's"
    )
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=8)
    fig.savefig(file, dpi=150)


def main() -> None:
    """Runs the benchmark."""
    args = arguments(__doc__ or "", figure=True, costs="time single steps against their counted operations")
    pin()
    if args.costs:
        costs()
        return
    rows, table, chosen = [], {}, {}
    for problem in [one for one in PROBLEMS if not args.quick or one.name in QUICK]:
        mine, chosen[problem.name] = rows_of(problem, 5)
        rows += mine
        table[problem.name] = {solver: at_target([row for row in mine if row.solver == solver]) for solver in SOLVERS}
        jax.clear_caches()
    ratios = {name: seconds[DEFAULT] / best(seconds) for name, seconds in table.items()}
    for name, ratio in ratios.items():
        times = ", ".join(f"{solver} {seconds:.2g} s" for solver, seconds in table[name].items())
        print(f"{name:>34s}: {chosen[name]}, {ratio:.2g} times the best ({times})")
    if args.figure is not None:
        draw(table, chosen, args.figure)
    figures = {"default_worst": max(ratios.values()), "default_median": float(np.median(list(ratios.values())))}
    report("solvers", figures, {"rows": [row._asdict() for row in rows], "seconds": table, "chosen": chosen}, args.json)


if __name__ == "__main__":
    main()
