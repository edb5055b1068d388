"""From the lazy to the rich regime: a phase diagram over init scale, width and layer imbalance.

Two-layer networks that are zero at the start, trained to the end from starts of many sizes: Chizat, Oyallon & Bach 2019 (arXiv 1812.07956),
Geiger et al. 2019 (arXiv 1906.08034), Williams et al. 2019 (arXiv 1906.07842), Woodworth et al. 2020 (arXiv 2002.09277).
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
    name="lazy-to-rich",
    title="From the lazy to the rich regime: a phase diagram over init scale, width and layer imbalance",
    paper="Chizat et al. (2019), arXiv 1812.07956; Geiger et al. (2019), arXiv 1906.08034; Williams et al. (2019), arXiv 1906.07842",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims"})
