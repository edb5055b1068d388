"""Kernel and adaptive regimes of univariate ReLU networks (Williams et al. 2019, arXiv 1906.07842).

The same network on the same data, from starts that differ in their imbalance delta only: strongly negative delta freezes the knots and
gives a cubic spline, delta above zero moves them to the samples and gives a linear one.
"""

from pathlib import Path

from ..base import Lab, LabResult, conduct
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "kernel-vs-adaptive"


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
        lambda s, found, _, paths: draw(s, found, paths),
    )


LAB = Lab(
    name=NAME,
    title="Univariate ReLU networks between the kernel regime (cubic splines) and the adaptive one (linear splines)",
    paper="Williams, Trager, Silva, Panozzo, Zorin, Bruna (2019), arXiv 1906.07842",
    settings=Settings,
    run=run,
)
