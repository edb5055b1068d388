"""From the lazy to the rich regime: a phase diagram over init scale, width and layer imbalance.

Two-layer networks that are zero at the start, trained to the end from starts of many sizes: Chizat, Oyallon & Bach 2019 (arXiv 1812.07956),
Geiger et al. 2019 (arXiv 1906.08034), Williams et al. 2019 (arXiv 1906.07842), Woodworth et al. 2020 (arXiv 2002.09277).
"""

from ..base import Lab, runner
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "lazy-to-rich"

run = runner(NAME, Settings, run_sweeps, make_claims, lambda s, found, _: make_table(s, found), draw)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="From the lazy to the rich regime: a phase diagram over init scale, width and layer imbalance",
    paper="Chizat et al. (2019), arXiv 1812.07956; Geiger et al. (2019), arXiv 1906.08034; Williams et al. (2019), arXiv 1906.07842",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
