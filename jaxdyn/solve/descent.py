"""Flows that step by themselves: descents, whose steps are a learning rate long."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
from jaxtyping import Array, PRNGKeyArray, PyTree

from .term import AbstractFieldTerm

NEEDS = ("begin", "update", "rate")
"""What such a flow offers: `begin(y, key)`, `update(y, state)` and `rate(y, state)`."""


def offers_steps(flow: Any) -> bool:
    """Whether a flow steps by itself."""
    return all(callable(getattr(flow, name, None)) for name in NEEDS)


class DescentTerm(AbstractFieldTerm):
    """A flow on flat vectors with its own steps.

    Attributes:
        field: `(t, y, args) -> velocity`, the expected one.
        begin: `(y, key) -> state`.
        update: `(y, state) -> (y, state)`.
        rate: `(y, state) -> time that the next step takes`.
    """

    field: Callable[[Any, Array, PyTree], Array]
    begin: Callable[[Array, PRNGKeyArray], PyTree]
    update: Callable[[Array, PyTree], tuple[Array, PyTree]]
    rate: Callable[[Array, PyTree], Array]


class Descent(dfx.AbstractSolver):
    """A step is one update of the flow's own, whatever time it is asked for; in between the parameters move straight.

    `solve` and `sweep` take it for flows that offer `begin`, `update` and `rate`, as `StochasticDescent` does.
    """

    term_structure: ClassVar[Any] = DescentTerm
    interpolation_cls: ClassVar[Any] = dfx.LocalLinearInterpolation

    def order(self, terms: DescentTerm) -> int:
        """That of Euler's method, which the descent by the whole gradient is."""
        del terms
        return 1

    def init(self, terms: DescentTerm, t0: Any, t1: Any, y0: Array, args: PRNGKeyArray) -> PyTree:
        """What the flow remembers at its start.

        Args:
            terms: the flow.
            t0: of no use here.
            t1: of no use here.
            y0: the start.
            args: the lane's key.

        Returns:
            The state.
        """
        del t0, t1
        return terms.begin(y0, args)

    def func(self, terms: DescentTerm, t0: Any, y0: Array, args: PyTree) -> Array:
        """The field."""
        return terms.vf(t0, y0, args)

    def step(
        self, terms: DescentTerm, t0: Any, t1: Any, y0: Array, args: PyTree, solver_state: PyTree, made_jump: Any
    ) -> tuple[Array, None, dict[str, Array], PyTree, dfx.RESULTS]:
        """One update.

        Args:
            terms: the flow.
            t0: of no use here.
            t1: of no use here.
            y0: where it starts.
            args: of no use here.
            solver_state: what the flow remembers.
            made_jump: of no use here.

        Returns:
            y1, no error estimate, the dense information, what the flow remembers, and success.
        """
        del t0, t1, args, made_jump
        y1, state = terms.update(y0, solver_state)
        return y1, None, {"y0": y0, "y1": y1}, state, dfx.RESULTS.successful
