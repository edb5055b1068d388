"""A progress bar: lanes done, lanes per second, time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class Tick(Protocol):
    """Called with the number of lanes that are done now."""

    def __call__(self, done: int) -> None:
        """Moves the bar."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} lanes/s" if speed else "compiling", style="dim")


@contextmanager
def progress_bar(label: str, total: int, done: int, show: bool) -> Iterator[Tick]:
    """A bar for one sweep.

    Args:
        label: what it says on the left.
        total: lanes in all.
        done: lanes that are done already.
        show: False draws nothing.

    Yields:
        A function that moves it.
    """
    if not show or total == done:
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("lanes"), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task = progress.add_task(label, total=total, completed=done)
        yield lambda done: progress.update(task, completed=done)
