"""Directional convergence of small homogeneous networks: how long, where to, of which rank, and what happens beside saddles.

Kumar & Haupt 2024 (arXiv 2403.08121 and 2402.09226).
"""

from ..base import Lab, runner
from .animation import animate as animate
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "directional-convergence"

run = runner(NAME, Settings, run_sweeps, make_claims, lambda s, found, _: make_table(s, found), draw, animate)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="Directional convergence of small networks: time, KKT points, rank one, saddles",
    paper="Kumar & Haupt (2024), arXiv 2403.08121 and 2402.09226",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
