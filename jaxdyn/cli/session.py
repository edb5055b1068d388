"""What every command shares: the start of JAX, errors as one sentence, Ctrl-C."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import typer


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
def sentences(when_stopped: str = "") -> Iterator[None]:
    """Turns misuse into one sentence and exit code 2, and Ctrl-C into how to go on and exit code 130.

    A `ValueError` that was raised outside jaxdyn is a bug and keeps its traceback.

    Args:
        when_stopped: what Ctrl-C says.

    Yields:
        Nothing.

    Raises:
        Exit: instead of what was caught.
        ValueError: one that is not jaxdyn's.
        OSError: one that is of no file.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. {when_stopped}".strip())
        raise typer.Exit(130) from None
    except ValueError as error:
        if not _is_ours(error):
            raise
        say(str(error))
        raise typer.Exit(2) from None
    except OSError as error:
        if error.filename is None:
            raise
        say(f"{error.filename} cannot be read or written ({error.strerror}): name another place.")
        raise typer.Exit(2) from None


def _is_ours(error: ValueError) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").split(".")[0] == "jaxdyn"
