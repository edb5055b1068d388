"""The direction at late times: margins of homogeneous networks followed to t = 1e1000 (Lyu & Li 2020, arXiv 1906.05890).

Where the alignment of Min, Mallada & Vidal (2023, arXiv 2307.12851) has parted the classes, the limit is a closed form of two linear
problems; elsewhere it is a KKT point of the max-margin problem.
"""

from ..base import Lab, runner
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "max-margin"

run = runner(NAME, Settings, run_sweeps, make_claims, lambda s, found, _: make_table(s, found), draw)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="Margins of homogeneous networks, followed to t = 1e1000",
    paper="Lyu & Li (2020), arXiv 1906.05890; Min, Mallada & Vidal (2023), arXiv 2307.12851",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
