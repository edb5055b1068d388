"""What the terms of this package's own solvers share."""

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
from jaxtyping import Array, PyTree


class AbstractFieldTerm(dfx.AbstractTerm):
    """A flow on flat vectors, in the direction of time, and what else its solver needs of it.

    Attributes:
        field: `(t, y, args) -> velocity`.
    """

    field: eqx.AbstractVar[Callable[[Any, Array, PyTree], Array]]

    def vf(self, t: Any, y: Array, args: PyTree) -> Array:
        """The field."""
        return self.field(t, y, args)

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Array:
        """The time between."""
        return t1 - t0

    def prod(self, vf: Array, control: Array) -> Array:
        """Field times time."""
        return control * vf
