"""A computation that XLA does once."""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """The function's value, computed once: XLA for CPUs would fuse cheap elementwise work into each of its uses, and repeat it there.

    Args:
        function: from arrays to arrays.
        *args: pytrees of arrays.

    Returns:
        What the function returns.
    """
    if jax.default_backend() != "cpu":
        return function(*args)

    def plainly(*args: Any) -> Any:
        with set_xla_metadata(inlineable="true"):  # or calls within, such as jnp.where, would stay apart too
            return function(*args)

    with set_xla_metadata(inlineable="false"):
        return jax.jit(plainly)(*args)
