"""What a step through kinks starts from."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, Int


class Step(NamedTuple):
    """A step with gates held.

    Attributes:
        h: its length.
        y0: the parameters at its start.
        v0: the field there.
        y1: the parameters at its end.
        v1: the field there.
        dense: fraction of the step to parameters.
        rejections: of steps from here, in a row.
    """

    h: Float[Array, ""]
    y0: Float[Array, " param"]
    v0: Float[Array, " param"]
    y1: Float[Array, " param"]
    v1: Float[Array, " param"]
    dense: Callable[[Array], Array] | None
    rejections: Int[Array, ""]
