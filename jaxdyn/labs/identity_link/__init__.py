"""Two-layer ReLU networks with an identity link: the potential, the two phases, one-point convexity, and SGD against the vanilla link.

Li & Yuan 2017 (arXiv 1705.09886).
"""

from pathlib import Path

from ..base import Lab, LabResult, conduct
from .claims import make_claims
from .figure import draw
from .settings import Settings as Settings
from .starts import random_pair as random_pair
from .starts import two_phase_pair as two_phase_pair
from .sweeps import run_sweeps
from .trajectories import make_table

NAME = "identity-link"


def run(
    settings: Settings | None = None, *, out: str | Path | None = None, width: int | None = None, progress: bool = True, **changes: object
) -> LabResult:
    """Runs the sweeps, draws the figure and checks the claims; a setting that makes no sense, or an `out` of another run, is a ValueError.

    Args:
        settings: the settings; the default is what the command runs.
        out: a directory for the store, the figure and the claims; None writes nothing. Calling again with the same one goes on where a
            killed run stopped.
        width: slots of a batch, chosen by default.
        progress: whether to draw progress bars.
        **changes: settings by name, `run(seeds=8)`.

    Returns:
        Datasets, table, claims and paths.
    """
    return conduct(
        NAME,
        settings or Settings(),
        changes,
        out,
        lambda s, store: run_sweeps(s, store, width, progress),
        make_claims,
        make_table,
        draw,
    )


LAB = Lab(
    name=NAME,
    title="ReLU networks with an identity link: two phases, one-point convexity, SGD against the vanilla link",
    paper="Li & Yuan (2017), arXiv 1705.09886",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
