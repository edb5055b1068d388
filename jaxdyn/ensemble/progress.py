"""What a long computation shows: a bar on a terminal or in a notebook, and otherwise one line per minute."""

import builtins
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

PERIOD = 60.0
"""Seconds between two lines where there is no terminal."""
REDRAW = 0.3
"""Seconds between two updates of a notebook's bar."""


class Shown:
    """The state of a computation, which whoever draws it reads; drawing never changes it.

    Attributes:
        label: what is computed.
        unit: what is counted, in the plural.
        total: how many there are; None where nothing is counted.
        done: how many are done.
        doing: what happens before the next of them can be done, in words; empty while they are being done.
    """

    def __init__(self, label: str, unit: str, total: int | None, done: int):
        """A computation that begins now.

        Args:
            label: see the class.
            unit: see the class.
            total: see the class.
            done: see the class.
        """
        self.label, self.unit, self.total, self.done, self.doing = label.strip(), unit, total, done, "starting"
        self.draw: Callable[[], None] = lambda: None
        self._first: tuple[float, int] | None = None

    def say(self, doing: str) -> None:
        """Says what happens now.

        Args:
            doing: in words, "compiling".
        """
        self.doing = doing
        self.draw()

    def expect(self, total: int, done: int) -> None:
        """Corrects the numbers, once they are known.

        Args:
            total: how many there are.
            done: how many are done already.
        """
        self.total, self.done = total, done
        self.draw()

    def __call__(self, done: int) -> None:
        """Moves the bar.

        Args:
            done: how many are done now.
        """
        if self._first is None:  # the time until here was compilation
            self._first = (time.monotonic(), done)
        self.done, self.doing = done, ""
        self.draw()

    @property
    def rate(self) -> float | None:
        """How many are done per second, compilation left out; None as long as that is not known."""
        if self._first is None or self.done <= self._first[1]:
            return None
        return (self.done - self._first[1]) / max(time.monotonic() - self._first[0], 1e-9)

    @property
    def words(self) -> str:
        """What is done, how fast, what happens now, and how long it will take."""
        parts = [] if self.total is None else [f"{self.done} of {self.total} {self.unit}"]
        rate = self.rate
        if self.doing:
            parts.append(self.doing)
        if rate is not None:
            parts.append(f"{rate:.3g} {self.unit}/s")
            if self.total is not None and self.total > self.done:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time in words, `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class _Words(ProgressColumn):
    max_refresh = 0.2

    def __init__(self, shown: Shown):
        super().__init__()
        self.shown = shown

    def render(self, task: Task) -> Text:
        return Text(self.shown.words, style="dim")


@contextmanager
def _bar(shown: Shown) -> Iterator[None]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), _Words(shown))
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task = progress.add_task(shown.label, total=shown.total, completed=shown.done)
        shown.draw = lambda: progress.update(task, total=shown.total, completed=shown.done)
        try:
            yield
        except BaseException:
            progress.live.transient = shown.done == 0  # nothing to look at beside an error
            raise


@contextmanager
def _lines(shown: Shown) -> Iterator[None]:
    def write(text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # a closed stderr, or none, must not end the computation
            print(f"{shown.label}: {text}", file=sys.stderr, flush=True)

    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(PERIOD):
            write(shown.words)

    began = time.monotonic()
    write(shown.words)
    # a thread, because the compiler does not come back for minutes
    thread = threading.Thread(target=watch, name="jaxdyn progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    counted = "" if shown.total is None else f"{shown.done} {shown.unit} "
    write(f"{counted}done in {duration(time.monotonic() - began)}")


class _Picture:
    """A bar of HTML, and a line for front ends that show none."""

    def __init__(self, shown: Shown):
        self.text = f"{shown.label}: {shown.words}"
        known = f'value="{shown.done}" max="{shown.total}"' if shown.total else ""
        self.html = f'<div><progress style="width:20em" {known}></progress> {escape(self.text)}</div>'

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


@contextmanager
def _notebook(shown: Shown, display: Any) -> Iterator[None]:
    handle, last, said = display(_Picture(shown), display_id=True), time.monotonic(), shown.doing

    def draw(now: bool = False) -> None:
        nonlocal last, said
        if handle is not None and (now or shown.doing != said or time.monotonic() - last > REDRAW):
            last, said = time.monotonic(), shown.doing
            handle.update(_Picture(shown))

    shown.draw = draw
    try:
        yield
    finally:
        draw(True)


def notebook_display() -> Any:
    """The function `display` of a notebook; None outside of one."""
    get_shell = getattr(builtins, "get_ipython", None)  # where IPython puts it
    shell = get_shell() if callable(get_shell) else None
    if getattr(shell, "kernel", None) is None and type(shell).__name__ != "ZMQInteractiveShell":
        return None
    try:
        from IPython.display import display  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return display


@contextmanager
def progress_bar(label: str, total: int | None, done: int, show: bool, unit: str = "lanes") -> Iterator[Shown]:
    """Shows how far a computation is, from now on.

    On a terminal and in a notebook that is a bar. Elsewhere a line is written to stderr at once, then one per minute, and one at the end.

    Args:
        label: what is computed.
        total: how many lanes there are; None where nothing is counted, as while a figure is drawn.
        done: how many are done already.
        show: False shows nothing.
        unit: what is counted, if it is not lanes.

    Yields:
        A function of the number of lanes that are done, with methods `say` and `expect`.
    """
    shown = Shown(label, unit, total, done)
    display = notebook_display() if show else None
    if not show:
        yield shown
        return
    console = Console(stderr=True)
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    drawn = _notebook(shown, display) if display is not None else _bar(shown) if on_terminal else _lines(shown)
    with drawn:
        yield shown
