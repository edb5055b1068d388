"""Where a run is kept: the Zarr group for it, found or made."""

import errno
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr
import zarr.storage

from .._checks import shown
from .names import check_name

try:
    import fcntl
except ImportError:  # not a POSIX system: two writers are not kept apart
    fcntl = None


def _as_path(place: Any) -> Path:
    if not isinstance(place, str | os.PathLike):
        raise ValueError(f"a store is named by the path of a directory, not by {shown(place)}.")
    return Path(place)


@contextmanager
def open_root(out: str | Path | None, group: str | None) -> Iterator[tuple[zarr.Group, str]]:
    """The Zarr group of a run, made if need be, to which no other run writes meanwhile.

    Args:
        out: a directory; None keeps the run in memory.
        group: a group within it; None is its root.

    Yields:
        The group, and how messages call it.

    Raises:
        ValueError: the place cannot be written, is something else already, or another run writes there.
    """
    _check_group(group)
    name = ("memory" if out is None else str(out)) + (f"/{group}" if group else "")
    if out is None:
        yield zarr.open_group(zarr.storage.MemoryStore(), mode="a", path=group or ""), name
        return
    path = _as_path(out)
    with writing(str(path)):
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file: name a directory for the store.")
        path.mkdir(parents=True, exist_ok=True)
        directory = os.open(path, os.O_RDONLY)
    try:
        _lock(directory, path)
        yield _root(path, group), name
    finally:
        os.close(directory)


def _lock(directory: int, path: Path) -> None:
    """Keeps other runs from writing to a directory; the system lets go of it when the process dies, however it dies."""
    if fcntl is None:
        return
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(f"another run is writing to {path}: wait until it has ended, or name another directory.") from error
    except OSError:
        pass  # a file system without locks


def _root(path: Path, group: str | None) -> zarr.Group:
    """The group in a directory that is there."""
    try:
        with writing(str(path)):
            # a kill may leave nothing but a file that was about to become zarr.json
            there = [entry for entry in path.iterdir() if entry.suffix != ".partial"]
            if there and not (path / "zarr.json").exists():
                raise ValueError(f"{path} is a directory with other things in it: name a new one for the store.")
            root = zarr.open_group(str(path), mode="a", use_consolidated=False)
            if group:
                _check_free(root, path, group)
                root.require_group(group)
            return uncached(root, group or "")
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(_broken(path, error)) from error
    except Exception as error:  # whatever a torn or foreign zarr.json makes of the reader
        raise ValueError(_broken(path, error)) from error


def read_root(path: str | Path, group: str | None) -> tuple[zarr.Group, str]:
    """The Zarr group of a run that is there already, to be read.

    Args:
        path: the directory.
        group: a group within it; None is its root.

    Returns:
        The group, and how messages call it.

    Raises:
        ValueError: there is none, or it is broken.
    """
    path = _as_path(path)
    _check_group(group)
    name = str(path) + (f"/{group}" if group else "")
    try:
        is_file, is_there = path.is_file(), (path / "zarr.json").exists()
    except OSError as error:
        raise ValueError(f"{shown(str(path))} cannot be read ({error.strerror or error}): name the directory of a store.") from error
    if is_file:
        raise ValueError(f"{path} is a file, not a store: a saved solution is read by jaxdyn.load_solution.")
    if not is_there:
        raise ValueError(f"there is no store at {path}: name the directory that a sweep was given as out=.")
    try:
        root = zarr.open_group(str(path), mode="r", use_consolidated=False)
        found = root if group is None else uncached(root, group) if group in root else None
    except Exception as error:  # whatever a torn or foreign zarr.json makes of the reader
        raise ValueError(_broken(path, error)) from error
    if not isinstance(found, zarr.Group):
        there = ", ".join(map(repr, groups_of(root))) or "none"
        raise ValueError(f"{path} has no group {group!r}: leave group= out, or take one of those that it has ({there}).")
    return found, name


def _check_group(group: Any) -> None:
    """Refuses what cannot be the name of a group, or of one in another."""
    if group is not None and not isinstance(group, str):
        raise ValueError(f"group={shown(group)} must be the name of a group, or None.")
    for part in [] if group is None else group.split("/"):
        check_name("a group", part)


def _check_free(root: zarr.Group, path: Path, group: str) -> None:
    """Refuses the name of an array that a sweep has written into the store."""
    parts = group.split("/")
    for k in range(1, len(parts) + 1):
        inner = "/".join(parts[:k])
        if isinstance(root.get(inner), zarr.Array):
            raise ValueError(f"{path} has an array of the name {inner!r}: take another name as group=.")


def uncached(parent: zarr.Group, path: str) -> zarr.Group:
    """A group whose arrays are looked up in their own files, not in a copy that the group may have of their metadata.

    Args:
        parent: a group.
        path: from there; '' for the same.

    Returns:
        The group.
    """
    inner = "/".join(part for part in (parent.path, path) if part)
    return zarr.open_group(parent.store, mode="r" if parent.store.read_only else "r+", path=inner, use_consolidated=False)


def consolidate(group: zarr.Group) -> None:
    """Writes the metadata of everything in a store into those of its root (Zarr's consolidated metadata), as `xarray.open_zarr` wants it.

    Args:
        group: a group of the store; nothing is done in memory.
    """
    if isinstance(group.store, zarr.storage.LocalStore):
        found: dict[str, Any] = {}
        root = Path(group.store.root)
        _gather(root, "", found)
        _rewrite(root / "zarr.json", {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": found}})


def forget_consolidated(group: zarr.Group) -> None:
    """Takes the copies away before what they are of changes.

    Args:
        group: a group of the store; nothing is done in memory.
    """
    if isinstance(group.store, zarr.storage.LocalStore):
        _rewrite(Path(group.store.root) / "zarr.json", {})


def _gather(folder: Path, path: str, found: dict[str, Any]) -> None:
    for inner in sorted(entry for entry in folder.iterdir() if (entry / "zarr.json").exists()):
        try:
            about = json.loads((inner / "zarr.json").read_text())
        except ValueError:
            warnings.warn(f"{inner / 'zarr.json'} is damaged: xarray.open_zarr will not show it, jaxdyn.open does.", stacklevel=2)
            continue
        name = f"{path}{inner.name}"
        found[name] = {key: value for key, value in about.items() if key != "consolidated_metadata"}
        if about.get("node_type") == "group":
            _gather(inner, f"{name}/", found)


def _rewrite(file: Path, new: dict[str, Any]) -> None:
    about = json.loads(file.read_text())
    after = {key: value for key, value in about.items() if key != "consolidated_metadata"} | new
    if after != about:
        partial = file.with_name("zarr.json.partial")
        partial.write_text(json.dumps(after, indent=2))
        os.replace(partial, file)


def groups_of(root: zarr.Group) -> list[str]:
    """The names of the sweeps within a store.

    Args:
        root: its group.

    Returns:
        Paths from there.
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file that a kill left behind
        inside = sorted(root.groups())
    for name, inner in inside:
        if not name.startswith("lanes_"):
            own = "format" in inner.attrs or "lanes_0" in inner
            found += [name] * own + [f"{name}/{below}" for below in groups_of(inner)]
    return found


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turns what a full or forbidden disk says into one sentence.

    Args:
        name: how messages call the place.

    Yields:
        Nothing.

    Raises:
        ValueError: the system did not take it.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "make room and call again, which does only what is missing"
        else:
            fix = "name another place, or correct its permissions"
        raise ValueError(f"{name} cannot be written ({why}): {fix}.") from error


def _broken(path: Path, error: Exception) -> str:
    return f"{path} is not a whole Zarr store ({type(error).__name__}): name another place; a zarr.json in it is damaged."
