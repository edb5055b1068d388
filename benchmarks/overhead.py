"""Claim: a lane-step of a sweep costs at most 1.5 times its field evaluations.

Peer: the bare field, evaluated for the whole batch in a compiled loop, times the six evaluations that a step of Tsit5 needs (the seventh
stage is the next step's first). The sweep's time is all of it: steps, step-size control, records by dense output, certificate (loss and
conserved quantities after every step), refilling, the host's loop, the Dataset; compilation apart, one core. Kinks are
stepped over plainly; what it costs to locate them is in benchmarks/kinks.py.

    python -m benchmarks.overhead [--quick] [--json FILE]

A typical printout (two shared cores, one used):

    activation  m    batch  field us  step us  ratio  ratio to 7 stages  steps a lane
          relu  128     64      1.95    16.80   1.44               1.23        225.60
    overhead.ratio = 1.44
    overhead.ratio_stages = 1.23

The printout is a line for each width and batch; `overhead.ratio` is the two-layer ReLU network of 128 neurons on 20 samples at batch 64,
and `overhead.ratio_stages` the same against the seven stages of Tsit5's tableau.
"""

from collections.abc import Callable

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from benchmarks.common import alternating_seconds, arguments, pin, report

STAGES, EVALUATIONS = 7, 6


def field_run(flow: jd.flows.GradientFlow, batch: int, count: int) -> Callable[[], jax.Array]:
    """Something that evaluates the field of a whole batch `count` times."""
    params = jax.vmap(flow.init)(jr.split(jr.key(0), batch))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], params))[1]
    flat = jax.vmap(lambda p: ravel_pytree(p)[0])(params)
    field = jax.vmap(lambda y: ravel_pytree(flow.vector_field(jnp.zeros(()), unravel(y)))[0])
    # each evaluation depends on the one before, so that none can be left out
    run = jax.jit(lambda y: jax.lax.fori_loop(0, count, lambda _, y: y + 1e-9 * field(y), y))
    return lambda: run(flat)


def measure(flow: jd.flows.GradientFlow, batch: int, repeats: int, lanes: int, t1: float) -> tuple[float, float, float]:
    """Seconds of one field evaluation of one lane, of one computed lane-step of a sweep, and mean steps a lane.

    The two are timed in turn, so that what else the machine does falls on both.
    """
    found = {}

    def sweep() -> None:
        how = {"t1": t1, "rtol": 1e-4, "locate_kinks": False, "solver": dfx.Tsit5()}
        found["ds"] = jd.sweep(flow, lanes, **how, width=batch, devices=jax.devices()[:1], progress=False)

    count = 500
    field, step = alternating_seconds([field_run(flow, batch, count), sweep], repeats)
    ds = found["ds"]
    steps = float((ds["num_accepted_steps"] + ds["num_rejected_steps"]).mean())
    return field / count / batch, step / ds.attrs["lane_steps_computed"], steps


def main() -> None:
    asked = arguments(__doc__ or "")
    pin()
    cells = [(128, 64, "relu")] if asked.quick else [(m, b, "relu") for m in (32, 128, 512) for b in (8, 64, 256)] + [(128, 64, "tanh")]
    details, figures = [], {}
    heads = ("activation", "m", "batch", "field us", "step us", "ratio", "ratio to 7 stages", "steps a lane")
    print("  ".join(f"{head:>9s}" for head in heads))
    for width, batch, activation in cells:
        flow = jd.flows.GradientFlow(jd.models.TwoLayer(width=width, activation=activation), jd.losses.square, jd.data.sinusoid(n=20))
        field, step, steps = measure(flow, batch, 5, max(512, 4 * batch), 10.0 if width < 512 else 3.0)
        row = (activation, width, batch, 1e6 * field, 1e6 * step, step / field / EVALUATIONS, step / field / STAGES, steps)
        details.append(dict(zip(heads, row, strict=True)))
        cells_text = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in row)
        print("  ".join(f"{text:>{max(9, len(head))}s}" for text, head in zip(cells_text, heads, strict=True)), flush=True)
        if (width, batch, activation) == (128, 64, "relu"):
            figures["ratio"], figures["ratio_stages"] = row[5], row[6]
    report("overhead", figures, details, asked.json)


if __name__ == "__main__":
    main()
