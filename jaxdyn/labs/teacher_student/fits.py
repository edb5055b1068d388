"""What the claims have in common: their fixed words, the exact share of starts that a bound counts, and the error of a share."""

from functools import partial

import numpy as np
from scipy.integrate import quad
from scipy.special import betainc

from .. import base

LAB = "teacher-student"
make_claim = partial(base.make_claim, LAB)
TIAN = "Tian 2017, arXiv 1703.00560"
DERIVED = "derived"


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
