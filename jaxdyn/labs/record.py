"""What a run of a lab keeps in its directory: which lab, its settings, its table and its claims."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from .claim import Claim

LAB_FILE = "lab.json"


def begin(out: Path, name: str, settings: Any, preset: str | None = None) -> None:
    """Notes in the output directory which lab runs there, so that it can be resumed.

    Args:
        out: the directory, made if need be.
        name: the lab.
        settings: its settings dataclass.
        preset: "quick" or "tiny" if the run began with these.

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
        plain = json.loads(json.dumps(asked))
        before = {field.name: old["settings"].get(field.name, plain_default(field)) for field in dataclasses.fields(settings)}
        other = [key for key, value in plain.items() if key != "seeds" and before[key] != value]
        if other:
            had, asks = (", ".join(f"{key} = {values[key]}" for key in other) for values in (before, asked))
            raise ValueError(
                f"{out} holds a run with {had}, not {asks}: "
                "take the same settings to resume it, or another directory with --out; nothing was changed."
            )
    write_json(out / LAB_FILE, {"lab": name, "preset": preset, "settings": asked, "finished": False, "table": []})


def plain_default(field: Any) -> Any:
    """A setting's default as JSON gives it back: what a run had that is older than the setting.

    Args:
        field: of the settings dataclass.

    Returns:
        The value.
    """
    return None if field.default is dataclasses.MISSING else json.loads(json.dumps(field.default))


def finish(out: Path, name: str, settings: Any, preset: str | None, table: list[dict[str, Any]], claims: list[Claim]) -> None:
    """Writes the claims and the table.

    Args:
        out: the directory.
        name: the lab.
        settings: its settings.
        preset: "quick" or "tiny" if the run began with these.
        table: its table.
        claims: its claims.
    """
    write_json(out / "claims.json", [dataclasses.asdict(claim) for claim in claims])
    record = {"lab": name, "preset": preset, "settings": dataclasses.asdict(settings), "finished": True, "table": table}
    write_json(out / LAB_FILE, record)


def read_lab_file(out: Path) -> dict[str, Any] | None:
    """What `begin` or `finish` noted in a directory; None if no lab has run there.

    Args:
        out: the directory.

    Returns:
        Keys `lab`, `preset`, `settings`, `finished`, `table`.

    Raises:
        ValueError: the file is broken.
    """
    path = Path(out) / LAB_FILE
    try:
        found = json.loads(path.read_text())
        return {key: found[key] for key in ("lab", "settings", "finished", "table")} | {"preset": found.get("preset")}
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
