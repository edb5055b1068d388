"""What the coordinates of a `DirectionClock` say of the network: the original time, and the norm."""

from typing import Any

from jaxtyping import Array, Float

from .._types import Params
from ._checked import checked


@checked
def log_time(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The logarithm of the original time.

    Args:
        flow: a `DirectionClock`.
        t: the clock's time, unused.
        params: its state.

    Returns:
        One number; minus infinity at the start. Divided by log 10 it is decades.

    Raises:
        ValueError: the flow carries no logarithm of time.
    """
    if not callable(getattr(flow, "log_time", None)):
        raise ValueError(f"{type(flow).__name__} carries no logarithm of time: record it for a jaxdyn.flows.DirectionClock.")
    return flow.log_time(params)


@checked
def log_norm(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The logarithm of the norm of all parameters that move.

    Args:
        flow: a `DirectionClock`.
        t: the clock's time, unused.
        params: its state.

    Returns:
        One number.

    Raises:
        ValueError: the state has no logarithm of the norm.
    """
    if not (isinstance(params, dict) and "log_norm" in params):
        raise ValueError(f"the state of {type(flow).__name__} has no log_norm: record it for a jaxdyn.flows.DirectionClock.")
    return params["log_norm"]
