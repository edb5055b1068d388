"""What every command shares: the start of JAX, errors as one sentence, Ctrl-C."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import typer

from .interrupt import STOPPED, Advice, advise, say_stopped


class Device(StrEnum):
    """Where to compute."""

    cpu = "cpu"
    gpu = "gpu"
    tpu = "tpu"


def start_jax(device: Device | None) -> None:
    """Float64, one XLA device a CPU core, and the device that was asked for.

    Args:
        device: where to compute; None takes JAX's choice, an accelerator if there is one.

    Raises:
        ValueError: there is no such device.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    own = os.environ.get("JAX_NUM_CPU_DEVICES") or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    try:
        if device is Device.cpu:
            jax.config.update("jax_platforms", "cpu")
        if not own:
            jax.config.update("jax_num_cpu_devices", count_cores())
    except RuntimeError:
        pass  # JAX has started already, in a program of the caller's: its devices stay as they are
    try:
        backend = jax.default_backend()
    except RuntimeError as error:
        raise ValueError(f"JAX finds no device to compute on ({' '.join(str(error).split())[:200]}): try --device cpu.") from error
    if device is not None and backend != device:
        extra = ' (for NVIDIA: python -m pip install -e ".[cuda]")' if device is Device.gpu else ""
        raise ValueError(f"JAX finds no {device.upper()} here, only a {backend.upper()}: install its jaxlib{extra}, or leave out --device.")


def count_cores() -> int:
    """The cores that this process may use.

    Returns:
        Their number.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def say(sentence: str) -> None:
    """One red sentence on stderr."""
    typer.secho(sentence, fg=typer.colors.RED, err=True)


@contextmanager
def sentences(when_stopped: Advice = "") -> Iterator[None]:
    """Turns misuse into sentences and exit code 2, and Ctrl-C into how to resume and exit code 130.

    A `ValueError` that was raised outside jaxdyn is a bug and keeps its traceback.

    Args:
        when_stopped: what Ctrl-C says.

    Yields:
        Nothing.

    Raises:
        Exit: instead of what was caught.
    """
    before = advise(when_stopped)
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            say_stopped()
            raise typer.Exit(STOPPED) from None
        found = misuse(error)
        if not found:
            raise
        for sentence in found:
            say(sentence)
        raise typer.Exit(2) from None
    finally:
        advise(before)


class Faults:
    """What is wrong with a call, collected so that all of it is said at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, wrong: object, sentence: str) -> None:
        """Adds a sentence if something is wrong.

        Args:
            wrong: whether it is.
            sentence: what is.
        """
        if wrong:
            self.found.append(sentence)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Adds what is misused within, and goes on after it; what is no misuse is raised.

        Yields:
            Nothing.

        Raises:
            ValueError: one that is not jaxdyn's.
            OSError: one that is of no file.
        """
        try:
            yield
        except (ValueError, OSError) as error:
            sentences = misuse(error)
            if not sentences:
                raise
            self.found += sentences

    def refuse(self) -> None:
        """Ends the call if anything is wrong.

        Raises:
            ValueError: it is; one sentence a line.
        """
        if self.found:
            raise ValueError("\n".join(dict.fromkeys(self.found)))


def misuse(error: BaseException) -> list[str]:
    """The sentences of an error that says how a command was misused.

    Args:
        error: the error.

    Returns:
        The sentences; none for an error that is a bug.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.filename} cannot be read or written ({error.strerror}): name another place."]
    return str(error).splitlines() if isinstance(error, ValueError) and _is_ours(error) else []


def _is_ours(error: ValueError) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").split(".")[0] == "jaxdyn"
