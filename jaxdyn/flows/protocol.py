"""How a flow that is another flow in other coordinates, another time or other steps says so."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from .._types import Params
from .base import AbstractFlow


def check_methods(flow: Any) -> None:
    """Refuses what is no flow.

    Args:
        flow: any object.

    Raises:
        ValueError: it is a class, or has no vector field or no loss.
    """
    if isinstance(flow, type):
        raise ValueError(f"a flow must be an object, not the class {flow.__name__}: make an instance of it.")
    for method in ("vector_field", "loss"):
        if not callable(getattr(flow, method, None)):
            raise ValueError(f"a flow needs the methods vector_field(t, y, args) and loss(y); {type(flow).__name__} has no {method}.")


def check_shapes(flow: Any, params: Params) -> None:
    """Refuses parameters of other shapes than the flow's own start, which might only broadcast to something.

    Args:
        flow: any flow; one without a start lets everything pass.
        params: its parameters, or their shapes.

    Raises:
        ValueError: a shape differs, or a parameter is missing or superfluous.
    """
    if not callable(getattr(flow, "init", None)):
        return
    try:
        like = eqx.filter_eval_shape(lambda flow: flow.init(jax.random.key(0)), flow)
    except Exception:  # a model without a start
        return
    expected, given = (
        {jtu.keystr(path, simple=True, separator="."): tuple(jnp.shape(leaf)) for path, leaf in jtu.tree_leaves_with_path(tree)}
        for tree in (like, params)
    )
    for name in (*expected, *given):
        if expected.get(name) != given.get(name):
            there = f"have no {name!r}" if name not in given else f"have {name!r} of shape {given[name]}"
            needed = f"has none: {', '.join(expected)}" if name not in expected else f"has it of shape {expected[name]}"
            raise ValueError(f"these are not the flow's parameters: they {there}, and flow.init(key) {needed}.")


class AbstractWrapper(AbstractFlow):
    """A flow made of another one, whose network, data and settings measures may look up there.

    Only a subclass of this class is looked through: what another flow keeps in a field called `inner` or `flow` is its own affair.
    """

    @property
    @abstractmethod
    def wrapped(self) -> Any:
        """The flow that this one is made of."""

    def weights(self, y: Params) -> Params:
        """The state as parameters of the wrapped flow; by default they are the same.

        Args:
            y: the state of this flow.

        Returns:
            The parameters of `wrapped`.
        """
        return y


def innermost(flow: Any) -> Any:
    """The flow under all wrappers.

    Args:
        flow: any flow.

    Returns:
        The first flow that is no `AbstractWrapper`, from the outside in.
    """
    while isinstance(flow, AbstractWrapper):
        flow = flow.wrapped
    return flow


def network_params(flow: Any, params: Params) -> Params:
    """The network's parameters in the state of a flow.

    Args:
        flow: any flow; one that is no wrapper may say by a method `weights(state)` what its model is evaluated at.
        params: its state.

    Returns:
        The parameters of the innermost flow's model.
    """
    while isinstance(flow, AbstractWrapper):
        params, flow = flow.weights(params), flow.wrapped
    own = getattr(flow, "weights", None)
    return own(params) if callable(own) else params
