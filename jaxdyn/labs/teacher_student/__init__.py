"""Teacher and student: where one neuron converges from, how K neurons break their symmetry, and which critical points there are.

Tian 2017 (arXiv 1703.00560).
"""

from ..base import Lab, runner
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "teacher-student"

run = runner(NAME, Settings, run_sweeps, make_claims, lambda s, found, _: make_table(s, found), draw)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="Teacher and student: one neuron's basin, symmetry breaking of K neurons, critical points",
    paper="Tian (2017), arXiv 1703.00560",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
