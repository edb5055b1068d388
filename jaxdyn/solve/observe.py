"""Observables: functions of a recorded state."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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
        if not callable(function):
            raise ValueError(f"the observable {name!r} is not a function but a {type(function).__name__}.")
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
        params = unravel(y)
        extra = {name: (start,) if _takes_start(name, function) else () for name, function in watch.items()}
        return {name: jnp.asarray(function(flow, t, params, *extra[name])) for name, function in watch.items()}

    if not watch:
        return {}
    values = jax.lax.map(at, (ts, states), batch_size=min(CHUNK, ts.shape[0]))

    def blank(value: Array) -> Array:
        value = value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(states.dtype)
        return jnp.where(reached.reshape(reached.shape + (1,) * (value.ndim - 1)), value, jnp.nan)

    return {name: blank(value) for name, value in values.items()}
