"""Linear max-margin directions, of one class against the origin; on the host, by scipy, not to be traced."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.optimize import nnls

from .._checks import is_concrete, plainly
from .._repr import fields_html, text_of

SEPARATED = 1e-8
"""A margin below this times the longest sample counts as none."""


class MaxMargin(NamedTuple):
    """The direction that is most positive on all of some samples.

    Attributes:
        margin: max over |u| = 1 of min_i u.x_i; 0 where no u is positive on all samples.
        direction: u; NaN where the margin is 0.
        duals: numbers >= 0 of sum 1 with margin u = sum_i duals_i x_i; where the margin is 0, a convex combination of samples that is 0.
    """

    margin: float
    direction: Float[np.ndarray, " dim"]
    duals: Float[np.ndarray, " sample"]

    __repr__ = text_of
    _repr_html_ = fields_html


class ClassMargins(NamedTuple):
    """The two linear problems that the neurons of a two-layer network solve after their alignment.

    Attributes:
        positive: that of the samples of label +1.
        negative: that of the samples of label -1, their x as it is: the neurons with a negative output weight are positive there.
        two_layer_margin: the normalised margin of the two-layer ReLU network with one neuron for each class, the limit of its flow; 0 where
            a class has none.
    """

    positive: MaxMargin
    negative: MaxMargin
    two_layer_margin: float

    __repr__ = text_of
    _repr_html_ = fields_html


@plainly
def max_margin(x: ArrayLike) -> MaxMargin:
    r"""The unit vector $u$ of largest $\min_i u \cdot x_i$.

    It points to the point of the samples' convex hull nearest to 0, whose length is the margin. That point is read off the non-negative
    least squares problem $\min_{\lambda \ge 0} |X^T \lambda|^2 + (1 - 1 \cdot \lambda)^2$, solved by an active-set method in finitely
    many steps, a second time in units of the margin found.

    Args:
        x: one row a sample.

    Returns:
        The margin, its direction and the duals.

    Raises:
        ValueError: there is no sample, a value is not finite or traced, or a sample is all zeros.

    Reference:
        Lawson & Hanson (1974), Solving Least Squares Problems, chapter 23 (least distance programming).
    """
    _check_known("max_margin", x)
    x = np.asarray(x, float)
    if x.ndim != 2 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"max_margin takes finite samples, one row each and at least one, not an array of shape {x.shape}.")
    lengths = np.linalg.norm(x, axis=1)
    if np.any(lengths == 0):
        raise ValueError("a sample is all zeros, and no direction is positive there: drop it, or centre the data differently.")
    duals = _nearest(x / lengths.max())
    margin = float(np.linalg.norm(duals @ x))
    if margin > SEPARATED * lengths.max():
        duals = _nearest(x / margin)
        margin = float(np.linalg.norm(duals @ x))
        return MaxMargin(margin, duals @ x / margin, duals)
    return MaxMargin(0.0, np.full(x.shape[1], np.nan), duals)


def _check_known(name: str, samples: Any) -> None:
    if not is_concrete(samples):
        raise ValueError(f"{name} runs on the host: call it outside of jax.grad, jax.vmap and jax.jit, on samples that are known numbers.")


def _nearest(x: np.ndarray) -> np.ndarray:
    """The convex combination of rows nearest to 0."""
    duals, _ = nnls(np.vstack([x.T, np.ones(len(x))]), np.append(np.zeros(x.shape[1]), 1.0))
    return duals / duals.sum()


@plainly
def class_margins(samples: Any) -> ClassMargins:
    r"""The linear max margins of each class, and the margin they give a two-layer ReLU network.

    With $\gamma_\pm$ the margins of the classes, the network of unit norm with one neuron a class has the margin
    $1 / (2 (1/\gamma_+ + 1/\gamma_-))$. It is the limit of the flow where each neuron is positive on its own class only; biases are
    columns of the samples.

    Args:
        samples: data with fields x and y, of labels -1 and +1.

    Returns:
        The margins.

    Raises:
        ValueError: labels are others, a class is empty, a value is traced, or a sample is all zeros.

    Reference:
        Min, Mallada & Vidal (2023), arXiv:2307.12851, for the alignment; Phuong & Lampert (2021), ICLR, for the max margin of each class.
    """
    _check_known("class_margins", samples)
    x, y = np.asarray(samples.x, float), np.asarray(samples.y)
    if y.ndim != 1 or not np.all(np.abs(y) == 1) or np.all(y == y[0]):
        raise ValueError("class_margins takes samples of both classes, with the labels -1 and +1.")
    positive, negative = max_margin(x[y > 0]), max_margin(x[y < 0])
    both = positive.margin * negative.margin
    return ClassMargins(positive, negative, both / (2 * (positive.margin + negative.margin)) if both > 0 else 0.0)
