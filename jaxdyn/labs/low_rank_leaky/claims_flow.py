"""Claims about the gradient flow of leaky ReLU networks: rank, margins, the limit, and where the assumption is not met."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import data, measure
from ...solve import Outcome
from .. import base
from ..base import Claim, Verdict
from .settings import Settings
from .theory import Limit, late_rows, limit_of, orthogonality, orthonormal_rank, samples_of

make_claim = functools.partial(base.make_claim, "low-rank-leaky")
FREI = "Frei et al. 2022, arXiv 2210.07082, the theorem on gradient flow"
FRESH = 1000
"""Inputs on which the decision boundary is looked at."""
LOOSE = 0.8
"""A bound that exceeds what is measured by more than a quarter is loose."""
DRAWS = 100
"""Data sets of each dimension in which the convex problem alone is solved."""


class Cell(NamedTuple):
    """The runs of a slope on one data set, those that came to the end with all samples classified.

    Attributes:
        samples: the data.
        limit: what theory says of them.
        met: how many times over the paper's assumption is met.
        runs: over `seed` and what a run has besides.
        lost: the number of other runs.
    """

    samples: data.Samples
    limit: Limit
    met: float
    runs: xr.Dataset
    lost: int


def cells_of(s: Settings, ds: xr.Dataset, slope: float) -> dict[str, Cell]:
    """The runs of a slope by data set.

    Args:
        s: the settings.
        ds: the runs.
        slope: gamma.

    Returns:
        The cells.
    """
    found = {}
    for name, samples in samples_of(s, slope).items():
        runs = ds.sel(cell=name)
        ended = np.isin(runs["outcome"].values, [int(Outcome.stopped), int(Outcome.t1_reached)])
        good = ended & (np.min(runs["outputs"].values * np.asarray(samples.y), axis=-1) > 0)
        met = orthogonality(samples, slope or 1.0)
        found[name] = Cell(samples, limit_of(samples, slope), met, runs.isel(seed=good), int(np.sum(~good)))
    return found


def of_unit_norm(inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V and U of networks whose neurons of a sign are equal, and how far they are from being so.

    Args:
        inner: inner weights, shape (seed, neuron, input), those of positive output weight first, third and so on.

    Returns:
        The two mean rows times the root of their number, at unit norm of W, shape (seed, 2, input); the norm of the rest.
    """
    unit = inner / np.linalg.norm(inner, axis=(1, 2), keepdims=True)
    pairs = unit.reshape(len(unit), unit.shape[1] // 2, 2, unit.shape[2])
    means = pairs.mean(1)
    return means * np.sqrt(pairs.shape[1]), np.sqrt(np.sum((pairs - means[:, None]) ** 2, axis=(1, 2, 3)))


def disagreements(inner: np.ndarray, slope: float) -> np.ndarray:
    """The share of fresh inputs on which the signs of the network and of x . sum_j a_j w_j differ.

    Args:
        inner: inner weights, shape (seed, neuron, input).
        slope: gamma.

    Returns:
        One number a seed.
    """
    x = np.random.default_rng(1).normal(size=(FRESH, inner.shape[-1]))
    signs = output_signs(inner.shape[1])
    z = inner @ x.T
    network = np.einsum("j,sjx->sx", signs, np.where(z > 0, z, slope * z))
    return np.mean(np.sign(network) != np.sign(np.einsum("j,sjx->sx", signs, z)), axis=1)


def boundary_norms(cell: Cell, inner: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """|z| of networks scaled to the smallest margin 1, over the norm of the linear max-margin separator.

    Args:
        cell: the data.
        inner: inner weights, shape (seed, neuron, input).
        outputs: of the samples, shape (seed, sample).

    Returns:
        One number a seed.
    """
    x, y = np.asarray(cell.samples.x), np.asarray(cell.samples.y)
    signs = output_signs(inner.shape[1]) / np.sqrt(inner.shape[1])
    scaled = np.linalg.norm(np.einsum("j,sjd->sd", signs, inner), axis=1) / np.min(outputs * y, axis=1)
    return scaled * measure.max_margin(x * y[:, None]).margin


def claims_of_the_flow(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """Claims about the flow of leaky ReLU networks.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    claims = []
    for slope in s.slopes:
        cells = cells_of(s, found[f"flow-{slope:g}"], slope)
        claims += _where_met(s, slope, cells)
        claims += _limits(s, slope, cells)
        claims.append(_assumption(s, slope))
    return [*claims, *_beyond(s, found)]


def output_signs(width: int) -> np.ndarray:
    """The signs of the output weights: positive for the first neuron, the third and so on."""
    return np.where(np.arange(width) % 2 == 0, 1.0, -1.0)


def below(ratio: float, slack: float = 0.0) -> Verdict:
    """Whether what is measured is below its bound, of which it is this part: loosely, or at all."""
    return ("loose" if ratio < LOOSE else "holds") if ratio <= 1 + slack else "does not hold"


def off_the_duals(known: dict[str, Cell], log_losses: dict[str, np.ndarray]) -> tuple[float, float]:
    """How far outputs and losses are from what the duals predict, y f = log t - log(dual) and t times the loss their sum.

    Args:
        known: the data on which all samples are active.
        log_losses: the logarithms of the losses at the end, by data, one a seed.

    Returns:
        The largest difference of y f, and the largest relative one of the loss.
    """
    margins, losses = [], []
    for name, cell in known.items():
        late = cell.runs["late"].values
        margins.append(cell.runs["outputs"].values * np.asarray(cell.samples.y) - cell.limit.at(late))
        losses.append(np.exp(log_losses[name] + late) / cell.limit.duals.sum() - 1)
    return largest(joined(margins)), largest(joined(losses))


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """All of them in one row."""
    return np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)


def largest(values: np.ndarray) -> float:
    """The largest absolute value; NaN where there are none."""
    return float(np.max(np.abs(values))) if values.size else np.nan


def _where_met(s: Settings, slope: float, cells: dict[str, Cell]) -> list[Claim]:
    met = {name: cell for name, cell in cells.items() if cell.met >= 1}
    lost = sum(cell.lost for cell in met.values())
    seeds = sum(cell.runs.sizes["seed"] for cell in met.values())
    where = f"slope {slope:g}, {' and '.join(met)}"
    thirds = joined([cell.runs["third_end"].values for cell in met.values()])
    apart = joined([disagreements(cell.runs["inner"].values, slope) for cell in met.values()])
    norms = joined([boundary_norms(cell, cell.runs["inner"].values, cell.runs["outputs"].values) for cell in met.values()])
    spreads = met["orthonormal"].runs["spread_end"].values
    bound = 2 / (1 + slope)
    share = float(norms.max()) / bound if norms.size else np.nan
    return [
        make_claim(
            f"rank-{slope:g}",
            paper=FREI,
            statement=f"the limit has rank at most 2, {where}",
            measured=largest(thirds),
            expected="0",
            judged=not lost and largest(thirds) <= s.start,
            tolerance=s.start,
            reason="the norm of the start: what neurons differ by at the start stays while they grow",
            seeds=seeds,
            unit=f"largest third singular value over the first at t = 1e{s.decades:g}",
        ),
        make_claim(
            f"equal-{slope:g}",
            paper=FREI,
            statement=f"all samples have the same margin, slope {slope:g}, orthonormal",
            measured=largest(spreads),
            expected="0",
            judged=largest(spreads) <= 100 * s.rtol,
            tolerance=100 * s.rtol,
            reason="a hundred times the flow's relative tolerance",
            seeds=spreads.size,
            unit="largest ratio of two margins, less 1",
        ),
        make_claim(
            f"boundary-{slope:g}",
            paper=FREI,
            statement=f"the decision boundary is linear, {where}: sign f(x) = sign of z.x with z = sum_j a_j w_j",
            measured=float(np.max(apart)) if apart.size else np.nan,
            expected="0",
            judged=bool(apart.size and np.all(apart == 0)),
            reason=f"{FRESH} normal inputs a run, none of which may be on the other side",
            seeds=seeds,
            unit="largest share of fresh inputs of another sign",
        ),
        make_claim(
            f"approximate-margin-{slope:g}",
            paper=f"{FREI}; with half of the neurons of each sign",
            statement=f"z is an approximate max-margin predictor: scaled to margins of 1, |z| <= 2/(1 + gamma) |z*|, {where}",
            measured=share * bound,
            expected=f"<= {bound:.4g}; on orthonormal data (1 + gamma)/(1 + gamma^2) = {(1 + slope) / (1 + slope**2):.4g}",
            judged=below(share),
            tolerance=0.0,
            reason=f"a bound; loose where it is over {1 / LOOSE:g} times as large",
            seeds=seeds,
            unit="largest |z| / |z*|, z* being the separator of smallest norm with margins of 1",
        ),
    ]


def _limits(s: Settings, slope: float, cells: dict[str, Cell]) -> list[Claim]:
    """Against the convex problem, on all data on which it has all samples active, whether or not the paper's assumption is met."""
    known = {name: cell for name, cell in cells.items() if cell.limit.all_active}
    seeds = sum(cell.runs.sizes["seed"] for cell in known.values())
    where = f"slope {slope:g}, {', '.join(known)}"
    offs, far = [], []
    for cell in known.values():
        runs, late = cell.runs, cell.runs["late"].values
        rows, rest = of_unit_norm(runs["inner"].values)
        then = late_rows(cell.samples, slope, cell.limit, late)
        then /= np.linalg.norm(then, axis=(1, 2), keepdims=True)
        offs.append(np.hypot(np.linalg.norm(rows - then, axis=(1, 2)), rest))
        end = np.stack([cell.limit.positive, cell.limit.negative])
        far.append(np.linalg.norm(rows - end, axis=(1, 2)))
    margin, loss = off_the_duals(known, {name: cell.runs["loss_end"].values for name, cell in known.items()})
    exact = cells["orthonormal"].runs["rank_end"].values
    tight, rest = 100 * s.rtol, 0.1 / (s.decades * np.log(10))
    return [
        make_claim(
            f"stable-rank-{slope:g}",
            paper="derived",
            statement=f"on orthonormal data with balanced classes W tends to stable rank 2 (1 + g^2)/(1 + g)^2, g = {slope:g}",
            measured=float(np.median(exact)) if exact.size else np.nan,
            uncertainty=float(np.ptp(exact)) if exact.size else np.nan,
            expected=f"{orthonormal_rank(slope):.8g}",
            judged=largest(exact - orthonormal_rank(slope)) <= tight,
            tolerance=tight,
            reason="a hundred times the flow's relative tolerance",
            seeds=exact.size,
            unit="stable rank; range of all seeds",
        ),
        make_claim(
            f"limit-{slope:g}",
            paper=f"{FREI}; as a convex problem, and its first correction at late times, derived",
            statement=f"W is on its way to the solution of a convex problem of two vectors, {where}",
            measured=largest(joined(offs)),
            expected=f"0; to the limit itself it is {largest(joined(far)):.2g}, which falls like 1 / log t",
            judged=largest(joined(offs)) <= rest,
            tolerance=rest,
            reason="0.1 / log t: what neurons got before they were on their side of all samples rests while |W| grows",
            seeds=seeds,
            unit=f"largest distance of unit-norm W to the prediction for t = 1e{s.decades:g}",
        ),
        make_claim(
            f"margins-{slope:g}",
            paper=f"{FREI}; the offsets are derived",
            statement=f"margins become equal like 1/log t: y_i f_i = log t - log(dual i), {where}",
            measured=margin,
            expected=f"0; the offsets differ by up to {largest(np.asarray([np.ptp(np.log(c.limit.duals)) for c in known.values()])):.3g}",
            judged=margin <= tight * s.decades,
            tolerance=tight * s.decades,
            reason="a hundred times the flow's relative tolerance, of outputs of the size of log t",
            seeds=seeds,
            unit="largest difference of y f from the prediction",
        ),
        make_claim(
            f"loss-{slope:g}",
            paper=f"{FREI}: it falls to 0; the constant is derived",
            statement=f"t times the loss tends to the sum of the duals, {where}",
            measured=loss,
            expected="0",
            judged=loss <= tight * s.decades,
            tolerance=tight * s.decades,
            reason="as above",
            seeds=seeds,
            unit="largest relative difference",
        ),
    ]


def holds_in(s: Settings, cell: Cell, slope: float) -> np.ndarray:
    """Whether what the theorem says is so in each run of a cell: rank two, margins that become equal, a linear boundary."""
    runs = cell.runs
    margins = runs["outputs"].values * np.asarray(cell.samples.y)
    # what is left of early times, and the offsets of margins, rest while the rest grows like log t
    rest = 1 / runs["late"].values
    bounded = np.ptp(margins, axis=1) <= 10 * rest * np.min(margins, axis=1)
    return (runs["third_end"].values <= rest) & bounded & (disagreements(runs["inner"].values, slope) == 0)


def _beyond(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The same where the assumption is not met."""
    claims = []
    for dim in (*s.dims, s.hard):
        shares, ratios, seeds, active = [], [], 0, []
        for slope in s.slopes:
            cell = cells_of(s, found[f"flow-{slope:g}"], slope).get(f"d={dim}")
            if cell is not None and cell.met < 1:
                held = holds_in(s, cell, slope)
                shares.append(float(held.sum() / (held.size + cell.lost)))
                ratios.append(cell.met)
                active.append(f"{slope:g}: {shares[-1]:.3g}")
                seeds += held.size + cell.lost
        if not shares:
            continue
        claims.append(
            make_claim(
                f"beyond-d={dim}",
                paper=f"not claimed by {FREI}",
                statement="rank two, equal margins and a linear boundary also where the assumption is missed by factors of "
                f"{1 / max(ratios):.2g} to {1 / min(ratios):.2g}, {dim} inputs",
                measured=float(np.mean(shares)),
                expected=f"1 where the bound is loose; by slope: {', '.join(active)}",
                judged=min(shares) == 1,
                reason="every run counts; the third singular value may be 1 / log t of the first, margins differ by 10 / log t",
                seeds=seeds,
                unit="share of runs",
            )
        )
    return claims


@functools.cache
def drawn_at_random(samples: int, dim: int) -> tuple[data.Samples, ...]:
    """Data sets of random directions, in coordinates of their span.

    Args:
        samples: their number, balanced.
        dim: inputs.

    Returns:
        The data sets.
    """
    random = np.random.default_rng([samples, dim])
    labels = jnp.where(jnp.arange(samples) % 2 == 0, 1.0, -1.0)
    found = []
    for _ in range(DRAWS):
        x = random.normal(size=(samples, dim))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        found.append(data.points(jnp.asarray(np.linalg.cholesky(x @ x.T)), labels))
    return tuple(found)


def shares_active(s: Settings, slope: float, dims: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often the convex problem has the theorem's form, on data drawn at random, and how far the assumption is met.

    Args:
        s: the settings.
        slope: gamma.
        dims: numbers of inputs.

    Returns:
        The share of data sets with all samples active, and the median of the ratio of the assumption, by dimension.
    """
    shares, ratios = [], []
    for dim in dims:
        drawn = drawn_at_random(s.samples, int(dim))
        shares.append(np.mean([limit_of(one, slope).all_active for one in drawn]))
        ratios.append(np.median([orthogonality(one, slope) for one in drawn]))
    return np.asarray(shares), np.asarray(ratios)


def dims_looked_at(s: Settings) -> np.ndarray:
    """Numbers of inputs in which the convex problem alone is solved."""
    return np.unique(np.geomspace(s.samples + 1, 1000 * s.samples, 18).round().astype(int))


def _assumption(s: Settings, slope: float) -> Claim:
    dims = dims_looked_at(s)
    shares, ratios = shares_active(s, slope, dims)
    enough = shares >= 0.95
    # the smallest dimension from which on it is so in all that are looked at
    first = len(dims) - int(np.argmin(enough[::-1])) if not enough.all() else 0
    ratio, dim = (ratios[first], dims[first]) if first < len(dims) else (np.nan, 0)
    return make_claim(
        f"assumption-{slope:g}",
        paper=FREI,
        statement=f"R_min^2 >= 3 gamma^-3 R^2 n max |x_i.x_j| suffices, slope {slope:g}; the convex problem has all samples active in 95 % "
        f"of data sets of {s.samples} random directions from {dim} inputs on, where this ratio is",
        measured=float(ratio),
        expected="<= 1, the assumption",
        judged=below(ratio),
        reason=f"{DRAWS} data sets of each dimension, without runs",
        seeds=DRAWS,
        unit="left side over right side of the assumption, median",
    )
