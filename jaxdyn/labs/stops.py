"""Stop rules that several labs have."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import as_leaf
from ..solve import AbstractStopRule, Outcome


class Reached(AbstractStopRule):
    """Stop a `DirectionClock` once the original time's logarithm is at or above a threshold and the loss's at or below another."""

    log_time: Float[Array, ""] = eqx.field(converter=as_leaf)
    log_loss: Float[Array, ""] = eqx.field(converter=as_leaf, default=jnp.inf)

    @property
    def outcome(self) -> Outcome:
        """A time reached is a stop."""
        return Outcome.stopped

    def __call__(self, moment: Any) -> Bool[Array, ""]:
        """Whether it is there."""
        return (moment.flow.log_time(moment.params) >= self.log_time) & (moment.loss <= self.log_loss)
