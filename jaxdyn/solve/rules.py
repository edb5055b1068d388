"""When to stop before the end time: rules looked at after every accepted step."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_function, check_not_negative, check_number, explained
from .._types import Params, leaf
from .outcome import Outcome


class Moment(NamedTuple):
    """What a rule may look at; `step_size` is the next one; `velocity` is a function so that it is computed only where a rule asks."""

    flow: Any
    t: Float[Array, ""]
    t1: Float[Array, ""]
    params: Params
    y: Float[Array, " param"]
    loss: Float[Array, ""]
    step_size: Float[Array, ""]
    num_steps: Int[Array, ""]
    num_kinks: Int[Array, ""]
    velocity: Callable[[], Float[Array, " param"]]


class AbstractStopRule(eqx.Module):
    """A condition that ends a lane."""

    @property
    @abstractmethod
    def outcome(self) -> Outcome:
        """What the lane's outcome is when the rule is met."""

    @abstractmethod
    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the lane ends here."""


class LossBelow(AbstractStopRule):
    """Stop once the flow's loss is at or below `threshold` (in the loss's own convention)."""

    threshold: Float[Array, ""] = eqx.field(converter=leaf("threshold"))

    def __check_init__(self):
        """Refuses what is no finite number."""
        check_number("threshold", self.threshold, "one finite number")

    @property
    def outcome(self) -> Outcome:
        """A loss reached is a stop, not convergence."""
        return Outcome.stopped

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the loss is at or below the threshold."""
        return moment.loss <= self.threshold


class GradientNormBelow(AbstractStopRule):
    """Converged once the Euclidean norm of dy/dt over all parameters is at or below `threshold`."""

    threshold: Float[Array, ""] = eqx.field(converter=leaf("threshold"))

    def __check_init__(self):
        """Refuses what no norm is below."""
        check_not_negative("threshold", self.threshold)

    @property
    def outcome(self) -> Outcome:
        """A small velocity is convergence."""
        return Outcome.converged

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the velocity's norm is at or below the threshold."""
        return jnp.linalg.norm(moment.velocity()) <= self.threshold


class SteadyDirection(AbstractStopRule):
    r"""Converged once the direction $y/|y|$ would turn by at most `angle` radians in the time that is left.

    The angular speed is $|(I - \hat y \hat y^\top) \dot y| / |y|$; it is multiplied by the larger of the time left and the time gone,
    so that the last instants before the end time do not count as steady by themselves.
    """

    angle: Float[Array, ""] = eqx.field(converter=leaf("angle"))

    def __check_init__(self):
        """Refuses what no angle is below."""
        check_not_negative("angle", self.angle)

    @property
    def outcome(self) -> Outcome:
        """A direction at rest is convergence."""
        return Outcome.converged

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the direction is at rest."""
        norm = jnp.linalg.norm(moment.y)
        unit = moment.y / jnp.where(norm > 0, norm, 1.0)
        velocity = moment.velocity()
        turning = jnp.linalg.norm(velocity - unit * (unit @ velocity)) / jnp.where(norm > 0, norm, 1.0)
        return (norm > 0) & (turning * jnp.maximum(moment.t1 - moment.t, moment.t) <= self.angle)


class StopWhen(AbstractStopRule):
    """Stop once the user's `condition(flow, t, params)`, one truth value, is true."""

    condition: Callable[[Any, Array, Params], Array] = eqx.field(static=True)

    def __check_init__(self):
        """Refuses what is no function of flow, time and parameters."""
        check_function("a stop rule", self.condition, ("flow", "t", "params"))

    @property
    def outcome(self) -> Outcome:
        """A user's rule is a stop."""
        return Outcome.stopped

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """The user's condition."""
        with explained("a stop rule fails"):
            met = self.condition(moment.flow, moment.t, moment.params)
        return as_truth(met)


def as_truth(met: Any) -> Bool[Array, ""]:
    """What a stop rule says, checked to be one truth value.

    Args:
        met: what it returned.

    Returns:
        The truth value.

    Raises:
        ValueError: it is a number, where a comparison was forgotten, or an array.
    """
    found = f"{met.dtype} of shape {met.shape}" if hasattr(met, "dtype") else f"a {type(met).__name__}"
    if found not in ("bool of shape ()", "a bool"):
        raise ValueError(
            f"a stop rule must return one truth value, such as flow.loss(params) < 0.1, but returns {found}: compare the number with a "
            "threshold, and several truth values by jax.numpy.all."
        )
    return jnp.asarray(met)
