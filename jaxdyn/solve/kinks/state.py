"""What a lane remembers of its kinks, and what a step found of them."""

import equinox as eqx
from jaxtyping import Array, Float, Int


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
    """What kinks added to a step's own dense output.

    Attributes:
        fraction: how much of the step was taken.
        linear: grows in proportion to the time since `onset`.
        quadratic: and this to its square.
        onset: fraction of the step.
    """

    fraction: Float[Array, ""]
    linear: Float[Array, " param"]
    quadratic: Float[Array, " param"]
    onset: Float[Array, " param"]


class Passage(eqx.Module):
    """A step through its kinks.

    Attributes:
        y: the parameters at its end.
        velocity: the field there, with the gates there.
        shift: how it got there.
        num_kinks: gates that changed, slides that began or ended.
        num_slides: slides that began.
        num_ambiguous: kinks after which the solution is not unique.
        first: fraction of the step at the first kink.
        last: and at the last.
        evaluations: of the field.
    """

    y: Float[Array, " param"]
    velocity: Float[Array, " param"]
    shift: Shift
    num_kinks: Int[Array, ""]
    num_slides: Int[Array, ""]
    num_ambiguous: Int[Array, ""]
    first: Float[Array, ""]
    last: Float[Array, ""]
    evaluations: Int[Array, ""]
