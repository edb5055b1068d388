"""When to stop before the end time: conditions on the state, most of them the zero of a number."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_function, check_not_negative, check_number, explained
from .._repr import Readable
from .._types import Params, leaf
from .outcome import Outcome


class Pace(NamedTuple):
    """How a solver came to where a lane stands, for a lane that may be given up to another solver.

    Attributes:
        t: when the solver began.
        num_steps: steps that the lane had taken by then.
        quarter: the time at the mark before the last, see `AbstractGiveUp`.
        half: and at the last mark.
    """

    t: Float[Array, ""]
    num_steps: Int[Array, ""]
    quarter: Float[Array, ""]
    half: Float[Array, ""]


class Moment(NamedTuple):
    """What a rule may look at; `step_size` is the next one; `velocity` is a function so that it is computed only where a rule asks.

    `stiffness` is the largest rate of decay that the solver knows of, NaN for solvers that know none; `pace` is how the solver came here.
    """

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
    stiffness: Float[Array, ""]
    pace: Pace


class AbstractStopRule(Readable, eqx.Module):
    """A condition that ends a lane.

    Every rule is checked at the start, where it ends the lane before its first step, and after every accepted step. A rule with a `value`
    is met where that falls to zero. The zero is located inside the step to the tolerance of the solver, the lane ends there, and the end
    time and the end have the derivatives of the zero. Of several such rules the one that is met first ends the lane; of those that are
    met at the same time the first in the order given. A value that is positive at both ends of a step does not stop the lane, even if it
    is negative in between. A rule without a value, and every rule where the flow makes discrete steps, ends the lane after the first step
    at whose end it is true. NaN stops no lane.
    """

    @property
    @abstractmethod
    def outcome(self) -> Outcome:
        """What the lane's outcome is when the rule is met."""

    def value(self, moment: Moment) -> Float[Array, ""] | None:
        """A number that is positive until the rule is met; None for a rule that is only true or false."""
        del moment
        return None

    @abstractmethod
    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the lane ends here."""


class LossBelow(AbstractStopRule):
    """Stop where the flow's loss falls to `threshold` (in the loss's own convention)."""

    threshold: Float[Array, ""] = eqx.field(converter=leaf("threshold"))

    def __check_init__(self):
        """Refuses what is no finite number."""
        check_number("threshold", self.threshold, "one finite number")

    @property
    def outcome(self) -> Outcome:
        """A loss reached is a stop, not convergence."""
        return Outcome.stopped

    def value(self, moment: Moment) -> Float[Array, ""]:
        """The loss less the threshold."""
        return moment.loss - self.threshold

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the loss is at or below the threshold."""
        return self.value(moment) <= 0


class GradientNormBelow(AbstractStopRule):
    """Converged where the Euclidean norm of dy/dt over all parameters falls to `threshold`.

    The velocity is also small near a saddle point, and at the start of a network with small weights: there the lane ends as `converged`
    too. Ask for `t1=jax.numpy.inf` if the end has to be a minimum. The error that the solver makes at its tolerances keeps the norm from
    falling below some level; a lane that has reached it ends as `tolerance_reached`. That is measured: over 20 steps or more the norm
    did not fall to half, and the parameters moved by less than a tenth of what a velocity of half that norm moves them, and by no more
    than ten times the tolerance.
    """

    threshold: Float[Array, ""] = eqx.field(converter=leaf("threshold"))

    def __check_init__(self):
        """Refuses what no norm is below."""
        check_not_negative("threshold", self.threshold)

    @property
    def outcome(self) -> Outcome:
        """A small velocity is convergence."""
        return Outcome.converged

    def value(self, moment: Moment) -> Float[Array, ""]:
        """The velocity's norm less the threshold."""
        return jnp.linalg.norm(moment.velocity()) - self.threshold

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the velocity's norm is at or below the threshold."""
        return self.value(moment) <= 0


class SteadyDirection(AbstractStopRule):
    r"""Converged where the direction $y/|y|$ would turn by at most `angle` radians in the time that is left.

    The angular speed is $|(I - \hat y \hat y^\top) \dot y| / |y|$; it is multiplied by the larger of the time left and the time gone,
    so that the last instants before the end time do not count as steady by themselves. A start whose direction is at rest, or which does
    not move, ends at once; y = 0 has no direction and never ends.
    """

    angle: Float[Array, ""] = eqx.field(converter=leaf("angle"))

    def __check_init__(self):
        """Refuses what no angle is below."""
        check_not_negative("angle", self.angle)

    @property
    def outcome(self) -> Outcome:
        """A direction at rest is convergence."""
        return Outcome.converged

    def value(self, moment: Moment) -> Float[Array, ""]:
        """The turn in the time left, less the angle."""
        square = moment.y @ moment.y
        norm = jnp.sqrt(jnp.where(square > 0, square, 1.0))
        unit = moment.y / norm
        velocity = moment.velocity()
        across = velocity - unit * (unit @ velocity)
        size = across @ across
        turning = jnp.where(size > 0, jnp.sqrt(jnp.where(size > 0, size, 1.0)), 0.0) / norm
        return jnp.where(square > 0, turning * jnp.maximum(moment.t1 - moment.t, moment.t) - self.angle, jnp.inf)

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether the direction is at rest."""
        return self.value(moment) <= 0


class StopWhen(AbstractStopRule):
    """Stop once the user's `condition(flow, t, params)` is true, or where the user's `number(flow, t, params)` falls to zero.

    `StopWhen(condition)` ends the lane after the first step at whose end the condition is true. `StopWhen(value=number)`, with a number
    that is positive until the lane is to end, ends it where the number is zero, see `AbstractStopRule`.
    """

    condition: Callable[[Any, Array, Params], Array] | None = eqx.field(static=True)
    number: Callable[[Any, Array, Params], Array] | None = eqx.field(static=True)

    def __init__(
        self,
        condition: Callable[[Any, Array, Params], Array] | None = None,
        *,
        value: Callable[[Any, Array, Params], Array] | None = None,
    ):
        """A rule of the user's own.

        Args:
            condition: a function `(flow, t, params) -> bool`.
            value: or a function `(flow, t, params) -> scalar` that can be differentiated; the lane ends where it is zero or negative.

        Raises:
            ValueError: neither or both are given, or what is given is no function.
        """
        if (condition is None) == (value is None):
            raise ValueError("StopWhen takes a condition (flow, t, params) -> bool, or value=, a function (flow, t, params) -> scalar.")
        check_function("a stop rule", condition or value, ("flow", "t", "params"))
        self.condition, self.number = condition, value

    @property
    def outcome(self) -> Outcome:
        """A user's rule is a stop."""
        return Outcome.stopped

    def value(self, moment: Moment) -> Float[Array, ""] | None:
        """The user's number; None for a condition."""
        if self.number is None:
            return None
        with explained("a stop rule fails"):
            found = jnp.asarray(self.number(moment.flow, moment.t, moment.params))
        if found.ndim or not jnp.issubdtype(found.dtype, jnp.floating):
            raise ValueError(f"the value of a stop rule must be one real float, not {found.dtype} of shape {found.shape}.")
        return found

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """The user's condition, or whether the user's number is zero or negative."""
        if self.condition is None:
            value = self.value(moment)
            assert value is not None
            return value <= 0
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
