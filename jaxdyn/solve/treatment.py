"""How the kinks of a flow are treated: what the flow offers, what was asked for, and what the controller allows."""

from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

from .._types import Params
from ..models import Neurons
from .descent import offers_steps
from .kinks import NeuronKinks, SwitchKinks


class Treatment(NamedTuple):
    """How kinks are treated.

    Attributes:
        kinks: the class that locates them; None where the flow is stepped plainly.
        words: that in words.
        ignores: whether the flow has kinks and they are stepped over.
    """

    kinks: type[NeuronKinks] | type[SwitchKinks] | None
    words: str
    ignores: bool = False


def is_shift_invariant(controller: dfx.AbstractStepSizeController) -> bool:
    """Whether a controller looks at step lengths only, so that each step may start at local time 0."""
    return type(controller) in (dfx.PIDController, dfx.ConstantStepSize)


def innermost_controller(controller: dfx.AbstractStepSizeController) -> Any:
    """The controller that others are wrapped around, which has the tolerances."""
    while hasattr(controller, "controller"):
        controller = controller.controller  # pyright: ignore[reportAttributeAccessIssue]
    return controller


def neurons_of(flow: Any, params: Params) -> Neurons | None:
    """The only hidden layer of a flow's network.

    Args:
        flow: any flow.
        params: its parameters.

    Returns:
        What the flow's `neurons` says; None if it has none.
    """
    own = getattr(flow, "neurons", None)
    return None if own is None else own(params)


def treatment(flow: Any, locate_kinks: bool, controller: dfx.AbstractStepSizeController, like: Params) -> Treatment:
    """How the kinks of a flow are treated.

    Args:
        flow: the flow.
        locate_kinks: whether that is asked for.
        controller: of the step size.
        like: the flow's parameters, or their shapes.

    Returns:
        The treatment.
    """
    switches = getattr(flow, "switches", None)
    if switches is None or eqx.filter_eval_shape(lambda f, y: f.switches(y), flow, like) is None:
        return Treatment(None, "plain stepping")
    still = _stands_still(flow, like)
    if offers_steps(flow):
        return Treatment(None, "steps over kinks", not still)
    if not locate_kinks:
        return Treatment(None, "plain stepping through kinks, as asked", not still)
    if not is_shift_invariant(controller):
        return Treatment(None, f"plain stepping through kinks ({type(controller).__name__} looks at absolute times)", not still)
    if not callable(getattr(flow, "mobility", None)):
        return Treatment(None, "plain stepping through kinks (the flow has no mobility(y))", not still)
    if still:
        return Treatment(None, "plain stepping (no pre-activation moves)")
    if eqx.filter_eval_shape(neurons_of, flow, like) is not None:
        return Treatment(NeuronKinks, "kinks located")
    return Treatment(SwitchKinks, "kinks located, each ending a step")


def _stands_still(flow: Any, like: Params) -> bool:
    """Whether the only hidden layer's inner weights are all frozen."""
    if not callable(getattr(flow, "trainable", None)):
        return False
    with jax.ensure_compile_time_eval():
        moves = jax.tree.map(lambda leaf, trains: np.full(leaf.shape, float(trains)), like, flow.trainable(like))
        found = neurons_of(flow, moves)
        return found is not None and not isinstance(found.inner, Tracer) and not np.any(found.inner)
