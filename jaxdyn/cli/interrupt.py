"""Ctrl-C ends every command with one sentence, wherever it arrives: in imports, in compilations, in the drawing of a figure."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""
PATIENCE = 2.0
"""Seconds after which a computation that does not return to Python, such as a compilation, is abandoned."""
SHOW_CURSOR = "\x1b[?25h"


Advice = str | Callable[[], str]
"""What Ctrl-C says after `Stopped.`, how to resume; a function where that depends on how far the command has come."""


@dataclass
class _State:
    """What is known of an interruption, in the whole process."""

    said: bool = False
    advice: Advice = ""


_state = _State()


def advise(sentence: Advice) -> Advice:
    """Sets what Ctrl-C says after `Stopped.`.

    Args:
        sentence: the advice.

    Returns:
        The one before.
    """
    before, _state.advice = _state.advice, sentence
    _state.said = False  # a program that calls several commands hears of each
    return before


def say_stopped() -> None:
    """Says once that the command has stopped, and how to resume."""
    if not _state.said:
        _state.said = True
        advice = _state.advice if isinstance(_state.advice, str) else _state.advice()
        sentence = f"Stopped. {advice}".strip()
        text = f"{SHOW_CURSOR}\n\x1b[31m{sentence}\x1b[0m\n" if sys.stderr.isatty() else f"{sentence}\n"
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except RuntimeError:  # the signal came while something was being written there
            os.write(2, text.encode())


@contextmanager
def without_traceback() -> Iterator[None]:
    """Ends the process with `STOPPED` and one sentence if Ctrl-C is pressed within.

    The process ends at once, without waiting for threads: what a run has stored is whole at every moment.

    Yields:
        Nothing.
    """

    def on_press(number: int, frame: Any) -> None:
        _end()  # not an exception: C code that imports or calls back prints those, with their traceback, or loses them

    def watch() -> None:
        while os.read(pressed, 1) != bytes([signal.SIGINT]):
            pass
        time.sleep(PATIENCE)
        _end()

    pressed, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, on_press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to do: a late Ctrl-C just ends the process


def _end() -> None:
    say_stopped()
    with suppress(RuntimeError, ValueError, OSError):
        sys.stdout.flush()
    os._exit(STOPPED)
