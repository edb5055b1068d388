"""Teacher and student: where one neuron converges from, how K neurons break their symmetry, and which critical points there are.

Tian 2017 (arXiv 1703.00560).
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
    name="teacher-student",
    title="Teacher and student: one neuron's basin, symmetry breaking of K neurons, critical points",
    paper="Tian (2017), arXiv 1703.00560",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims"})
