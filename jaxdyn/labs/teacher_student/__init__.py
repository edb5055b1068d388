"""Teacher and student: where one neuron converges from, how K neurons break their symmetry, and which critical points there are.

Tian 2017 (arXiv 1703.00560).
"""

from pathlib import Path

from ..base import Lab, LabResult, conduct
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "teacher-student"


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
        **changes: settings by name, `run(seeds=100)`.

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
        lambda s, found, _: make_table(s, found),
        draw,
    )


LAB = Lab(
    name=NAME,
    title="Teacher and student: one neuron's basin, symmetry breaking of K neurons, critical points",
    paper="Tian (2017), arXiv 1703.00560",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
