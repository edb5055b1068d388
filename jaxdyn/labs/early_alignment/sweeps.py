"""The lab's runs: one sweep a shape of data, over data sets and starts."""

from pathlib import Path
from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import data, measure
from ...ensemble import sweep
from ...solve import LossBelow
from ..parts import Runs
from .cells import cells_of, make_flow
from .settings import Settings

ZERO = 1e-6
"""A neuron counts as active on a sample above this cosine: one that dies stops on the boundary."""
EARLY, STEP = 8.0, 0.05
"""Until when the clock's records are dense, and how dense."""
PATHS = ("inner.data.x", "inner.data.y", "inner.model.delta", "log_norm")
COORDINATES = ("kind", "mu", "draw", "norm", "delta", "share")


def right(flow: Any, t: Any, y: Any) -> Any:
    """The share of neurons that are in their class's set, or dead."""
    codes, outer = measure.alignment_sets(flow, t, y, zero=ZERO), y["direction"]["c"]
    return jnp.mean((codes == 0) | (codes == jnp.where(outer > 0, 1, -1)))


def dead(flow: Any, t: Any, y: Any) -> Any:
    """The share of dead neurons."""
    return jnp.mean(measure.alignment_sets(flow, t, y, zero=ZERO) == 0)


def turned_over(flow: Any, t: Any, y: Any, start: Any) -> Any:
    """The share of neurons whose output weight has changed its sign."""
    return jnp.mean(y["direction"]["c"] * start["direction"]["c"] < 0)


def unbalanced(flow: Any, t: Any, y: Any) -> Any:
    """The largest |v^2 - |w|^2| of a neuron, over the squared norm of all weights."""
    return jnp.max(jnp.abs(flow.inner.model.conserved(flow.weights(y))))


def inner(flow: Any, t: Any, y: Any) -> Any:
    """The neurons' inner weights, of the direction."""
    return y["direction"]["a"]


def outer(flow: Any, t: Any, y: Any) -> Any:
    """Their output weights, of the direction."""
    return y["direction"]["c"]


inner.dims, outer.dims = ("hidden", "dim"), ("hidden",)  # pyright: ignore[reportFunctionMemberAccess]
OBSERVE: dict[str, Any] = {
    "log_time": measure.log_time,
    "size": measure.log_norm,
    "loss": measure.loss,
    "right": right,
    "dead": dead,
    "turned_over": turned_over,
    "unbalanced": unbalanced,
    "stable_rank": measure.stable_rank,
    "margin": measure.normalised_margin,
}


def end_of(s: Settings) -> float:
    """The clock's end: growth from the smallest start takes some units for each e-folding."""
    return float(np.ceil(40 - 4 * np.log(min(s.small, s.norms[0]))))


def run_sweeps(s: Settings, store: Path | None, width: int | None, progress: bool) -> dict[str, xr.Dataset]:
    """All runs of the lab.

    Args:
        s: the settings.
        store: the Zarr store, each run a group of it; None keeps everything in memory.
        width: slots of a batch, or None.
        progress: whether to draw bars.

    Returns:
        Datasets over `cell`, `seed` and `time` by name: `n=8` and so on, cones; `plane`, cones of two inputs, with all neurons; `digits`,
        and `mnist` where its folder is given. Each cell has the data's `cosine`, and the limits that theory gives.
    """
    found = Runs(s.leave_out)
    for name in (*(f"n={n}" for n in s.sizes), "plane", "digits", *(("mnist",) if s.mnist else ())):
        if name in s.leave_out:
            continue
        cells = cells_of(s, name)
        rows = [(np.asarray(one.samples.x), np.asarray(one.samples.y), one.delta, float(np.log(one.norm))) for one in cells]
        ds = sweep(
            make_flow(s, cells[0].samples),
            s.seeds,
            {PATHS: rows},
            t1=end_of(s),
            record=np.concatenate([np.arange(0, EARLY, STEP), np.arange(EARLY, end_of(s) + STEP, 5 * STEP)]),
            observe=OBSERVE | ({"inner": inner, "outer": outer} if name == "plane" else {}),
            stop=LossBelow(s.log_loss * np.log(10)),
            solver=dfx.Tsit5(),  # not stiff: naming it saves a compilation of the other
            rtol=s.rtol / 1000 if name == "plane" else s.rtol,
            out=store,
            group=name,
            width=width,
            progress=f"{name:7s}" if progress else False,
        )
        (first,) = (dim for dim in ds["outcome"].dims if dim != "seed")
        plain = ds.rename({first: "cell"})
        plain = plain.drop_vars([one for one in plain.coords if one not in ("seed", "time")])
        plain = plain.assign_coords({one: ("cell", [getattr(cell, one) for cell in cells]) for one in COORDINATES})
        theory = {id(cell.samples): _theory(cell.samples) for cell in cells}
        numbers = {key: ("cell", [theory[id(cell.samples)][key] for cell in cells]) for key in next(iter(theory.values()))}
        found[name] = plain.assign(numbers)
    return found


def _theory(samples: data.Samples) -> dict[str, float]:
    r"""What theory says of a data set.

    Until the weights have grown each class's neurons follow the sum of its samples, whose length is their rate of growth. Late each class
    is a linear max-margin problem, of the margin $\gamma_\pm$ and direction $u_\pm$, with $|W_\pm|^2$ proportional to $1/\gamma_\pm$,
    so that W has rank two.

    Args:
        samples: the data.

    Returns:
        The smallest cosine; whether the data are linearly separable, without which S_+ and S_- are empty; the slower class's rate; the
        limits of normalised margin and stable rank, NaN where a class has no margin.
    """
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    rate = min(float(np.linalg.norm(x[y == sign].sum(0))) for sign in (1, -1))
    classes = measure.class_margins(samples)
    rank = np.nan
    if classes.two_layer_margin > 0:
        rows = [one.direction / np.sqrt(one.margin) for one in (classes.positive, classes.negative)]
        values = np.linalg.svd(np.stack(rows), compute_uv=False)
        rank = float(np.sum(values**2) / values[0] ** 2)
    cosine = float(data.smallest_cosine(samples))
    separable = float(measure.max_margin(x * y[:, None]).margin > 0)
    return {"cosine": cosine, "separable": separable, "rate": rate, "margin_limit": classes.two_layer_margin or np.nan, "rank_limit": rank}
