"""Interpolating splines, the functions that univariate networks are compared with; on the host, in numpy."""

import numpy as np
import scipy.linalg
from jaxtyping import ArrayLike, Float
from scipy.interpolate import CubicSpline, PPoly

from .._checks import plainly


def sorted_points(x: ArrayLike, y: ArrayLike) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]:
    """Points in the order of x, checked to be interpolable.

    Args:
        x: inputs, of shape (sample,) or (sample, 1).
        y: targets.

    Returns:
        Inputs and targets.

    Raises:
        ValueError: there are fewer than two points, inputs of more than one dimension, repeated inputs, or values that are not finite.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    if x.ndim != 1 or y.shape != x.shape or x.size < 2:
        raise ValueError(
            f"a spline takes two or more points (x, y) with one input each, but x and y have the shapes {x.shape} and {y.shape}."
        )
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise ValueError("a spline cannot pass through points that are not finite: drop them first.")
    order = np.argsort(x)
    x, y = x[order], y[order]
    if np.any(np.diff(x) == 0):
        raise ValueError("two samples have the same x, and no function passes through both: drop or average one of them.")
    return x, y


def _with_straight_ends(spline: PPoly, left: tuple[float, float], right: tuple[float, float]) -> PPoly:
    # each end is given as (value, slope) at the outermost breakpoint
    first, last = spline.x[0], spline.x[-1]
    # a further piece on either side, of any length: a PPoly extrapolates by its outermost pieces
    before, after = [0.0, 0.0, left[1], left[0] - left[1]], [0.0, 0.0, right[1], right[0]]
    coefficients = np.concatenate([np.array(before)[:, None], spline.c, np.array(after)[:, None]], axis=1)
    return PPoly(coefficients, np.concatenate([[first - 1.0], spline.x, [last + 1.0]]))


@plainly
def natural_cubic_spline(x: ArrayLike, y: ArrayLike) -> PPoly:
    """The natural cubic spline through points: the interpolant of least integral of f''^2; straight beyond them.

    Args:
        x: inputs, of shape (sample,) or (sample, 1), in any order.
        y: targets.

    Returns:
        A function of numpy arrays; `spline(x, 2)` is its second derivative.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, on the kernel regime.
    """
    x, y = sorted_points(x, y)
    spline = CubicSpline(x, y, bc_type="natural")
    return _with_straight_ends(spline, (y[0], float(spline(x[0], 1))), (y[-1], float(spline(x[-1], 1))))


@plainly
def clamped_cubic_spline(x: ArrayLike, y: ArrayLike, low: float) -> PPoly:
    r"""The cubic spline with $f(A) = f'(A) = 0$ at $A$ = `low` and $f'' = 0$ at the last sample; zero below A, straight beyond the samples.

    It is what a wide network whose output weights alone move learns from f = 0, with all neurons relu(x - knot) of one orientation
    and knots uniform on [A, B]: the least-norm interpolant $f = \sum_j \alpha_j K(\cdot, x_j)$ of the kernel

    $$K(x, x') = \frac{1}{B - A} \int_A^B \mathrm{relu}(x - s) \, \mathrm{relu}(x' - s) \, ds = \frac{t^2 (3 t' - t)}{6 (B - A)},$$

    with $t = \min(x, x') - A$ and $t' = \max(x, x') - A$. B, beyond the samples, cancels.

    Args:
        x: inputs, of shape (sample,) or (sample, 1), in any order.
        y: targets.
        low: A, below all inputs.

    Returns:
        A function of numpy arrays; `spline(x, 2)` is its second derivative, with breaks at the samples only.

    Raises:
        ValueError: low is not a finite number below all inputs.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, on the kernel regime, for one orientation.
    """
    x, y = sorted_points(x, y)
    if not (np.isfinite(low) and low < x[0]):
        raise ValueError(f"low={low} must be a finite number below all inputs, the smallest of which is {x[0]:g}.")
    t = x - low
    near, far = np.minimum(t[:, None], t[None, :]), np.maximum(t[:, None], t[None, :])
    alpha = scipy.linalg.solve(near**2 * (3 * far - near) / 6, y, assume_a="pos")
    breaks = np.concatenate([[0.0], t])
    reach = np.minimum(breaks[:, None], t[None, :])
    value = (reach**2 * (3 * t[None, :] - reach) / 6 + np.maximum(breaks[:, None] - t[None, :], 0) * t[None, :] ** 2 / 2) @ alpha
    slope = (reach * t[None, :] - reach**2 / 2) @ alpha
    curvature = (t[None, :] - reach) @ alpha
    cubic = np.diff(curvature) / np.diff(breaks) / 6
    spline = PPoly(np.stack([cubic, curvature[:-1] / 2, slope[:-1], value[:-1]]), breaks + low)
    return _with_straight_ends(spline, (0.0, 0.0), (value[-1], slope[-1]))
