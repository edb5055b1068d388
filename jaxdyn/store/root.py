"""Where a run is kept: the Zarr group for it, found or made."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zarr
import zarr.storage

try:
    import fcntl
except ImportError:  # not a POSIX system: two writers are not kept apart
    fcntl = None


def open_root(out: str | Path | None, group: str | None) -> tuple[zarr.Group, str]:
    """The Zarr group of a run, made if need be.

    Args:
        out: a directory; None keeps the run in memory.
        group: a group within it; None is its root.

    Returns:
        The group, and how messages call it.

    Raises:
        ValueError: the place cannot be written, or is something else already.
    """
    parts = [] if group is None else str(group).split("/")
    if any(part in ("", ".", "..") or part.startswith(("lanes_", "__")) for part in parts):
        raise ValueError(f"group={group!r} is no name for a group: take letters and digits, such as 'width_200'.")
    name = ("memory" if out is None else str(out)) + (f"/{group}" if group else "")
    if out is None:
        return zarr.open_group(zarr.storage.MemoryStore(), mode="a", path=group or ""), name
    path = Path(out)
    try:
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file: name a directory for the store.")
        # a kill may leave nothing but a file that was about to become zarr.json
        there = [entry for entry in path.iterdir() if entry.suffix != ".partial"] if path.exists() else []
        if there and not (path / "zarr.json").exists():
            raise ValueError(f"{path} is a directory with other things in it: name a new one for the store.")
        path.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(str(path), mode="a")
        return (root.require_group(group) if group else root), name
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}): name another place, or mend its permissions.") from error
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(_broken(path, error)) from error
    except Exception as error:  # whatever a torn or foreign zarr.json makes of the reader
        raise ValueError(_broken(path, error)) from error


@contextmanager
def only_writer(out: str | Path | None) -> Iterator[None]:
    """Keeps other runs from writing to the same directory; the system lets go of it when the process dies, however it dies.

    Args:
        out: a directory that exists; None does nothing.

    Yields:
        Nothing.

    Raises:
        ValueError: another run writes there.
    """
    if out is None or fcntl is None:
        yield
        return
    directory = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another run is writing to {out}: wait until it has ended, or name another directory.") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(directory)


def _broken(path: Path, error: Exception) -> str:
    return f"{path} is not a whole Zarr store ({type(error).__name__}): choose another place, or delete it."
