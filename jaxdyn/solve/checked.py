"""What a call brings along that is only traced later, looked at before anything is compiled, once for calls that look alike."""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from .._checks import explained, once
from .._platform import memory
from .._types import Params
from .observe import Observable, values_of
from .rules import AbstractStopRule, Moment, Pace, as_truth
from .settings import check_flow

COPIES = 3
"""Copies of the recorded states that a run may hold at a time: those written, those rearranged, those returned."""


def check_call(flow: Any, params: Params, rules: tuple[AbstractStopRule, ...], watch: dict[str, Observable]) -> None:
    """Looks at the flow, the stop rules and the observables, by shapes alone.

    A `ValueError` is raised where the flow does not fit the parameters, a rule returns no truth value, or an observable fails or
    returns no array.

    Args:
        flow: the flow.
        params: its parameters, or their shapes.
        rules: the stop rules.
        watch: the observables.
    """
    _check_call((flow, params, rules, watch))


@once
def _check_call(call: tuple) -> None:
    flow, params, rules, watch = call
    check_flow(flow, params)

    def look(flow: Any, params: Params, rules: Any, watch: Any) -> Any:
        flat, unravel = ravel_pytree(params)
        t, steps = jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.result_type(int))
        velocity = cache(lambda: jnp.zeros_like(flat))
        loss = jnp.zeros((), flat.dtype)
        moment = Moment(flow, t, t + 1, unravel(flat), flat, loss, loss + 1, steps, steps, velocity, loss, Pace(t, steps, t, t))
        met = []
        for rule in rules:
            with explained(f"the stop rule {type(rule).__name__} fails"):
                met.append(rule(moment))
        return [as_truth(one) for one in met], values_of(watch, flow, t, params, params)

    eqx.filter_eval_shape(look, flow, params, rules, watch)


def check_memory(records: int, params: Params, lanes: int = 1) -> None:
    """Refuses to record more than the machine's memory holds.

    Args:
        records: states of a lane.
        params: the parameters, or their shapes.
        lanes: lanes that are in memory at a time.

    Raises:
        ValueError: it is too much.
    """
    leaves = jax.tree.leaves(params)
    state = sum(leaf.size for leaf in leaves) * jnp.result_type(*leaves).itemsize + 8
    needed, there = COPIES * records * lanes * state, memory()
    if needed > there:
        raise ValueError(
            f"{records} recorded states of {lanes} lanes, {state} bytes each, need about {needed / 2**30:.3g} GiB, and this machine has "
            f"{there / 2**30:.3g}: record fewer, or, with record='steps', give a smaller max_steps."
        )
