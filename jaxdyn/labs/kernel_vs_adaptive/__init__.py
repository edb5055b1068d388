"""Kernel and adaptive regimes of univariate ReLU networks (Williams et al. 2019, arXiv 1906.07842).

The same network on the same data, from starts that differ in their imbalance delta only: strongly negative delta freezes the knots and
gives a cubic spline, delta above zero moves them to the samples and gives a linear one.
"""

from typing import TYPE_CHECKING

from ..._lazy import on_demand
from ..base import Lab, runner
from .settings import Settings as Settings

if TYPE_CHECKING:
    from .claims import make_claims as make_claims

run = runner(__name__, Settings)
"""Runs the lab, see `jaxdyn.labs.base.runner`."""

LAB = Lab(
    name="kernel-vs-adaptive",
    title="Univariate ReLU networks between the kernel regime (cubic splines) and the adaptive one (linear splines)",
    paper="Williams, Trager, Silva, Panozzo, Zorin, Bruna (2019), arXiv 1906.07842",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims"})
