"""What a lab is: settings, a run that can be resumed, a table, a figure and its claims."""

import dataclasses
import importlib
import numbers
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claim import Claim as Claim
from .claim import Verdict as Verdict
from .claim import make_claim as make_claim
from .claim import published, with_untested
from .claim import verdict as verdict
from .record import LAB_FILE as LAB_FILE
from .record import begin as begin
from .record import finish as finish
from .record import read_claims as read_claims
from .record import read_lab_file as read_lab_file
from .record import write_json as write_json
from .settings import LabSettings as LabSettings
from .settings import Preset as Preset
from .settings import changed
from .settings import setting as setting

if TYPE_CHECKING:
    import xarray as xr


@dataclasses.dataclass(frozen=True)
class LabResult:
    """What a run of a lab gives.

    Attributes:
        lab: its name.
        settings: those of the run, as plain values.
        datasets: the sweeps, by name.
        table: rows for the terminal, each a dictionary with the same keys.
        claims: see `Claim`.
        paths: what was written: `store`, `figure_png`, `figure_svg`, `claims`; empty without an output directory.
    """

    lab: str
    settings: dict[str, Any]
    datasets: "dict[str, xr.Dataset]"
    table: list[dict[str, Any]]
    claims: list[Claim]
    paths: dict[str, str]

    def __repr__(self) -> str:
        """One line a claim."""
        held = sum(claim.held for claim in self.claims)
        lines = [f"{self.lab}: {held} of {len(self.claims)} claims hold"]
        lines += [f"  {claim.verdict:14s} {claim.id}: {claim.measured:.3g} (expected {claim.expected})" for claim in self.claims]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Lab:
    """A lab as the command line sees it.

    Attributes:
        name: as typed, `kernel-vs-adaptive`.
        title: one line.
        paper: authors, year, arXiv number.
        settings: a subclass of `LabSettings`; its fields are what `--set name=value` takes.
        animates: whether it has an animation.
        run: what `runner` makes: `run(settings=None, *, preset=None, out=None, width=None, progress=True, animate=None, **changes)`.
    """

    name: str
    title: str
    paper: str
    settings: type
    run: Callable[..., LabResult]
    animates: bool = False


def runner(package: str, settings: type[LabSettings], *, animates: bool = False) -> Callable[..., LabResult]:
    """A lab's `run`, of the parts in its package, which are imported when it runs.

    The parts are `sweeps.run_sweeps(settings, store, width, progress)`, which gives the Datasets by name;
    `claims.make_claims(settings, datasets)`; `claims.make_table(settings, datasets, claims)`, which gives rows;
    `figure.draw(settings, datasets, claims, paths)`; and `animation.animate(settings, datasets, path)`, if there is one. Settings of a
    preset leave runs out: what rests on them is missing among the claims, and empty in the figure.

    Args:
        package: the `__name__` of the lab's package; the lab's name has dashes for underscores.
        settings: the class of its settings.
        animates: whether the lab has an animation.

    Returns:
        `run`.
    """
    name = package.rpartition(".")[2].replace("_", "-")
    defaults = settings

    def part(module: str, function: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(f"{package}.{module}"), function)

    def run(
        settings: Any = None,
        *,
        preset: Preset | None = None,
        out: str | Path | None = None,
        width: int | None = None,
        progress: bool = True,
        animate: str | Path | None = None,
        **changes: object,
    ) -> LabResult:
        """Runs the sweeps, draws the figure and tests the claims.

        A setting that is not allowed, an `out` that holds another run, and all else that is wrong with the call are said in one ValueError.

        Args:
            settings: the settings; the default is what the command runs.
            preset: "quick" for a look in under a minute, "tiny" for tests: small settings, where `settings` is None, and claims that
                these leave out are among the results as not tested.
            out: a directory for the store, the figure and the claims; None writes nothing. Calling again with the same one resumes a run
                that was interrupted.
            width: lanes that are stepped at once on a device, chosen by default.
            progress: whether to draw progress bars.
            animate: a file to draw an animation into, .gif or .mp4; None draws none.
            **changes: settings by name, `run(seeds=8)`.

        Returns:
            Datasets, table, claims and paths.
        """
        wrong = list(_wrong_call(name, defaults, animates, settings, width, animate, out))
        base = settings if isinstance(settings, defaults) else defaults()
        if settings is None:
            try:
                base = defaults.preset(preset)
            except ValueError as error:
                wrong += str(error).splitlines()
        s = changed(name, base, changes, wrong)
        folder = None if out is None else Path(out)
        if folder is not None:
            begin(folder, name, s, preset)
        found = part("sweeps", "run_sweeps")(s, None if folder is None else folder / "run.zarr", width, progress)
        from ..ensemble.progress import progress_bar  # here, so that the command line need not wait for JAX

        with progress_bar(f"{name}: claims", None, 0, progress):
            claims = part("claims", "make_claims")(s, found)
            if preset is not None:
                claims = with_untested(claims, published(Path(str(importlib.import_module(package).__file__)).parent))
            table = part("claims", "make_table")(s, found, claims)
        paths: dict[str, str] = {}
        if folder is not None:
            paths = {"store": str(folder / "run.zarr"), "figure_png": str(folder / "figure.png"), "figure_svg": str(folder / "figure.svg")}
            with progress_bar(f"{name}: figure", None, 0, progress):
                part("figure", "draw")(s, found, claims, [paths["figure_png"], paths["figure_svg"]])
            paths["claims"] = str(folder / "claims.json")
            finish(folder, name, s, preset, table, claims)
        if animate is not None:
            with progress_bar(f"{name}: animation", None, 0, progress):
                part("animation", "animate")(s, found, str(animate))
            paths["animation"] = str(animate)
        return LabResult(name, dataclasses.asdict(s), found, table, claims, paths)

    return run


def _wrong_call(name: str, defaults: type, animates: bool, settings: Any, width: Any, animate: Any, out: Any) -> Iterator[str]:
    """Sentences on what is wrong with the arguments of a lab's `run`, its settings by name excepted."""
    if isinstance(settings, Mapping):
        yield "a lab takes settings by name, not as a dictionary: write run(**settings)."
    elif settings is not None and not isinstance(settings, defaults):
        kind = (
            f"those of {type(settings).__module__}" if isinstance(settings, LabSettings) else f"an object of type {type(settings).__name__}"
        )
        fix = "write run(seeds=8) or run(Settings(seeds=8))"
        yield f"the settings of {name} must be of the class {defaults.__module__}.{defaults.__qualname__}, not {kind}: {fix}."
    if width is not None and (isinstance(width, bool) or not isinstance(width, numbers.Integral) or width < 1):
        yield f"width={width!r} must be an integer of at least 1, or None, which lets jaxdyn choose."
    for what, path in (("out", out), ("animate", animate)):
        if path is not None and not isinstance(path, str | os.PathLike):
            yield f"{what}={path!r} must be a path, or None, which writes nothing."
            return
    if animate is not None and not animates:
        yield f"{name} has no animation: leave --animate out."
    elif animate is not None:
        from ..plot import movie_writer

        try:
            movie_writer(animate)
        except ValueError as error:
            yield str(error)


def check_call(lab: Lab, animate: Any) -> None:
    """Refuses an animation of a lab that has none, or into a file that cannot hold one, before anything is computed.

    Args:
        lab: the lab.
        animate: the file; None is right everywhere.

    Raises:
        ValueError: it is misused.
    """
    for sentence in _wrong_call(lab.name, lab.settings, lab.animates, None, None, animate, None):
        raise ValueError(sentence)
