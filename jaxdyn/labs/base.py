"""What a lab is: settings, a run that can be resumed, a table, a figure and its claims."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from ..ensemble.progress import progress_bar
from ..plot import movie_writer

Verdict = Literal["holds", "does not hold", "loose", "not tested"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of a paper with what we measured.

    Attributes:
        id: short and stable, `kernel-vs-adaptive.delta-conserved`.
        paper: arXiv number and place.
        statement: in words.
        measured: the number.
        uncertainty: of the number, over seeds where there are some (what it is, is said in `unit`).
        expected: the number or the bound that the paper gives, in words where it is a bound.
        tolerance: how far the measured may lie from the expected.
        reason: where the tolerance comes from.
        verdict: `holds`, `does not hold`, `loose` (holds, but the bound is far away), `not tested`.
        seeds: lanes that it rests on.
        unit: what the number is.
    """

    id: str
    paper: str
    statement: str
    measured: float
    uncertainty: float
    expected: str
    tolerance: float
    reason: str
    verdict: Verdict
    seeds: int
    unit: str

    @property
    def held(self) -> bool:
        """Whether it holds, loosely or not."""
        return self.verdict in ("holds", "loose")


def setting(default: Any, text: str) -> Any:
    """A field of a lab's settings.

    Args:
        default: its value.
        text: what the command line says of it.

    Returns:
        The field.
    """
    return dataclasses.field(default=default, metadata={"help": text})


def verdict(condition: Any) -> Verdict:
    """`holds` or `does not hold`."""
    return "holds" if bool(condition) else "does not hold"


def make_claim(lab: str, name: str, paper: str, statement: str, measured: float, expected: str, judged: Any, **more: Any) -> Claim:
    """A claim of a lab; one whose measured value is no number is not tested.

    Args:
        lab: the lab's name.
        name: the last part of the claim's id.
        paper: where it is from.
        statement: in words.
        measured: the number.
        expected: the number or the bound in words.
        judged: whether it holds, or the verdict.
        **more: the other fields; `uncertainty` and `tolerance` are 0 by default.

    Returns:
        The claim.
    """
    words: dict[str, Any] = {"uncertainty": 0.0, "tolerance": 0.0} | more
    said: Verdict = judged if judged in ("holds", "does not hold", "loose") else verdict(judged)
    found: Verdict = said if np.isfinite(measured) else "not tested"
    return Claim(id=f"{lab}.{name}", paper=paper, statement=statement, measured=float(measured), expected=expected, verdict=found, **words)


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
    datasets: dict[str, xr.Dataset]
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
        settings: a frozen dataclass with a default for everything; its fields are what `--set name=value` takes, each with
            `metadata={"help": ...}`. It has a field `seeds`.
        run: `run(settings=None, *, out=None, width=None, progress=True, animate=None, **changes) -> LabResult`: the settings, and by name
            what replaces them; a directory for the store, the figure and the claims, None writes nothing, and calling again with the same
            one goes on; slots of a batch; whether to draw bars; a file for an animation. A setting that makes no sense, or an `out` of
            another run, is a ValueError.
    """

    name: str
    title: str
    paper: str
    settings: type
    run: Callable[..., LabResult]


LAB_FILE = "lab.json"


def begin(out: Path, name: str, settings: Any) -> None:
    """Notes in the output directory which lab runs there, so that it can be resumed.

    Args:
        out: the directory, made if need be.
        name: the lab.
        settings: its settings dataclass.

    Raises:
        ValueError: another lab, or this one with other settings than more seeds, has run there; or it cannot be written.
    """
    asked = dataclasses.asdict(settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{out} cannot be made ({error.strerror}): name another directory with --out.") from error
    old = read_lab_file(out)
    if old is not None:
        if old["lab"] != name:
            raise ValueError(f"{out} holds a run of {old['lab']}, not of {name}: name another directory with --out.")
        other = [key for key, value in asked.items() if key != "seeds" and old["settings"].get(key) != json.loads(json.dumps(value))]
        if other:
            key = other[0]
            raise ValueError(
                f"{out} holds a run with {key} = {old['settings'].get(key)}, not {asked[key]}: "
                "take the same settings to go on, or another directory with --out; nothing was changed."
            )
    write_json(out / LAB_FILE, {"lab": name, "settings": asked, "finished": False, "table": []})


def finish(out: Path, name: str, settings: Any, table: list[dict[str, Any]], claims: list[Claim]) -> None:
    """Writes the claims and the table.

    Args:
        out: the directory.
        name: the lab.
        settings: its settings.
        table: its table.
        claims: its claims.
    """
    write_json(out / "claims.json", [dataclasses.asdict(claim) for claim in claims])
    write_json(out / LAB_FILE, {"lab": name, "settings": dataclasses.asdict(settings), "finished": True, "table": table})


def runner(
    name: str,
    defaults: Callable[[], Any],
    run_sweeps: Callable[[Any, Path | None, int | None, bool], dict[str, xr.Dataset]],
    make_claims: Callable[[Any, dict[str, xr.Dataset]], list[Claim]],
    make_table: Callable[[Any, dict[str, xr.Dataset], list[Claim]], list[dict[str, Any]]],
    draw: Callable[[Any, dict[str, xr.Dataset], list[Claim], list[str]], None],
    film: Callable[[Any, dict[str, xr.Dataset], str], None] | None = None,
) -> Callable[..., LabResult]:
    """A lab's `run`, of its parts.

    Args:
        name: the lab.
        defaults: gives its settings.
        run_sweeps: settings, the store's path, or None, a batch's width and whether to draw bars, to Datasets.
        make_claims: settings and Datasets to claims.
        make_table: settings, Datasets and claims to the rows.
        draw: settings, Datasets and claims to the files.
        film: settings and Datasets to an animation; None for a lab that has none.

    Returns:
        `run`.
    """

    def run(
        settings: Any = None,
        *,
        out: str | Path | None = None,
        width: int | None = None,
        progress: bool = True,
        animate: str | Path | None = None,
        **changes: object,
    ) -> LabResult:
        """Runs the sweeps, draws the figure and checks the claims.

        Args:
            settings: the settings; the default is what the command runs.
            out: a directory for the store, the figure and the claims; None writes nothing. Calling again with the same one goes on where
                a killed run stopped.
            width: slots of a batch, chosen by default.
            progress: whether to draw progress bars.
            animate: a file to draw an animation into, .gif or .mp4; None draws none.
            **changes: settings by name, `run(seeds=8)`.

        Returns:
            Datasets, table, claims and paths.

        Raises:
            ValueError: a setting makes no sense, `out` holds another run, or there is no such animation.
        """
        if animate is not None:
            if film is None:
                raise ValueError(f"{name} has no animation: leave --animate out.")
            movie_writer(animate)
        settings = settings or defaults()
        try:
            s = dataclasses.replace(settings, **changes)
        except TypeError as error:
            names = ", ".join(field.name for field in dataclasses.fields(settings))
            raise ValueError(f"{name} has the settings {names}: {error}.") from None
        folder = None if out is None else Path(out)
        if folder is not None:
            begin(folder, name, s)
        found = run_sweeps(s, None if folder is None else folder / "run.zarr", width, progress)
        with progress_bar(f"{name}: claims", None, 0, progress):
            claims = make_claims(s, found)
            table = make_table(s, found, claims)
        paths: dict[str, str] = {}
        if folder is not None:
            paths = {"store": str(folder / "run.zarr"), "figure_png": str(folder / "figure.png"), "figure_svg": str(folder / "figure.svg")}
            with progress_bar(f"{name}: figure", None, 0, progress):
                draw(s, found, claims, [paths["figure_png"], paths["figure_svg"]])
            paths["claims"] = str(folder / "claims.json")
            finish(folder, name, s, table, claims)
        if animate is not None and film is not None:
            with progress_bar(f"{name}: animation", None, 0, progress):
                film(s, found, str(animate))
            paths["animation"] = str(animate)
        return LabResult(name, dataclasses.asdict(s), found, table, claims, paths)

    return run


def read_lab_file(out: Path) -> dict[str, Any] | None:
    """What `begin` or `finish` noted in a directory; None if no lab has run there.

    Args:
        out: the directory.

    Returns:
        Keys `lab`, `settings`, `finished`, `table`.

    Raises:
        ValueError: the file is broken.
    """
    path = Path(out) / LAB_FILE
    try:
        found = json.loads(path.read_text())
        return {"lab": found["lab"], "settings": found["settings"], "finished": found["finished"], "table": found["table"]}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is broken ({type(error).__name__}): delete it and run the lab again with the same --out.") from error


def read_claims(out: Path) -> list[Claim]:
    """The claims that a run wrote.

    Args:
        out: its directory.

    Returns:
        The claims; none if it has not finished.

    Raises:
        ValueError: the file is broken.
    """
    path = Path(out) / "claims.json"
    try:
        return [Claim(**entry) for entry in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is broken ({type(error).__name__}): run the lab again with the same --out.") from error


def write_json(path: Path, content: Any) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: where to.
        content: what json takes.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)
