"""When to record."""

from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .._checks import shown

RecordRequest = int | Array | np.ndarray | list | tuple | Literal["steps"]


def is_infinite(t1: Any) -> bool:
    """Whether an end time asks for the limit; one that is traced does not."""
    number = isinstance(t1, float | np.floating | np.ndarray | jax.Array) and not isinstance(t1, Tracer)
    return number and np.ndim(t1) == 0 and bool(np.asarray(t1) == np.inf)


def last_finite(record: RecordRequest | None) -> float:
    """The last time at which a state is asked for, apart from the limit."""
    if record is None or isinstance(record, str) or np.ndim(record) == 0:
        return -np.inf
    times = np.asarray(cast(Any, record), float)
    return float(np.max(times, where=np.isfinite(times), initial=-np.inf))


def num_records(record: RecordRequest | None) -> int:
    """How many times are asked for; 0 where that is not known."""
    if isinstance(record, int | np.integer):
        return int(record)
    return 0 if record is None or isinstance(record, str) else int(np.size(cast(Any, record)))


def record_times(record: RecordRequest, t0: float | Array, t1: float | Array) -> Float[Array, " time"]:
    """The times asked for.

    Args:
        record: a number k of times: t0, then k - 1 up to t1 spaced evenly in log(t - t0) over six decades, but t0 and the limit alone if t1
            is infinite; or the times themselves, not decreasing, from t0 to t1.
        t0: where the trajectory starts.
        t1: where it ends.

    Returns:
        The record times.

    Raises:
        ValueError: fewer than two times are asked for, or times that decrease or lie outside [t0, t1].
    """
    if isinstance(record, bool) or record is None:
        raise ValueError(f"record={shown(record)} is not known: give a number of times, the times themselves, or 'steps'.")
    if isinstance(record, int | np.integer):
        if record < 2:
            raise ValueError(f"record={record} is too few: ask for 2 times or more (start and end), or give the times themselves.")
        if is_infinite(t1):
            return jnp.stack([jnp.asarray(t0, jnp.result_type(float)), jnp.inf])
        grid = np.concatenate([[0.0], np.logspace(-6, 0, int(record) - 1)])
        grid[-1] = 1.0
        # t0 + (t1 - t0) may round to beyond t1, a time that is never reached
        if not any(isinstance(t, jax.Array) for t in (t0, t1)):  # the same, faster
            return jnp.asarray(np.append(np.minimum(t0 + (t1 - t0) * grid[:-1], t1), t1), jnp.result_type(float))
        return jnp.minimum(t0 + (t1 - t0) * jnp.asarray(grid), t1).at[-1].set(t1)
    try:
        times = np.asarray(record, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"record={shown(record)} is not known: give a number of times, the times themselves, or 'steps'.") from None
    allowed = np.isfinite(times) | (is_infinite(t1) & (times == np.inf))
    if times.ndim != 1 or times.size == 0 or not np.all(allowed):
        raise ValueError("the record times must be a list of finite numbers, at least one.")
    if np.any(np.diff(times) < 0):
        raise ValueError("the record times must not decrease: sort them.")
    known = not any(isinstance(t, Tracer) for t in (t0, t1))
    if known and (times[0] < t0 or times[-1] > t1):
        raise ValueError(f"the record times must lie between t0={t0:g} and t1={t1:g}, but run from {times[0]:g} to {times[-1]:g}.")
    return jnp.asarray(times)
