"""Two-layer ReLU networks with an identity link: the potential, the two phases, one-point convexity, and SGD against the vanilla link.

Li & Yuan 2017 (arXiv 1705.09886).
"""

from typing import TYPE_CHECKING

from ..._lazy import on_demand
from ..base import Lab, runner
from .settings import Settings as Settings

if TYPE_CHECKING:
    from .claims import make_claims as make_claims
    from .starts import random_pair as random_pair
    from .starts import two_phase_pair as two_phase_pair

run = runner(__name__, Settings)
"""Runs the lab, see `jaxdyn.labs.base.runner`."""

LAB = Lab(
    name="identity-link",
    title="ReLU networks with an identity link: two phases, one-point convexity, SGD against the vanilla link",
    paper="Li & Yuan (2017), arXiv 1705.09886",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims", "random_pair": "starts", "two_phase_pair": "starts"})
