"""Leaky ReLU networks on nearly orthogonal data end at rank two, with equal margins; gradient descent is there after a step.

Frei, Vardi, Bartlett, Srebro & Hu 2022 (arXiv 2210.07082); Kou, Chen & Gu 2023 (arXiv 2310.18935).
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
    name="low-rank-leaky",
    title="Low rank and equal margins of leaky ReLU networks on nearly orthogonal data",
    paper="Frei et al. (2022), arXiv 2210.07082; Kou et al. (2023), arXiv 2310.18935",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims"})
