"""Kernel and adaptive regimes of univariate ReLU networks (Williams et al. 2019, arXiv 1906.07842).

The same network on the same data, from starts that differ in their imbalance delta only: strongly negative delta freezes the knots and
gives a cubic spline, delta above zero moves them to the samples and gives a linear one.
"""

from ..base import Lab, runner
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "kernel-vs-adaptive"

run = runner(NAME, Settings, run_sweeps, make_claims, make_table, lambda s, found, _, paths: draw(s, found, paths))
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="Univariate ReLU networks between the kernel regime (cubic splines) and the adaptive one (linear splines)",
    paper="Williams, Trager, Silva, Panozzo, Zorin, Bruna (2019), arXiv 1906.07842",
    settings=Settings,
    run=run,
)
