"""Observables: functions of a recorded state."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._checks import explained, shown

Observable = Callable[..., Array]
"""`(flow, t, params) -> array`, or `(flow, t, params, start) -> array` for what is measured against the start."""

CHUNK = 16
"""States evaluated at once: enough to fill the processor, few enough to fit."""


def observables(observe: dict[str, Observable] | None) -> dict[str, Observable]:
    """The named observables, checked.

    Args:
        observe: names to functions, or None.

    Returns:
        A dictionary.

    Raises:
        ValueError: it is no dictionary of functions of three or four arguments.
    """
    if observe is None:
        return {}
    if not isinstance(observe, dict):
        raise ValueError("observe takes a dictionary from names to functions, {'loss': jaxdyn.measure.loss}.")
    for name, function in observe.items():
        if not isinstance(name, str):
            raise ValueError(f"an observable is named by text, not by {shown(name)}.")
        if not callable(function) or isinstance(function, type):
            kind = f"the class {function.__name__}" if isinstance(function, type) else f"a {type(function).__name__}"
            raise ValueError(f"the observable {name!r} is not a function but {kind}.")
        _takes_start(name, function)
    return dict(observe)


def _takes_start(name: str, function: Observable) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    if len(needed) not in (3, 4):
        raise ValueError(
            f"the observable {name!r} must take (flow, t, params) or (flow, t, params, start), but takes {len(needed)} arguments."
        )
    return len(needed) == 4


def values_of(watch: dict[str, Observable], flow: Any, t: Float[Array, ""], params: Any, start: Any) -> dict[str, Array]:
    """Each observable at one state.

    Args:
        watch: the observables.
        flow: the flow.
        t: the time.
        params: the parameters.
        start: those at the start.

    Returns:
        Arrays by name.

    Raises:
        ValueError: an observable raises, or returns something else than an array of numbers or truth values.
    """
    found = {}
    for name, function in watch.items():
        with explained(f"the observable {name!r} does not fit this flow"):
            value = function(flow, t, params, *((start,) if _takes_start(name, function) else ()))
        array = value if hasattr(value, "dtype") or isinstance(value, int | float) else None
        if array is None or not (jnp.issubdtype(jnp.result_type(array), jnp.floating) or jnp.result_type(array).kind in "iub"):
            kind = getattr(value, "dtype", None) or f"a {type(value).__name__}"
            raise ValueError(f"the observable {name!r} must return an array of real numbers or truth values, but returns {kind}.")
        found[name] = jnp.asarray(value)
    return found


def evaluate(
    watch: dict[str, Observable],
    flow: Any,
    ts: Float[Array, " time"],
    states: Float[Array, "time param"],
    start: Any,
    unravel: Callable[[Array], Any],
    reached: Bool[Array, " time"],
) -> dict[str, Array]:
    """Each observable at each recorded state.

    Args:
        watch: the observables.
        flow: the lane's flow.
        ts: the record times.
        states: flat parameters at these times.
        start: the parameters at the start.
        unravel: flat parameters to a pytree.
        reached: which records were made.

    Returns:
        Arrays with a leading axis `time`, of floats; NaN where nothing was recorded.
    """

    def at(moment: tuple[Array, Array]) -> dict[str, Array]:
        t, y = moment
        return values_of(watch, flow, t, unravel(y), start)

    if not watch:
        return {}
    values = jax.lax.map(at, (ts, states), batch_size=min(CHUNK, ts.shape[0]))

    def blank(value: Array) -> Array:
        value = value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(states.dtype)
        return jnp.where(reached.reshape(reached.shape + (1,) * (value.ndim - 1)), value, jnp.nan)

    return {name: blank(value) for name, value in values.items()}
