"""Whether a network has learned a cubic spline: its second derivative, read off the neurons."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float

from .._checks import plainly
from .._repr import fields_html, text_of


class SecondDerivativeResidual(NamedTuple):
    """What a continuous piecewise linear fit leaves unexplained, as a share of the variance (1 - R^2).

    Attributes:
        at_samples: with breaks at the samples only; near 0 for a cubic spline.
        at_midpoints: with breaks at the midpoints between neighbouring samples only, for comparison.
    """

    at_samples: float
    at_midpoints: float

    __repr__ = text_of
    _repr_html_ = fields_html


@plainly
def second_derivative_residual(knots: ArrayLike, weight_change: ArrayLike, x: ArrayLike) -> SecondDerivativeResidual:
    r"""How far the second derivative that training added is from continuous and piecewise linear with breaks at the samples.

    A neuron c relu(x - u) adds $c \, \delta(x - u)$ to f''. Where only the output weights move (kernel regime), neurons of one
    orientation with knots of density p change f'' at u by a multiple of $p(u) \, \Delta c(u)$, and
    $\Delta c(u) = -\frac{1}{\alpha} \int \sum_j R_j \, \mathrm{relu}(x_j - u) \, dt$ is continuous and piecewise linear in u with breaks
    at the samples: with uniform knots f is a cubic spline. This fits $\Delta c$ as a function of u by least squares, with breaks at the
    samples that lie between the knots, and again with breaks at the midpoints (one fewer, where all samples lie between the knots).

    Args:
        knots: u = b/a of neurons of one orientation (all a of one sign), of shape (hidden,).
        weight_change: c at the end minus c at the start of these neurons; where their |a| differ, divided by |a|.
        x: inputs of the samples, of shape (sample,) or (sample, 1).

    Returns:
        Shares of the variance of the weight change about its mean; NaN where a knot or a change is not finite, or all changes are equal.

    Raises:
        ValueError: the shapes do not fit, or there are no more neurons than numbers in a fit.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, on the kernel regime.
    """
    knots, change, samples = np.asarray(knots, dtype=float), np.asarray(weight_change, dtype=float), np.unique(np.asarray(x, dtype=float))
    if knots.ndim != 1 or knots.shape != change.shape or knots.size == 0:
        raise ValueError(f"give one knot and one weight change a neuron, of one shape (hidden,), not {knots.shape} and {change.shape}.")
    if np.shape(x) not in ((np.size(x),), (np.size(x), 1)) or not np.all(np.isfinite(samples)) or samples.size == 0:
        raise ValueError(f"x must be finite inputs of dimension 1, at least one, not of shape {np.shape(x)}.")
    if not (np.all(np.isfinite(knots)) and np.all(np.isfinite(change))):
        return SecondDerivativeResidual(float("nan"), float("nan"))
    midpoints = (samples[1:] + samples[:-1]) / 2
    return SecondDerivativeResidual(_residual(knots, change, samples), _residual(knots, change, midpoints))


def _residual(knots: Float[np.ndarray, " hidden"], change: Float[np.ndarray, " hidden"], breaks: Float[np.ndarray, " break"]) -> float:
    low, high = knots.min(), knots.max()
    nodes = np.unique(np.concatenate([[low], breaks[(breaks > low) & (breaks < high)], [high]]))
    if knots.size <= nodes.size:
        raise ValueError(f"{knots.size} neurons cannot test a fit of {nodes.size} numbers: take a wider network.")
    variance = np.sum((change - change.mean()) ** 2)
    if variance == 0:
        return float("nan")
    hats = np.stack([np.interp(knots, nodes, hat) for hat in np.eye(nodes.size)], axis=1)
    # hats between whose breaks no knot lies are zero columns, which the least-norm solution bears
    fit = hats @ np.linalg.lstsq(hats, change, rcond=None)[0]
    return float(np.sum((change - fit) ** 2) / variance)
