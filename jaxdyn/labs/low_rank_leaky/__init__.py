"""Leaky ReLU networks on nearly orthogonal data end at rank two, with equal margins; gradient descent is there after a step.

Frei, Vardi, Bartlett, Srebro & Hu 2022 (arXiv 2210.07082); Kou, Chen & Gu 2023 (arXiv 2310.18935).
"""

from ..base import Lab, runner
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "low-rank-leaky"

run = runner(NAME, Settings, run_sweeps, make_claims, lambda s, found, _: make_table(s, found), draw)
"""Runs the lab, see `jaxdyn.labs.base.Lab`."""

LAB = Lab(
    name=NAME,
    title="Low rank and equal margins of leaky ReLU networks on nearly orthogonal data",
    paper="Frei et al. (2022), arXiv 2210.07082; Kou et al. (2023), arXiv 2310.18935",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
