r"""Where within a step a stop rule is met.

A step at whose end the value g of a rule is negative has passed a zero of g. The zero is located on the dense output, and the step is
repeated with the length to it, so that kinks, the solver's memory and the certificate are those of a step that ends there. The last
correction is Newton's, $t^* = t - g / \dot g$ and $y^* = y + (t^* - t) \dot y$, with $\dot g$ the derivative along the flow. It is taken
where it moves the parameters by less than a tenth of the tolerance; otherwise the step is repeated once more. With $\dot g$ and $\dot y$
held constant it also gives both their derivatives by the implicit function theorem, $dt^* = - dg / \dot g$, so that no other part of the
location has to be differentiated.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .branch import where_it_happens
from .rules import AbstractStopRule, GradientNormBelow, Moment
from .state import Stillness, Stops

EVALUATIONS = 17
"""Of the rules, one at the start of the step and two for each iteration of Ridders' method, which at least halves the bracket."""
TRIES = 8
"""Repetitions after which a value that jumps through zero ends the lane behind the jump."""
NEAR = 0.1
"""How far Newton's correction may move the parameters, in units of the tolerance."""
STILL_STEPS = 20
"""Accepted steps over which it is measured whether the trajectory moves as its velocity says."""
STILL_DISTANCE = 10.0
"""The farthest that a trajectory may have moved in that time, in units of the tolerance (root mean square)."""
STILL_FRACTION = 0.1
"""And as a fraction of what its velocity would have moved it."""


def values_of(rules: Sequence[AbstractStopRule], moment: Moment) -> Float[Array, " rule"] | None:
    """The values of all rules.

    Args:
        rules: the rules.
        moment: where they are evaluated.

    Returns:
        One number per rule: infinity for a rule without a value, and where the value is NaN. None if no rule has a value.
    """
    found = [rule.value(moment) for rule in rules]
    if all(value is None for value in found):
        return None
    numbers = jnp.stack([jnp.asarray(jnp.inf if value is None else value, moment.y.dtype) for value in found])
    return jnp.where(jnp.isnan(numbers), jnp.inf, numbers)


def located(
    rules: Sequence[AbstractStopRule], moment_at: Callable[[Array], Moment], at_end: Float[Array, " rule"]
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """The first zero between the start of a step, where no value is negative, and its end, where one is.

    Args:
        rules: the rules.
        moment_at: the state at a fraction of the step.
        at_end: the values at its end.

    Returns:
        The index of the rule, of several that are met there the first, and the fraction; no derivatives.

    Reference:
        Ridders (1979), A new algorithm for computing a single root of a real continuous function, IEEE Trans. Circuits Syst. 26, 979.
    """

    def turn(k: Array, carry: tuple) -> tuple:
        # the middle of the bracket and the point of Ridders by turns, so that the rules are compiled once
        s, low, high, at_low, at_high, met = carry
        values = jax.lax.stop_gradient(values_of(rules, moment_at(s)))
        assert values is not None
        value = jnp.min(values)
        root = jnp.sqrt(value**2 - at_low * at_high)
        better = s + (s - low) * value / jnp.where(root > 0, root, 1.0)
        below, inside = value <= 0, (s >= low) & (s <= high)
        upper, lower = inside & below, inside & ~below
        low, at_low = jnp.where(lower, s, low), jnp.where(lower, value, at_low)
        high, at_high = jnp.where(upper, s, high), jnp.where(upper, value, at_high)
        middle = (low + high) / 2
        good = (k % 2 == 1) & (better > low) & (better < high)
        return jnp.where(good, better, middle), low, high, at_low, at_high, jnp.where(upper, jnp.argmax(values <= 0), met)

    zero = jnp.zeros((), at_end.dtype)
    at_end = jax.lax.stop_gradient(at_end)
    begin = (zero, zero, jnp.ones_like(zero), jnp.ones_like(zero), jnp.min(at_end), jnp.argmax(at_end <= 0))
    _, _, high, _, _, met = jax.lax.fori_loop(0, EVALUATIONS, turn, begin)
    return met, high


class Placed(NamedTuple):
    """The end of a step that was meant to end at the zero of a rule.

    Attributes:
        ends: whether the lane ends with it.
        shift: what is added to the time.
        y: the parameters at the end, with the derivatives of the zero.
        velocity: the field there.
        loss: the loss there.
    """

    ends: Bool[Array, ""]
    shift: Float[Array, ""]
    y: Float[Array, " param"]
    velocity: Float[Array, " param"]
    loss: Float[Array, ""]


def placed(
    rules: Sequence[AbstractStopRule],
    aim: Int[Array, ""],
    moment_of: Callable[[Array, Array], Moment],
    y: Float[Array, " param"],
    velocity: Float[Array, " param"],
    tolerance: Float[Array, " param"],
    tries: Int[Array, ""],
    size: Float[Array, ""],
) -> Placed:
    """Newton's correction at the end of a step that was meant to end at the zero of a rule.

    Args:
        rules: the rules.
        aim: the index of the rule.
        moment_of: the state at a time after the end of the step, with given parameters.
        y: the end of the step.
        velocity: the field there.
        tolerance: of each parameter.
        tries: how often the step was repeated.
        size: its length.

    Returns:
        The zero.
    """
    along, zero = jax.lax.stop_gradient(velocity), jnp.zeros((), y.dtype)

    def value(after: Array) -> Array:
        values = values_of(rules, moment_of(after, y + after * along))
        assert values is not None
        return values[aim]

    found, slope = _with_slope(value, zero, jnp.cbrt(jnp.finfo(y.dtype).eps) * size)
    falls = slope < 0
    shift = jnp.where(falls, -found / jnp.where(falls, slope, 1.0), 0.0)
    still = jax.lax.stop_gradient(shift)
    moves = jnp.sqrt(jnp.mean((still * along / tolerance) ** 2))
    near = (moves <= NEAR) & (falls | (found == 0))
    shift = jnp.where(near, shift, 0.0)
    y = y + shift * along
    moment = moment_of(shift, y)
    return Placed(near | ((found <= 0) & (tries >= TRIES)), shift, y, moment.velocity(), moment.loss)


def _with_slope(function: Callable[[Array], Array], at: Array, step: Array) -> tuple[Array, Array]:
    """A function's value and its slope, the slope without derivatives."""
    try:
        found, slope = jax.jvp(function, (at,), (jnp.ones_like(at),))
    except (TypeError, ValueError, NotImplementedError):  # it calls what JAX cannot differentiate, such as a callback
        step = jax.lax.stop_gradient(step)
        found, slope = function(at), (function(at + step) - function(at - step)) / (2 * step)
    return found, jax.lax.stop_gradient(slope)


def asks_for_stillness(rules: Sequence[AbstractStopRule]) -> bool:
    """Whether a rule waits for a velocity that the solver's error may keep from falling."""
    return any(isinstance(rule, GradientNormBelow) for rule in rules)


def still_after(
    still: Stillness, t: Float[Array, ""], y: Float[Array, " param"], speed: Float[Array, ""], tolerance: Float[Array, " param"]
) -> tuple[Stillness, Bool[Array, ""]]:
    """Whether the velocity is error of the solver: the trajectory does not go where it points.

    Since a step with the speed v the speed was never below v / 2, so an exact trajectory has a path of length v / 2 times the time since.
    One whose end is near its beginning although the path is ten times as long, and does not leave a ball of the size of the tolerance,
    does not move by its velocity. Slow decay, such as a power law, moves along its path, however slow it is.

    Args:
        still: the step that is compared with.
        t: the time.
        y: the parameters.
        speed: the Euclidean norm of the velocity.
        tolerance: of each parameter.

    Returns:
        The step to compare with from here on, and whether the velocity is error.
    """
    moved, steps = y - still.y, still.steps + 1
    path = 0.5 * still.speed * (t - still.t).astype(y.dtype)
    fresh = (speed < 0.5 * still.speed) | (jnp.sqrt(jnp.mean((moved / tolerance) ** 2)) > STILL_DISTANCE)
    amiss = ~fresh & (steps >= STILL_STEPS) & (jnp.linalg.norm(moved) <= STILL_FRACTION * path)
    here = Stillness(speed, t, y, jnp.zeros_like(steps))
    kept = Stillness(still.speed, still.t, still.y, steps)
    return jax.tree.map(lambda a, b: jnp.where(fresh, a, b), here, kept), amiss


def first_met(rules: Sequence[AbstractStopRule], moment: Moment, outcome: Int[Array, ""], where: Any) -> Int[Array, ""]:
    """The outcome of the first rule that is met.

    Args:
        rules: the rules.
        moment: where they are checked.
        outcome: what it is if none is met.
        where: whether they count.

    Returns:
        The outcome.
    """
    for rule in reversed(rules):
        outcome = jnp.where(where & rule(moment), int(rule.outcome), outcome)
    return outcome


class Verdict(NamedTuple):
    """What the stop rules make of a step.

    Attributes:
        again: whether the step passed a zero and is to be repeated.
        reach: the fraction of it that leads to the zero.
        ends: whether the lane ends at a zero, which is the end of this step.
        met: the index of the rule.
        stuck: whether the velocity is error of the solver.
        placed: the end, where the lane ends; otherwise the end of the step.
        evaluations: of the field that this took.
        stops: what is remembered.
    """

    again: Bool[Array, ""]
    reach: Float[Array, ""]
    ends: Bool[Array, ""]
    met: Int[Array, ""]
    stuck: Bool[Array, ""]
    placed: Placed
    evaluations: Int[Array, ""]
    stops: Stops


def verdict(
    rules: Sequence[AbstractStopRule],
    stops: Stops,
    moment: Moment,
    at: Callable[[Array, Array], Moment],
    dense: Callable[[Array], tuple[Array, Array]],
    step: tuple[Bool[Array, ""], Bool[Array, ""], Float[Array, ""]],
    tolerance: Float[Array, " param"],
    known: bool,
    reversible: bool,
) -> Verdict:
    """Whether a step passed the zero of a rule, or ends at the one that it was meant to end at.

    Args:
        rules: the rules.
        stops: what is remembered of earlier steps.
        moment: the end of the step.
        at: the state at a time with given parameters, with the gates of the end of the step.
        dense: the time and the parameters at a fraction of the step.
        step: whether it is accepted, whether it is accepted and as long as it was meant to be, and how long it is.
        tolerance: of each parameter.
        known: whether the velocity at the end of the step costs nothing.
        reversible: whether reverse-mode derivatives are wanted.

    Returns:
        See there.
    """
    accepted, whole, size = step
    no, none, zero = jnp.asarray(False), jnp.zeros((), jnp.result_type(int)), jnp.zeros((), moment.y.dtype)
    as_it_is = Placed(no, zero, moment.y, jnp.zeros_like(moment.y), moment.loss)
    still, stuck = stops.stillness, no
    if still is not None:
        here = jax.lax.stop_gradient((moment.t, moment.y, jnp.linalg.norm(moment.velocity())))
        after, stuck = still_after(still, *here, tolerance)
        still, stuck = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), after, still), accepted & stuck
    values = values_of(rules, moment)
    if values is None:
        return Verdict(no, zero, no, none, stuck, as_it_is, none, Stops(stops.aim, stops.tries, stops.size, still))
    aimed, asked = stops.aim >= 0, 0

    def counted(t: Array, y: Array) -> Moment:
        found = at(t, y)

        def velocity() -> Array:
            nonlocal asked
            asked += 1
            return found.velocity()

        return found._replace(velocity=velocity)

    def end(true: Array) -> tuple[Placed, Array]:
        nonlocal asked
        asked = 0
        y, start = jnp.where(true, moment.y, jnp.nan), moment.t
        found = placed(
            rules,
            jnp.maximum(stops.aim, 0),
            lambda after, y: counted(start + after.astype(start.dtype), y),
            y,
            moment.velocity() if known else counted(start, y).velocity(),
            tolerance,
            stops.tries,
            size,
        )
        return found, none + asked

    found, evaluations = where_it_happens(whole & aimed, end, (as_it_is, none), reversible)
    again = accepted & ~found.ends & jnp.any(values <= 0)

    def look(true: Array) -> tuple[Array, Array, Array]:
        nonlocal asked
        asked = 0
        met, reach = located(rules, lambda s: counted(*dense(jnp.where(true, s, jnp.nan))), values)
        return met.astype(none.dtype), jax.lax.stop_gradient(reach), none + asked * EVALUATIONS

    met, reach, more = where_it_happens(again, look, (none, zero, none), reversible)
    remembered = Stops(
        aim=jnp.where(again, met, -1),
        tries=jnp.where(again | whole & aimed, stops.tries + 1, jnp.where(accepted, 0, stops.tries)),
        size=jnp.where(again & ~aimed, jax.lax.stop_gradient(size), stops.size),
        stillness=still,
    )
    return Verdict(again, reach, found.ends, stops.aim, stuck, found, evaluations + more, remembered)
