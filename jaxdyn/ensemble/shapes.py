"""The shapes of a flow's parameters, found once: a second sweep traces nothing again."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._checks import explained, once, shown
from ..flows import check_methods
from ..solve import check_flow
from ..solve.settings import check_params


@once
def like_start(flow_and_key: tuple[Any, Any]) -> Any:
    """The shapes of a flow's parameters, with the flow checked.

    Args:
        flow_and_key: a flow, and a key for its start.

    Returns:
        A pytree of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: it has no start, or is no flow.
    """
    flow, key = flow_and_key
    if isinstance(flow, type):
        check_methods(flow)
    if not callable(getattr(flow, "init", None)):
        raise ValueError("a sweep starts every seed with flow.init(key), which this flow lacks.")
    with explained("flow.init(key) fails"):
        like = eqx.filter_eval_shape(lambda f, k: f.init(k), flow, key)
    if sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(like)) == 0:
        raise ValueError("flow.init(key) gives no parameters: the network needs a width and inputs of at least 1.")
    check_params(like)
    check_flow(flow, like)
    return like


def check_devices(devices: Any) -> list[Any]:
    """The devices to run on.

    Args:
        devices: a list of jax devices; None for all of the default backend.

    Returns:
        A list.

    Raises:
        ValueError: it is empty, holds something else, or one device twice.
    """
    if devices is None:
        return list(jax.devices())
    several = isinstance(devices, Sequence | np.ndarray) and not isinstance(devices, str)
    if not several or not all(isinstance(device, jax.Device) for device in devices):
        raise ValueError(f"devices must be a list of devices, such as jax.devices()[:1], not {shown(devices)}.")
    where = list(devices)
    if not where:
        raise ValueError("devices is empty: name at least one, or leave it out.")
    if len(set(where)) < len(where):
        raise ValueError("devices names one device twice: name each once.")
    return where


def check_progress(progress: Any) -> None:
    """Refuses what is neither a switch nor a label of the progress bar."""
    if not isinstance(progress, bool | np.bool_ | str):
        raise ValueError(f"progress={shown(progress)} must be True, False or the label of the bar.")
