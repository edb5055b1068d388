"""Early alignment: the neurons of a two-layer network turn to their class before they grow, how long it takes, and what comes of it.

Min, Mallada & Vidal 2023 (arXiv 2307.12851).
"""

from ..base import Lab, runner
from .animation import animate as animate
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "early-alignment"

run = runner(NAME, Settings, run_sweeps, make_claims, lambda s, found, _: make_table(s, found), draw, animate)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="Early neuron alignment: from small starts neurons turn to a class, then grow",
    paper="Min, Mallada & Vidal (2023), arXiv 2307.12851",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
