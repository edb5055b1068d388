"""Claim: with its kinks located, a ReLU flow at error 1e-5 takes a two-hundredth of Tsit5's time and a tenth of gradient descent's.

A two-layer ReLU network of 128 neurons on 20 samples of sin(3x), mean square loss, 16 seeds. Ours is `jd.solve`, which locates kinks by
default, `lax.map` over the lanes under `jit`: the fastest way to call it on one core (`vmap` waits for its slowest lane, and when one lane
has kinks computes those of all; of so short a sweep a good part is its Dataset).

Peers, jitted, one core, compilation apart, in turn with ours:

- Euler: gradient descent with a fixed step, `lax.scan` under `vmap`, which is faster than `lax.map`. In two forms, `jax.grad` of a loss as
  a user writes it in ten lines and a gradient written out by hand; the figures take the faster one.
- Tsit5: `diffrax.diffeqsolve` with our tolerances and PI controller, ForwardMode, on the plain ReLU field; by `lax.map`, which is three
  times faster than `vmap` here, as its lanes differ in length.

Equal accuracy: a lane's error is the largest error of a parameter at the end, against ours at rtol 1e-11. That is compared with ours at
1e-10, and Euler, which converges to it in proportion to its step, vouches for it. What counts is the median over lanes. Costs are
interpolated log-log in the error between settings; Euler's follow from the fit of its error to its step and its time a step. Where the
error is smaller than any that was run, the line says "extrapolated".

    python -m benchmarks.kinks [--quick] [--json FILE] [--figure FILE]

- `evaluations_ratio`, `wall_ratio`: Tsit5 over ours at error 1e-5, alpha = 1, T = 20.
- `euler_ratio`, `euler_ratio_fine`: wall time of Euler over ours at error 1e-5 and 1e-6, alpha = 1, T = 20; `_dense`: alpha = 0.3.
- `step_cost`: one step of ours, rejected ones and the start counted, over one Euler step, at rtol 1e-5 and 1e-6.
- `lanes_per_second_per_core`: of a sweep of 64 lanes, T = 100, at error 1e-6.
- `width_exponent`: of the steps of ours at rtol 1e-5 as a power of the width, 64 to 4096; `_at_error`: at error 1e-6.

The quick run has 8 seeds, 4 for Tsit5, and only alpha = 1, T = 20.

The end of a typical printout, the tables left out (two shared cores, one used):

    error 1e-05: ours 298 evaluations, Tsit5 1.12e+05
    error 1e-05: ours 2.27 ms, Tsit5 458
    us a step: ours 57.39, without location of kinks 15.41, Euler 1.82, Euler by hand 5.44, ours under vmap 92.58, Tsit5 18.80,
        Tsit5 under vmap 51.24
    alpha 1, error 1e-05: ours 2.27 ms a lane, Euler 28.4, ratio 12.5; Euler by hand 79.3, ratio 35.0
    alpha 1, error 1e-06: ours 3.59 ms a lane, Euler 284.2, ratio 79.2; Euler by hand 792.6, ratio 220.8
    alpha 0.3, error 1e-05: ours 1.61 ms a lane, Euler 16.3, ratio 10.2; Euler by hand 45.9, ratio 28.5
    alpha 0.3, error 1e-06: ours 2.55 ms a lane, Euler 163.3, ratio 64.0; Euler by hand 458.5, ratio 179.8
    kinks.evaluations_ratio = 375
    kinks.wall_ratio = 202
    kinks.step_cost = 31.5
    kinks.euler_ratio = 12.5
    kinks.euler_ratio_fine = 79.2
    kinks.euler_ratio_dense = 10.2
    kinks.euler_ratio_dense_fine = 64
    kinks.lanes_per_second_per_core = 84
    kinks.width_exponent = -0.265
    kinks.width_exponent_at_error = 0.0464
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from benchmarks.common import alternating_seconds, arguments, at_error, pin, report
from jaxdyn.plot.style import BLUE, GREEN, GREY, ORANGE, make_figure, save, style

X = np.linspace(-1.0, 1.0, 20)
Y = np.sin(3 * X)
RTOLS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


class Row(NamedTuple):
    """A method at one setting: medians over lanes, the worst lane's error, milliseconds a lane."""

    method: str
    alpha: float
    t1: float
    setting: float
    error: float
    worst: float
    steps: float
    evaluations: float
    kinks: float
    slides: float
    ms: float


class Run(NamedTuple):
    """A method at one setting, not yet run: a call that gives end parameters, steps, evaluations, kinks and slides of each lane."""

    method: str
    setting: float
    lanes: int
    call: Callable[[], tuple]


def make_flow(alpha: float = 1.0, width: int = 128) -> jd.flows.GradientFlow:
    return jd.flows.GradientFlow(jd.models.TwoLayer(width=width, init_scale=alpha), jd.losses.mean_square, jd.data.points(X, Y))


def make_starts(flow: jd.flows.GradientFlow, lanes: int) -> dict[str, jax.Array]:
    return jax.vmap(lambda seed: flow.init(jr.fold_in(jr.key(0), seed)))(jnp.arange(lanes, dtype=jnp.uint32))


@eqx.filter_jit
def ours(flow: jd.flows.GradientFlow, starts: dict, t1: jax.Array, rtol: jax.Array, locate_kinks: bool = True, vmap: bool = False) -> tuple:
    def lane(start: dict) -> tuple:
        sol = jd.solve(flow, start, t1, rtol=rtol, record=2, locate_kinks=locate_kinks, solver=dfx.Tsit5())
        c = sol.certificate
        return sol.params, c.num_accepted_steps + c.num_rejected_steps, c.num_field_evaluations, c.num_kinks, c.num_slides

    return jax.vmap(lane)(starts) if vmap else jax.lax.map(lane, starts)


@eqx.filter_jit
def tsit5(flow: jd.flows.GradientFlow, starts: dict, t1: jax.Array, rtol: jax.Array, vmap: bool = False) -> tuple:
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], starts))[1]
    term = dfx.ODETerm(lambda t, y, args: ravel_pytree(flow.vector_field(t, unravel(y)))[0])
    controller = dfx.PIDController(rtol=rtol, atol=1e-2 * rtol, pcoeff=0.3, icoeff=0.4)

    def lane(start: dict) -> tuple:
        y0 = ravel_pytree(start)[0]
        how = {"stepsize_controller": controller, "adjoint": dfx.ForwardMode(), "max_steps": 10**8, "throw": False}
        solution = dfx.diffeqsolve(term, dfx.Tsit5(), 0.0, t1, None, y0, **how)
        steps = solution.stats["num_steps"]
        return unravel(solution.ys[0]), steps, 6 * steps + 3, jnp.zeros(()), jnp.zeros(())

    return jax.vmap(lane)(starts) if vmap else jax.lax.map(lane, starts)


def by_grad(p: dict, h: float) -> dict:
    """One Euler step as a user writes it."""

    def loss(p: dict) -> jax.Array:
        z = X[:, None] * p["a"][:, 0] - p["b"]
        return 0.5 * jnp.mean((jax.nn.relu(z) @ p["c"] / np.sqrt(p["c"].size) - Y) ** 2)

    return jax.tree.map(lambda leaf, slope: leaf - h * slope, p, jax.grad(loss)(p))


def by_hand(p: dict, h: float) -> dict:
    """One Euler step with the gradient written out, gates as a matrix."""
    inputs, root = np.stack([X, -np.ones_like(X)], 1), np.sqrt(p["c"].size)
    inner = jnp.stack([p["a"][:, 0], p["b"]], 1)
    z = inputs @ inner.T
    gates = (z > 0) * 1.0
    residual = ((gates * z) @ p["c"] / root - Y) / len(X) / root
    pull = (gates * residual[:, None]).T @ inputs
    moved = inner - h * p["c"][:, None] * pull
    return {"a": moved[:, :1], "b": moved[:, 1], "c": p["c"] - h * (inner * pull).sum(1)}


@partial(jax.jit, static_argnums=(0, 2))
def euler(step: Callable, starts: dict, steps: int, t1: float) -> dict:
    descend = lambda p, _: (step(p, t1 / steps), None)  # noqa: E731
    return jax.vmap(lambda start: jax.lax.scan(descend, start, None, length=steps)[0])(starts)


def euler_run(step: Callable, starts: dict, size: float, t1: float) -> Run:
    steps, lanes = round(t1 / size), len(starts["b"])
    none = np.zeros(lanes)
    name = "Euler" if step is by_grad else "Euler by hand"
    return Run(name, size, lanes, lambda: (euler(step, starts, steps, t1), none + steps, none + steps, none, none))


def errors(params: dict, truth: dict) -> np.ndarray:
    """Of each lane, the largest error of a parameter; the truth may have more lanes."""
    gaps = [np.abs(np.asarray(leaf) - np.asarray(truth[name])[: len(leaf)]).reshape(len(leaf), -1) for name, leaf in params.items()]
    return np.concatenate(gaps, 1).max(1)


def adaptive_run(method: Callable, flow: jd.flows.GradientFlow, starts: dict, t1: float, rtol: float, **options: bool) -> Run:
    # as arrays, or every tolerance would be compiled anew
    return Run(method.__name__, rtol, len(starts["b"]), partial(method, flow, starts, jnp.asarray(t1), jnp.asarray(rtol), **options))


def measure(alpha: float, t1: float, runs: list[Run], truth: dict, repeats: int) -> list[Row]:
    """A row for each run; they are timed in turn."""
    outputs = [run.call() for run in runs]
    seconds = alternating_seconds([run.call for run in runs], repeats, compiled=True)
    rows = []
    for run, (params, *counts), time in zip(runs, outputs, seconds, strict=True):
        error = errors(params, truth)
        medians = [float(np.median(count)) for count in counts]
        rows.append(Row(run.method, alpha, t1, run.setting, float(np.median(error)), float(error.max()), *medians, 1e3 * time / run.lanes))
    return rows


def cell(alpha: float, t1: float, lanes: int, repeats: int, sizes: Sequence[float], rtols: Sequence[float], few: int) -> list[Row]:
    """All methods at one scale and end time: Euler at these step sizes, Tsit5 at these tolerances and with fewer lanes."""
    flow = make_flow(alpha)
    starts, first = make_starts(flow, lanes), make_starts(flow, few)
    truth, check = (adaptive_run(ours, flow, starts, t1, rtol).call()[0] for rtol in (1e-11, 1e-10))
    gap = errors(check, truth)
    print(f"alpha {alpha:g}, T {t1:g}: reference at rtol 1e-11 and 1e-10 differ by {np.median(gap):.1e}, at most {gap.max():.1e}")
    runs = [adaptive_run(ours, flow, starts, t1, rtol) for rtol in RTOLS]
    runs += [euler_run(by_grad, starts, size, t1) for size in sizes] + [euler_run(by_hand, starts, size, t1) for size in sizes[:1]]
    runs += [adaptive_run(tsit5, flow, first, t1, rtol) for rtol in rtols]
    rows = measure(alpha, t1, runs, truth, repeats)
    show(rows)
    return rows


def show(rows: list[Row]) -> None:
    print(f"{'method':>13s}  {'rtol or step':>12s}  {'error':>7s}  {'worst':>7s}  steps  evaluations  kinks  slides  ms a lane")
    for row in rows:
        start = f"{row.method:>13s}  {row.setting:>12.2g}  {row.error:>7.1e}  {row.worst:>7.1e}  {row.steps:>5.0f}"
        print(f"{start}  {row.evaluations:>11.0f}  {row.kinks:>5.0f}  {row.slides:>6.0f}  {row.ms:>9.2f}", flush=True)


def of(rows: list[Row], method: str) -> list[Row]:
    return [row for row in rows if row.method == method]


def compare_euler(rows: list[Row], target: float) -> tuple[float, dict]:
    """The faster form of Euler over ours at an error, wall time; Euler's error is proportional to its step."""
    mine, mark = at_error(of(rows, "ours"), target, "ms")
    fixed = of(rows, "Euler")
    steps = fixed[0].t1 / target * np.exp(np.mean([np.log(row.error / row.setting) for row in fixed]))
    grad, hand = (steps * min(row.ms / row.steps for row in of(rows, name)) for name in ("Euler", "Euler by hand"))
    more = " (extrapolated)" if min(row.error for row in fixed) > target else ""
    start = f"alpha {rows[0].alpha:g}, error {target:.0e}: ours {mine:.2f} ms a lane{mark}"
    print(f"{start}, Euler {grad:.1f}{more}, ratio {grad / mine:.1f}; Euler by hand {hand:.1f}, ratio {hand / mine:.1f}")
    found = {"alpha": rows[0].alpha, "error": target, "ours ms": mine, "Euler ratio": grad / mine, "Euler by hand ratio": hand / mine}
    return min(grad, hand) / mine, found


def compare_tsit5(rows: list[Row], target: float) -> dict[str, float]:
    """Tsit5 over ours at an error: evaluations and wall time."""
    found = {}
    for what, name in (("evaluations", "evaluations_ratio"), ("ms", "wall_ratio")):
        mine, theirs = (at_error(of(rows, method), target, what) for method in ("ours", "tsit5"))
        print(f"error {target:.0e}: ours {mine[0]:.3g} {what}{mine[1]}, Tsit5 {theirs[0]:.3g}{theirs[1]}")
        found[name] = theirs[0] / mine[0]
    return found


def step_cost(lanes: int, repeats: int, vmapped: bool) -> tuple[float, dict]:
    """A step of ours over one of Euler, the faster form; and microseconds of each and others, waiting for slower lanes included."""
    flow = make_flow()
    starts = make_starts(flow, lanes)
    adaptive = lambda method, *rtols, **options: [adaptive_run(method, flow, starts, 20.0, rtol, **options) for rtol in rtols]  # noqa: E731
    groups = {
        "ours": adaptive(ours, 1e-5, 1e-6),
        "without location of kinks": adaptive(ours, 1e-5, 1e-6, locate_kinks=False),
        "Euler": [euler_run(by_grad, starts, 1e-3, 20.0)],
        "Euler by hand": [euler_run(by_hand, starts, 4e-3, 20.0)],
    }
    if vmapped:
        groups |= {"ours under vmap": adaptive(ours, 1e-5, 1e-6, vmap=True)}
        groups |= {"Tsit5": adaptive(tsit5, 1e-6), "Tsit5 under vmap": adaptive(tsit5, 1e-6, vmap=True)}
    names, runs = zip(*((name, run.call) for name, group in groups.items() for run in group), strict=True)
    steps = [float(np.sum(run()[1])) for run in runs]
    table = np.stack([alternating_seconds(runs, repeats, compiled=True), steps], 1)
    seconds, counts = np.stack([table[np.asarray(names) == name].sum(0) for name in groups], 1)
    found = dict(zip(groups, (1e6 * seconds / counts).tolist(), strict=True))
    print("us a step: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    return found["ours"] / min(found["Euler"], found["Euler by hand"]), found


def throughput(rows: list[Row], lanes: int, repeats: int) -> tuple[float, dict]:
    """Lanes a second of a sweep at error 1e-6, T = 100; the best of some widths."""
    rtol, _ = at_error(of(rows, "ours"), 1e-6, "setting")
    flow = make_flow()
    how = {"t1": 100.0, "rtol": rtol, "record": 2, "solver": dfx.Tsit5(), "devices": jax.devices()[:1], "progress": False}
    widths = (4, 8, 16)
    runs = [partial(jd.sweep, flow, lanes, **how, width=width) for width in widths]
    runs.append(adaptive_run(ours, flow, make_starts(flow, lanes), 100.0, rtol).call)
    rates = [lanes / seconds for seconds in alternating_seconds(runs, repeats)]
    found = dict(zip((*(f"sweep of width {width}" for width in widths), "lax.map"), rates, strict=True))
    print(f"lanes a second, {lanes} lanes, T 100, rtol {rtol:.1e}: " + ", ".join(f"{name} {rate:.1f}" for name, rate in found.items()))
    return max(rates[:-1]), found


def long_times(lanes: int) -> list[dict]:
    """How kinks and steps grow with time; at a loose tolerance neurons that rest on their samples let go and return."""
    flow = make_flow()
    starts, found = make_starts(flow, lanes), []
    for rtol in (1e-5, 1e-7):
        for t1 in (10.0, 100.0, 1e3, 1e4):
            _, steps, _, kinks, slides = adaptive_run(ours, flow, starts, t1, rtol).call()
            medians = {name: float(np.median(count)) for name, count in (("steps", steps), ("kinks", kinks), ("slides", slides))}
            found.append({"rtol": rtol, "T": t1} | medians)
            print(", ".join(f"{name} {value:g}" for name, value in found[-1].items()), flush=True)
    return found


def width_curve(lanes: int) -> tuple[dict[str, float], list[dict]]:
    """Steps against width, with fitted exponents: at a tolerance, which is one of the root mean square, and at an error."""
    found = []
    for width in 2 ** np.arange(6, 13):
        flow = make_flow(width=int(width))
        truth, *runs = (adaptive_run(ours, flow, make_starts(flow, lanes), 20.0, rtol) for rtol in (1e-11, *RTOLS[2:]))
        rows = measure(1.0, 20.0, runs, truth.call()[0], 1)
        row = rows[0]._asdict()
        found.append({"m": int(width)} | {name: row[name] for name in ("steps", "kinks", "error", "ms")})
        found[-1]["steps at error 1e-6"] = at_error(rows, 1e-6, "steps")[0]
        print(", ".join(f"{name} {value:.4g}" for name, value in found[-1].items()), flush=True)
    names = {"width_exponent": "steps", "width_exponent_at_error": "steps at error 1e-6"}
    m = np.log([row["m"] for row in found])
    return {name: float(np.polyfit(m, np.log([row[key] for row in found]), 1)[0]) for name, key in names.items()}, found


def draw(rows: list[Row], widths: list[dict], file: str) -> None:
    """Work against precision at each scale, and steps against width."""
    alphas = sorted({row.alpha for row in rows})
    names = [f"alpha = {alpha:g}, T = 20" for alpha in alphas]
    looks = {"ours": (BLUE, "o", "kinks located"), "tsit5": (ORANGE, "s", "Tsit5"), "Euler": (GREEN, "^", "Euler")}
    with style():
        figure, axes = make_figure((9.0, 6.5), [names[:2], [*names[2:], "width"]])
        for alpha, name in zip(alphas, names, strict=True):
            for method, (colour, marker, label) in looks.items():
                some = [row for row in of(rows, method) if (row.alpha, row.t1) == (alpha, 20.0)]
                axes[name].loglog([row.error for row in some], [row.ms for row in some], marker=marker, color=colour, label=label)
            axes[name].set(title=name, xlabel="largest error of a parameter, median lane", ylabel="ms a lane")
            axes[name].invert_xaxis()
        axes[names[0]].legend()
        m, steps, fine = ([row[key] for row in widths] for key in ("m", "steps", "steps at error 1e-6"))
        axes["width"].loglog(m, steps, "o-", color=BLUE, label="kinks located, rtol 1e-5")
        axes["width"].loglog(m, fine, "o--", color=BLUE, label="kinks located, error 1e-6")
        axes["width"].loglog(m, fine[0] * np.sqrt(np.divide(m, m[0])), ":", color=GREY, label="square root")
        axes["width"].set(title="alpha = 1, T = 20", xlabel="neurons", ylabel="steps, median lane")
        axes["width"].legend()
        save(figure, [file])


def main() -> None:
    asked = arguments(__doc__ or "", figure=True)
    pin()
    repeats = 3
    lanes, sizes = (8, (4e-3, 2e-3, 1e-3, 5e-4)) if asked.quick else (16, (4e-3, 2e-3, 1e-3, 5e-4, 1e-4))
    rows = cell(1.0, 20.0, lanes, repeats, sizes, (1e-6, 1e-7, 1e-8), 4 if asked.quick else lanes)
    figures, details = compare_tsit5(rows, 1e-5), {}
    figures["step_cost"], details["step"] = step_cost(lanes, repeats, vmapped=not asked.quick)
    scales = {"": rows}
    if not asked.quick:
        scales["_dense"] = cell(0.3, 20.0, lanes, repeats, sizes, (1e-5, 1e-6, 1e-7), lanes)
    for scale, some in scales.items():
        for end, target in (("", 1e-5), ("_fine", 1e-6)):
            figures[f"euler_ratio{scale}{end}"], details[f"Euler{scale}{end}"] = compare_euler(some, target)
    if not asked.quick:
        lazy = cell(3.0, 20.0, lanes, repeats, sizes, (1e-5, 1e-6, 1e-7), lanes)
        long, *others = (cell(alpha, 100.0, lanes, repeats, (), (), lanes) for alpha in (1.0, 0.3, 3.0))
        rows = sum([scales["_dense"], lazy, long, *others], rows)
        figures["lanes_per_second_per_core"], details["lanes a second"] = throughput(long, 64, repeats)
        details["long times"] = long_times(4)
        exponents, details["widths"] = width_curve(8)
        figures |= exponents
        if asked.figure:
            draw(rows, details["widths"], str(asked.figure))
    report("kinks", figures, details | {"rows": [row._asdict() for row in rows]}, asked.json)


if __name__ == "__main__":
    main()
