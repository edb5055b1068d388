"""Spurious minima of teacher-student ReLU networks: how many runs end in them, at which levels, of which symmetry, and how curved.

Safran & Shamir 2018 (arXiv 1712.08968), Arjevani & Field 2019 (arXiv 1912.11939), Safran, Yehudai & Shamir 2021 (arXiv 2006.01005).
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
    name="spurious-minima",
    title="Spurious minima of teacher-student ReLU networks: shares, levels, symmetry, curvature",
    paper="Safran & Shamir (2018), arXiv 1712.08968; Arjevani & Field (2019), arXiv 1912.11939",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims"})
