"""What all measures check: that the parameters are the flow's, and that failures are sentences."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .._checks import once, plainly
from ..flows import check_methods, check_shapes

P = ParamSpec("P")
T = TypeVar("T")


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """A measure that refuses parameters of other shapes than the flow's, and a class in place of a flow.

    Args:
        function: it takes `flow` and `params`, perhaps among others.

    Returns:
        The same function, with the same signature.
    """
    names = list(inspect.signature(function).parameters)
    where = names.index("flow"), names.index("params")

    @plainly
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        flow, params = (
            args[place] if place < len(args) else kwargs.get(name) for place, name in zip(where, ("flow", "params"), strict=True)
        )
        if isinstance(flow, type):
            check_methods(flow)
        if callable(getattr(flow, "init", None)):
            _check((flow, params))
        return function(*args, **kwargs)

    return call


@once
def _check(flow_and_params: tuple[Any, Any]) -> None:
    check_shapes(*flow_and_params)
