"""Early alignment: the neurons of a two-layer network turn to their class before they grow, how long it takes, and what comes of it.

Min, Mallada & Vidal 2023 (arXiv 2307.12851).
"""

from typing import TYPE_CHECKING

from ..._lazy import on_demand
from ..base import Lab, runner
from .settings import Settings as Settings

if TYPE_CHECKING:
    from .animation import animate as animate
    from .claims import make_claims as make_claims

run = runner(__name__, Settings, animates=True)
"""Runs the lab, see `jaxdyn.labs.base.runner`."""

LAB = Lab(
    name="early-alignment",
    title="Early neuron alignment: from small starts neurons turn to a class, then grow",
    paper="Min, Mallada & Vidal (2023), arXiv 2307.12851",
    settings=Settings,
    run=run,
    animates=True,
)
"""The lab as the command line sees it."""

__getattr__ = on_demand(__name__, {"make_claims": "claims", "animate": "animation"})
