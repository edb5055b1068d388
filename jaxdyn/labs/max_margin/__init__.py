"""The direction at late times: margins of homogeneous networks followed to t = 1e1000 (Lyu & Li 2020, arXiv 1906.05890).

Where the alignment of Min, Mallada & Vidal (2023, arXiv 2307.12851) has parted the classes, the limit is a closed form of two linear
problems; elsewhere it is a KKT point of the max-margin problem.
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
    name="max-margin",
    title="Margins of homogeneous networks, followed to t = 1e1000",
    paper="Lyu & Li (2020), arXiv 1906.05890; Min, Mallada & Vidal (2023), arXiv 2307.12851",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims"})
