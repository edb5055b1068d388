"""What the claims have in common: a claim's fixed words, slopes with their errors, and the exact share of starts that a bound counts."""

from functools import partial

import numpy as np
from scipy.integrate import quad
from scipy.special import betainc

from .. import base

LAB = "teacher-student"
make_claim = partial(base.make_claim, LAB)
TIAN = "Tian 2017, arXiv 1703.00560"
DERIVED = "derived"


def slope(x: np.ndarray, y: np.ndarray, errors: np.ndarray | None = None) -> tuple[float, float]:
    """The slope of a line and its standard error.

    Args:
        x: shape (point,).
        y: shape (point,).
        errors: those of y, if known; otherwise the residuals say how large they are.

    Returns:
        Both; NaN with fewer than three finite points.
    """
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < 3:
        return np.nan, np.nan
    x, y = x[good], y[good]
    weights = np.ones(len(x)) if errors is None else 1 / errors[good] ** 2
    middle = np.average(x, weights=weights)
    spread = np.sum(weights * (x - middle) ** 2)
    found = np.sum(weights * (x - middle) * y) / spread
    rest = y - np.average(y, weights=weights) - found * (x - middle)
    scale = 1.0 if errors is not None else rest @ rest / (len(x) - 2)
    return float(found), float(np.sqrt(scale / spread))


def share_nearer_than_zero(dim: int, radius: float) -> float:
    r"""The share of a ball around 0 that is nearer to a unit vector than 0 is, $|w - w^*| < 1$.

    That is $\cos\theta > r/2$; of all directions the share with a cosine above c is half of the regularised incomplete beta function
    $I_{1 - c^2}((d-1)/2, 1/2)$.

    Args:
        dim: d.
        radius: of the ball.

    Returns:
        A share.

    Reference:
        Li (2011), Concise formulas for the area and volume of a hyperspherical cap, Asian J. Math. Stat. 4, 66.
    """

    def density(part: float) -> float:
        cosine = min(part * radius / 2, 1.0)
        return dim * part ** (dim - 1) * betainc((dim - 1) / 2, 0.5, 1 - cosine**2) / 2

    return float(quad(density, 0.0, 1.0)[0])


def binomial_error(share: float, count: int) -> float:
    """The standard error of a share; at 0 and 1 that of one run more or less."""
    return float(np.sqrt(max(share * (1 - share), 1 / count) / count))
