"""Directional convergence of small homogeneous networks: how long, where to, of which rank, and what happens beside saddles.

Kumar & Haupt 2024 (arXiv 2403.08121 and 2402.09226).
"""

from typing import TYPE_CHECKING

from ..._lazy import on_demand
from ..base import Lab, runner
from .settings import Settings as Settings

if TYPE_CHECKING:
    from .animation import animate as animate
    from .claims import make_claims as make_claims

run = runner(__name__, Settings, animates=True)
"""Runs the lab, see `jaxdyn.labs.base.runner`."""

LAB = Lab(
    name="directional-convergence",
    title="Directional convergence of small networks: time, KKT points, rank one, saddles",
    paper="Kumar & Haupt (2024), arXiv 2403.08121 and 2402.09226",
    settings=Settings,
    run=run,
    animates=True,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims", "animate": "animation"})
