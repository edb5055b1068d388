"""Runs that small settings leave out: their claims are not tested, and their panels are empty."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import xarray as xr

from .claim import Claim


class LeftOut(Exception):
    """A run was asked for that the settings leave out."""


class Runs(dict[str, xr.Dataset]):
    """The runs of a lab by name, without those that its setting `leave_out` names."""

    def __init__(self, leave_out: Iterable[str] = ()) -> None:
        """No runs yet.

        Args:
            leave_out: the names of those that are not run.
        """
        super().__init__()
        self.leave_out = tuple(leave_out)

    def add(self, name: str, run: Callable[[], xr.Dataset], kind: str | None = None) -> None:
        """Runs something, unless it is left out.

        Args:
            name: its name.
            run: runs it.
            kind: the name by which `leave_out` has it; the same if None.
        """
        if (kind or name) not in self.leave_out:
            with suppress(LeftOut):  # what rests on a run that is left out is left out too
                self[name] = run()

    def __missing__(self, name: str) -> xr.Dataset:
        """A run that is not there is left out, if any is.

        Raises:
            LeftOut: it is.
            KeyError: nothing is left out.
        """
        if self.leave_out:
            raise LeftOut(name)
        raise KeyError(name)


def tested(*parts: Callable[[], Claim | Iterable[Claim]]) -> list[Claim]:
    """Claims, without those of parts that need a run which is left out.

    Args:
        *parts: each gives a claim or several.

    Returns:
        The claims.
    """
    claims: list[Claim] = []
    for part in parts:
        with suppress(LeftOut):
            found = part()
            claims += [found] if isinstance(found, Claim) else found
    return claims


@contextmanager
def panels(*axes: Any) -> Iterator[None]:
    """Draws into panels of a figure, which stay empty if the run that they show is left out.

    Args:
        *axes: the panels.

    Yields:
        Nothing.
    """
    try:
        yield
    except LeftOut as left_out:
        for ax in axes:
            ax.clear()
            ax.set_axis_off()
            ax.text(0.5, 0.5, f"{left_out} is left out", ha="center", va="center", transform=ax.transAxes)
