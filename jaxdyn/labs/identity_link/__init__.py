"""Two-layer ReLU networks with an identity link: the potential, the two phases, one-point convexity, and SGD against the vanilla link.

Li & Yuan 2017 (arXiv 1705.09886).
"""

from ..base import Lab, runner
from .claims import make_claims
from .figure import draw
from .settings import Settings as Settings
from .starts import random_pair as random_pair
from .starts import two_phase_pair as two_phase_pair
from .sweeps import run_sweeps
from .trajectories import make_table

NAME = "identity-link"

run = runner(NAME, Settings, run_sweeps, make_claims, make_table, draw)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="ReLU networks with an identity link: two phases, one-point convexity, SGD against the vanilla link",
    paper="Li & Yuan (2017), arXiv 1705.09886",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
