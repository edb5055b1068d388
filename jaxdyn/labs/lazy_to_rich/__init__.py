"""From the lazy to the rich regime: a phase diagram over init scale, width and layer imbalance.

Two-layer networks that are zero at the start, trained to the end from starts of many sizes: Chizat, Oyallon & Bach 2019 (arXiv 1812.07956),
Geiger et al. 2019 (arXiv 1906.08034), Williams et al. 2019 (arXiv 1906.07842), Woodworth et al. 2020 (arXiv 2002.09277).
"""

import dataclasses
from pathlib import Path

from ..base import Lab, LabResult, begin, finish
from .claims import make_claims, make_table
from .figure import draw
from .settings import Settings as Settings
from .sweeps import run_sweeps

NAME = "lazy-to-rich"


def run(
    settings: Settings | None = None, *, out: str | Path | None = None, width: int | None = None, progress: bool = True, **changes: object
) -> LabResult:
    """Runs the sweeps, draws the figure and checks the claims.

    Args:
        settings: the settings; the default is what the command runs.
        out: a directory for the store, the figure and the claims; None writes nothing. Calling again with the same one goes on where a
            killed run stopped.
        width: slots of a batch, chosen by default.
        progress: whether to draw progress bars.
        **changes: settings by name, `run(seeds=8)`.

    Returns:
        Datasets, table, claims and paths.

    Raises:
        ValueError: a setting makes no sense, or `out` holds another run.
    """
    try:
        s = dataclasses.replace(settings or Settings(), **changes)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        names = ", ".join(field.name for field in dataclasses.fields(Settings))
        raise ValueError(f"{NAME} has the settings {names}: {error}.") from None
    folder = None if out is None else Path(out)
    if folder is not None:
        begin(folder, NAME, s)
    found = run_sweeps(s, None if folder is None else folder / "run.zarr", width, progress)
    claims, table = make_claims(s, found), make_table(s, found)
    paths: dict[str, str] = {}
    if folder is not None:
        paths = {"store": str(folder / "run.zarr"), "figure_png": str(folder / "figure.png"), "figure_svg": str(folder / "figure.svg")}
        draw(s, found, claims, [paths["figure_png"], paths["figure_svg"]])
        paths["claims"] = str(folder / "claims.json")
        finish(folder, NAME, s, table, claims)
    return LabResult(NAME, dataclasses.asdict(s), found, table, claims, paths)


LAB = Lab(
    name=NAME,
    title="From the lazy to the rich regime: a phase diagram over init scale, width and layer imbalance",
    paper="Chizat et al. (2019), arXiv 1812.07956; Geiger et al. (2019), arXiv 1906.08034; Williams et al. (2019), arXiv 1906.07842",
    settings=Settings,
    run=run,
)
"""The lab as the command line sees it."""
