"""What a lane remembers of its kinks, and what a step found of them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class KinkState(eqx.Module):
    """The gates, and who slides.

    Attributes:
        gates: what the field is evaluated with; for a neuron that slides, those of the side below the surface.
        slides: the samples on whose surfaces a neuron slides, -1 where a slot is free.
        multiplier: what holds the neuron there, in units of `jump`: the Filippov gate is their quotient.
        jump: how much the neuron's velocity jumps there, per unit of the sample's input.
        weight: the loss's derivative by the output times the bend of the activation, summed over samples that share a surface.
        group: the first sample whose surface is the same as this one's (repeated or parallel inputs), -1 where there is no surface.
        ratio: this sample's input over that one's.
        passed: how many kinks each neuron has passed.
        rate: how fast the field's jumps drive what follows, in inverse time, as the last kinks had it; 0 where nothing is known.
    """

    gates: Float[Array, "sample hidden"]
    slides: Int[Array, "slot hidden"]
    multiplier: Float[Array, "slot hidden"]
    jump: Float[Array, "slot hidden"]
    weight: Float[Array, " sample"]
    group: Int[Array, " sample"]
    ratio: Float[Array, " sample"]
    passed: Int[Array, " hidden"]
    rate: Float[Array, ""]


class Shift(eqx.Module):
    """What kinks added to a step's own dense output; both parts grow from each neuron's `onset` on to all of it at the end.

    Attributes:
        fraction: how much of the step was taken.
        first: its first kink.
        onset: of each neuron, after that; fractions of the step.
        inner: added to the inner weights, in proportion to the time since.
        outer: a gradient by the outer weights, whose descent was added in proportion to the square.
        rest: added to the parameters in proportion to the square of the time since the first kink.
    """

    fraction: Float[Array, ""]
    first: Float[Array, ""]
    onset: Float[Array, " hidden"]
    inner: Float[Array, "input hidden"]
    outer: Float[Array, " hidden"]
    rest: Float[Array, " param"]


class Passage(eqx.Module):
    """A step through its kinks.

    Attributes:
        y: the parameters at its end.
        velocity: the field there, with the gates there.
        shift: how it got there; it has the fields `fraction` and `first`.
        good: whether the error allows it; otherwise the step is to be tried again, shorter.
        reach: how much of the step would have been right.
        num_kinks: gates that changed, slides that began or ended.
        num_slides: slides that began.
        num_ambiguous: kinks after which the solution is not unique.
        last: fraction of the step at the last kink.
        evaluations: of the field.
    """

    y: Float[Array, " param"]
    velocity: Float[Array, " param"]
    shift: Any
    good: Bool[Array, ""]
    reach: Float[Array, ""]
    num_kinks: Int[Array, ""]
    num_slides: Int[Array, ""]
    num_ambiguous: Int[Array, ""]
    last: Float[Array, ""]
    evaluations: Int[Array, ""]


def without_kinks(y: Float[Array, " param"], velocity: Float[Array, " param"], shift: Any, evaluations: int) -> Passage:
    """The passage of a whole step that met no kink.

    Args:
        y: the parameters at its end.
        velocity: the field there.
        shift: nothing, as the class that locates kinks says it.
        evaluations: of the field.

    Returns:
        The passage.
    """
    zero, none = jnp.zeros((), y.dtype), jnp.zeros((), jnp.result_type(int))
    return Passage(
        y=y,
        velocity=velocity,
        shift=shift,
        good=jnp.asarray(True),
        reach=jnp.ones_like(zero),
        num_kinks=none,
        num_slides=none,
        num_ambiguous=none,
        last=zero,
        evaluations=none + evaluations,
    )
