"""Claims about gradient descent, its first step, and ReLU networks."""

import functools

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import data
from ..base import Claim
from ..parts import tested
from .claims_flow import Cell, below, cells_of, joined, largest, make_claim, off_the_duals, output_signs
from .settings import Settings
from .sweeps import drawn_for, flow_of, starts_of, step_of
from .theory import first_gradient, limit_of, relu_end, stable_rank

FREI = "Frei et al. 2022, arXiv 2210.07082, the theorem on gradient descent"
GROWN = 16
"""How much larger the networks are whose limits are computed without runs."""
KOU = "Kou, Chen & Gu 2023, arXiv 2310.18935"


def claims_of_descent(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """Claims about gradient descent, and about ReLU.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    return tested(
        *(functools.partial(lambda slope: _leaky(s, slope, cells_of(s, found[f"descent-{slope:g}"], slope)), slope) for slope in s.slopes),
        lambda: _relu(s, cells_of(s, found["flow-0"], 0.0), cells_of(s, found["descent-0"], 0.0)),
        lambda: _first_step(s, found),
    )


def powers(sizes: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The power of |W| as which the excess of stable ranks over 1 falls, over the later half of the records.

    Args:
        sizes: |W|, shape (run, time).
        excess: shape (run, time, sign).

    Returns:
        One a run and sign.
    """
    half = sizes.shape[1] // 2
    x = np.log(sizes[:, half:]) - np.log(sizes[:, half:]).mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.einsum("rt,rts->rs", x, np.log(excess[:, half:])) / np.sum(x**2, axis=1)[:, None]


def _leaky(s: Settings, slope: float, cells: dict[str, Cell]) -> list[Claim]:
    known = {name: cell for name, cell in cells.items() if cell.limit.all_active}
    seeds = sum(cell.runs.sizes["seed"] for cell in known.values())
    where = f"slope {slope:g}, {', '.join(known)}"
    end = joined([cell.runs["ranks_end"].values - 1 for cell in known.values()])
    slopes = joined([powers(cell.runs["size"].values[:, 1:], cell.runs["ranks"].values[:, 1:] - 1) for cell in known.values()])
    margin, loss = off_the_duals(known, {name: np.log(cell.runs["loss_end"].values) for name, cell in known.items()})
    ratio = joined([cell.runs["spread_end"].values for cell in known.values()])
    late = np.log(s.rate * s.steps)
    tolerance = 30 * late / (s.rate * s.steps)
    return [
        make_claim(
            f"descent-ranks-{slope:g}",
            paper=KOU,
            statement=f"by gradient descent the neurons of each output sign tend to stable rank 1, {where}",
            measured=float(np.mean(slopes)) if slopes.size else np.nan,
            uncertainty=float(np.ptp(slopes)) if slopes.size else np.nan,
            expected=f"-2: the first step's differences stay and |W| grows; the largest stable rank at the end is 1 + {largest(end):.2g}",
            judged=largest(slopes + 2) <= 0.1,
            tolerance=0.1,
            reason="steps after the first that still move neurons apart change the power by less",
            seeds=seeds,
            unit="power of |W| as which the stable rank less 1 falls; range of all runs and signs",
        ),
        make_claim(
            f"descent-margins-{slope:g}",
            paper=f"{KOU}; the offsets are derived",
            statement=f"all samples get the same normalised margin, as y_i f_i = log t - log(dual i), {where}",
            measured=margin,
            expected=f"0; at t = {s.rate * s.steps:g} the margins still differ by factors of up to {1 + largest(ratio):.3g}",
            judged=margin <= tolerance,
            tolerance=tolerance,
            reason="30 log t / t: descent lags behind its flow by a few logarithms",
            seeds=seeds,
            unit="largest difference of y f from the prediction",
        ),
        make_claim(
            f"descent-loss-{slope:g}",
            paper=f"{KOU}; the constant is derived",
            statement=f"the loss is Theta(1/t): t times it tends to the sum of the duals, {where}",
            measured=loss,
            expected="0",
            judged=loss <= tolerance,
            tolerance=tolerance,
            reason="as above",
            seeds=seeds,
            unit=f"largest relative difference at t = {s.rate * s.steps:g}",
        ),
    ]


def relu_prediction(s: Settings, cell: Cell) -> np.ndarray:
    """The inner weights that follow from the starts on orthonormal data, shape (seed, neuron, input)."""
    starts = starts_of(flow_of(s, 0.0), int(cell.runs["seed"].values.max()) + 1)[cell.runs["seed"].values]
    signs = output_signs(s.width)
    return np.stack([relu_end(one, signs, cell.samples, late) for one, late in zip(starts, cell.runs["late"].values, strict=True)])


def active_shares(cell: Cell, inner: np.ndarray) -> np.ndarray:
    """The share of the neurons of a sign that are active on each sample of their class, shape (seed, sign, sample of the class)."""
    z = inner @ np.asarray(cell.samples.x).T
    active = z > 1e-9 * np.abs(z).max(axis=(1, 2), keepdims=True)
    y = np.asarray(cell.samples.y)
    return np.stack([active[:, k::2][:, :, y == sign].mean(1) for k, sign in ((0, 1), (1, -1))], axis=1)


def relu_ranks_when_large(s: Settings, times: int) -> np.ndarray:
    """The stable ranks of the limits of larger networks on more orthonormal samples, by their starts, shape (draw, sign)."""
    number, width = s.samples * times, s.width * times
    samples = data.points(jnp.eye(number), jnp.where(jnp.arange(number) % 2 == 0, 1.0, -1.0))
    signs = output_signs(width)
    starts = np.random.default_rng(2).normal(size=(8, width, number))
    ends = [relu_end(start, signs, samples, s.decades * np.log(10)) for start in starts]
    return np.asarray([[stable_rank(end[k::2]) for k in (0, 1)] for end in ends])


def _relu(s: Settings, flow: dict[str, Cell], descent: dict[str, Cell]) -> list[Claim]:
    cell = flow["orthonormal"]
    seeds = cell.runs.sizes["seed"]
    inner = cell.runs["inner"].values
    then = relu_prediction(s, cell) if seeds else inner
    offs = np.linalg.norm(inner - then, axis=(1, 2)) / np.linalg.norm(then, axis=(1, 2))
    ranks = cell.runs["ranks_end"].values
    expected = np.asarray([[stable_rank(one[k::2]) for k in (0, 1)] for one in then]).reshape(ranks.shape)
    shares = active_shares(cell, then)
    bounds = np.mean(1 / shares, axis=-1)
    wide = relu_ranks_when_large(s, GROWN)
    slopes = joined([loss_slopes(one.runs) for one in descent.values()])
    tight = 100 * s.rtol
    return [
        make_claim(
            "relu-limit",
            paper=f"{KOU}, for the setting; the limit is derived",
            statement="by the flow a ReLU network on orthonormal data ends where its gates at the start say",
            measured=largest(offs),
            expected="0",
            judged=largest(offs) <= tight,
            tolerance=tight,
            reason="a hundred times the flow's relative tolerance",
            seeds=seeds,
            unit="largest relative distance of W to the prediction from the start",
        ),
        make_claim(
            "relu-ranks",
            paper=f"{KOU}: bounded by a constant; this bound is derived",
            statement="the stable rank of the neurons of a sign is at most the mean over samples of m_+ / (active neurons), orthonormal",
            measured=largest(ranks / bounds),
            uncertainty=largest(ranks - expected),
            expected="<= 1",
            judged=below(largest(ranks / bounds), tight),
            tolerance=tight,
            reason="a hundred times the flow's relative tolerance",
            seeds=seeds,
            unit="largest ratio of stable rank and bound; largest difference of the rank from the starts' prediction",
        ),
        make_claim(
            "relu-constant",
            paper=f"{KOU}; by the limit on orthonormal data that the runs confirm",
            statement=f"that stable rank is bounded by a constant: it does not grow with {GROWN} times as many neurons, samples and inputs",
            measured=float(wide.mean()),
            uncertainty=float(np.ptp(wide)),
            expected=f"2 as m and n grow, half of the neurons being active; {ranks.mean() if ranks.size else np.nan:.3g} in the runs",
            judged=bool(abs(wide.mean() - 2) <= 0.2),
            tolerance=0.2,
            reason="the number of active neurons scatters by a part of 1/sqrt(m)",
            seeds=wide.shape[0],
            unit="mean stable rank of a sign's neurons; range of all draws and signs",
        ),
        make_claim(
            "relu-loss",
            paper=KOU,
            statement="the loss of ReLU networks falls like 1/t under gradient descent, all data",
            measured=float(np.mean(slopes)) if slopes.size else np.nan,
            uncertainty=float(np.ptp(slopes)) if slopes.size else np.nan,
            expected="-1",
            judged=largest(slopes + 1) <= 0.05,
            tolerance=0.05,
            reason="samples with few active neurons are late by factors that a decade does not forget",
            seeds=slopes.size,
            unit="slope of log loss against log t in the last decade; range of all runs",
        ),
    ]


def loss_slopes(runs: xr.Dataset) -> np.ndarray:
    """The slope of log loss against log t over the last decade, a run each."""
    t = runs["time"].values
    late = t >= t[-1] / 10
    x = np.log(t[late]) - np.log(t[late]).mean()
    return np.log(runs["loss"].values[:, late]) @ x / np.sum(x**2)


def predicted_step(s: Settings, neurons: int, dim: int) -> np.ndarray:
    """The stable ranks after one step from starts of norm 0, from the gates at the starts, one a seed."""
    drawn = drawn_for(s, dim)
    x, y = np.asarray(drawn.x), np.asarray(drawn.y)
    signs = output_signs(neurons)
    starts = starts_of(step_of(s, neurons, dim, 1.0), s.seeds)
    return np.asarray([stable_rank(first_gradient(one, signs, x, y, s.slopes[0])) for one in starts])


def start_share(s: Settings, neurons: int, dim: int) -> float:
    """The part that the smallest starts have of |W|_F^2 after a step, and of |W|_F in the samples' span, where both meet at first order.

    Args:
        s: the settings.
        neurons: m.
        dim: inputs.

    Returns:
        Their sum, for orthonormal data with as many open gates as closed ones.
    """
    step = s.rate / 2 * np.sqrt(s.samples * (1 + s.slopes[0] ** 2) / 2)
    return neurons * dim * (s.scales[0] / step) ** 2 + np.sqrt(neurons * s.samples) * s.scales[0] / step


def _first_step(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """Of the runs from starts of many scales."""
    runs = {size: found[f"step-{size[0]}x{size[1]}"] for size in s.sizes}
    small, large = s.sizes[0], s.sizes[-1]
    before = {size: ds["rank"].values[:, :, 0] for size, ds in runs.items()}
    after = {size: ds["rank"].values[:, :, 1] for size, ds in runs.items()}
    expected = {size: predicted_step(s, *size) for size in s.sizes}
    errors = np.concatenate([after[size][0] / expected[size] - 1 for size in s.sizes])
    means = {size: float(after[size][0].mean()) for size in s.sizes}
    growth = means[large] / means[small]
    start_growth = float(before[large][0].mean() / before[small][0].mean())
    bound = 1 / s.slopes[0] ** 2
    later = runs[small]["rank"].values[0][:, 1:].max(1)
    kept = after[large][-1] / before[large][-1]
    tolerance = 2 * start_share(s, *large)
    where = f"slope {s.slopes[0]:g}, starts of scale {s.scales[0]:g}"
    return [
        make_claim(
            "one-step",
            paper=FREI,
            statement=f"one step takes the stable rank down to that of the gradient at the start's gates, {where}",
            measured=means[large],
            uncertainty=float(np.ptp(after[large][0])),
            expected=f"{expected[large].mean():.6g}, from {before[large][0].mean():.4g} before, {large[0]} neurons and {large[1]} inputs",
            judged=largest(errors) <= tolerance,
            tolerance=tolerance,
            reason="twice the part that the start has of |W|_F^2 after the step, and of |W|_F in the samples' span",
            seeds=errors.size,
            unit="mean stable rank after one step; range of all seeds",
        ),
        make_claim(
            "one-step-constant",
            paper=FREI,
            statement=f"the stable rank after one step is bounded by a constant that neither m nor d enters, {where}",
            measured=growth,
            expected=f"<= 1, where that before grows {start_growth:.3g}-fold from {small[0]} x {small[1]} to {large[0]} x {large[1]}; "
            f"{', '.join(f'{one:.3g}' for one in means.values())} after",
            judged=growth <= 1.05,
            tolerance=0.05,
            reason="gates of few neurons scatter",
            seeds=s.seeds,
            unit="ratio of the mean stable ranks after one step",
        ),
        make_claim(
            "stays-low",
            paper=FREI,
            statement=f"it stays bounded by a constant for all later steps, {where}, {s.first} steps",
            measured=float(later.max()),
            uncertainty=float(np.ptp(later)),
            expected=f"<= 1 / gamma^2 = {bound:.4g}, for orthogonal inputs (derived); {before[small][0].mean():.4g} before, "
            f"{limit_of(drawn_for(s, small[1]), s.slopes[0]).stable_rank:.4g} in the limit",
            judged=below(float(later.max() / bound)),
            tolerance=0.0,
            reason="a bound: steps add to a neuron between gamma and 1 times the same for each sample",
            seeds=later.size,
            unit="largest stable rank after the first step; range of all seeds",
        ),
        make_claim(
            "large-start",
            paper=f"{FREI}: the start must be small",
            statement=f"a step from starts of scale {s.scales[-1]:g} takes the rank nowhere",
            measured=float(kept.mean()),
            uncertainty=float(np.ptp(kept)),
            expected="1",
            judged=bool(np.all(kept > 0.9)),
            tolerance=0.1,
            reason="a step is then a small part of W",
            seeds=kept.size,
            unit="stable rank after one step over that before; range of all seeds",
        ),
    ]
