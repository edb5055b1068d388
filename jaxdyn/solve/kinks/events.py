"""What comes first in each neuron that has a kink in a step."""

from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..apart import apart
from .quartic import Quartic, first_fall, hermite
from .surfaces import dot, off_surfaces, preactivations

CANDIDATES = 2
"""Kinks of one neuron that are located in a step; it ends at the second, and before the third."""
TOUCH = 0.05
"""Of the tolerance: what a touch and return may cost and be left out."""
AMISS = 1 / 16
"""A gate is corrected where its pre-activation has the opposite sign and a magnitude above AMISS sqrt(eps), relative to weights and inputs:
1e-9 in float64 and 2e-5 in float32. A smaller one may be rounding, of which a located kink leaves a few eps."""
SOON = 1e-6
"""Of the step: unless it comes to be right by itself in this time; where there is a tolerance, in a time that costs little of that."""
REPELS = 0.1
"""Of its size at the start of the step: a jump that is smaller where a slide ends, or negative, is taken to change its sign there."""
NEVER = 2.0
"""A fraction that no step reaches."""
AT_ONCE = -1.0
"""And one for a gate that is to be set right at the step's start."""


class Part(NamedTuple):
    """What a step did to some of the neurons, its gates held; `0` is its start and `1` its end.

    Attributes:
        inputs: of all samples.
        h: the step's length.
        w0: inner weights.
        w1: inner weights.
        middle: inner weights in the middle of the step.
        d0: their change, had it gone on as at the start.
        d1: likewise.
        c0: outer weights.
        c1: outer weights.
        weight0: see `KinkState`.
        weight1: see `KinkState`.
        gates: held in the step.
        group: see `KinkState`.
        slides: see `KinkState`.
        multiplier: see `KinkState`; at the start, its bow (see `parabola`), and at the end.
        jump: see `KinkState`; likewise.
        normal: of the surfaces that they slide on, orthonormal in the metric.
        dual: see `Frame`.
        metric: the mobility of the inner weights.
        tolerance: of the inner weights, the smallest of a neuron; None where a touch is never left out.
        least: what rounding makes of a pre-activation.
        some: which of the neurons are meant; the others only fill the shape.
        negligible: whose kinks hold up no step.
    """

    inputs: Float[Array, "sample input"]
    h: Float[Array, ""]
    w0: Float[Array, "input neuron"]
    w1: Float[Array, "input neuron"]
    middle: Float[Array, "input neuron"]
    d0: Float[Array, "input neuron"]
    d1: Float[Array, "input neuron"]
    c0: Float[Array, " neuron"]
    c1: Float[Array, " neuron"]
    weight0: Float[Array, " sample"]
    weight1: Float[Array, " sample"]
    gates: Float[Array, "sample neuron"]
    group: Int[Array, " sample"]
    slides: Int[Array, "slot neuron"]
    multiplier: Float[Array, "3 slot neuron"]
    jump: Float[Array, "3 slot neuron"]
    normal: Float[Array, "slot input neuron"]
    dual: Float[Array, "slot input neuron"]
    metric: Float[Array, "input neuron"]
    tolerance: Float[Array, " neuron"] | None
    least: Float[Array, " neuron"]
    some: Bool[Array, " neuron"]
    negligible: Bool[Array, " neuron"]


SHARED = ("inputs", "h", "weight0", "weight1", "group")
"""What all neurons of a `Part` have in common."""


class Event(NamedTuple):
    """What comes first in each neuron.

    Attributes:
        s: fraction of the step; `NEVER` where nothing comes.
        sample: whose surface.
        slot: which of the neuron's slots, where a slide ends.
        gate: 1 where the gate is on afterwards.
        flips: whether the gate changes.
        rests: whether it stays on the surface, its gates all off.
        enters: whether it begins to slide.
        leaves: whether it ceases to slide.
        dies: whether its weights have become zero.
        ambiguous: whether the solution is not unique from here.
        jump: of the velocity at s, per unit of the sample's input.
    """

    s: Float[Array, " neuron"]
    sample: Int[Array, " neuron"]
    slot: Int[Array, " neuron"]
    gate: Float[Array, " neuron"]
    flips: Bool[Array, " neuron"]
    rests: Bool[Array, " neuron"]
    enters: Bool[Array, " neuron"]
    leaves: Bool[Array, " neuron"]
    dies: Bool[Array, " neuron"]
    ambiguous: Bool[Array, " neuron"]
    jump: Float[Array, " neuron"]


def first_events(part: Part, fills: bool, dead: bool) -> tuple[Event, Array]:
    """Each neuron's first event, and the fraction at which the step must end for want of knowing what comes after.

    Args:
        part: the neurons.
        fills: whether a neuron with all its slots taken has no direction left beyond a further surface.
        dead: whether a neuron all of whose gates are off does not move.

    Returns:
        The events and the fraction.
    """
    samples, when, further = _candidates(part)
    crossings = _crossings(_with_candidates(part), samples, when, fills, dead)
    found = [jax.tree.map(itemgetter(k), crossings) for k in range(CANDIDATES)]
    ones = jnp.ones_like(part.c0)
    found += [(exit_, ones) for exit_ in _exits(part)]
    (first, last), second = found[0], jnp.full_like(ones, NEVER)
    for event, lasting in found[1:]:
        sooner = event.s < first.s
        second = jnp.minimum(second, jnp.where(sooner, first.s, event.s))
        last = jnp.where(sooner, lasting, last)
        first = Event(*(jnp.where(sooner, new, old) for new, old in zip(event, first, strict=True)))
    # a candidate that was none has taken the place of another, of which there is but an estimate
    further = jnp.maximum(further, jnp.where(first.s < NEVER, first.s, 1e-3))
    return first, jnp.min(jnp.where(part.negligible, 1.0, jnp.minimum(jnp.minimum(second, further), last)))


def _candidates(part: Part) -> tuple[Array, Array, Array]:
    """The samples whose gates are violated first, when, and when the next one's is: by the control polygon of the cubic, so roughly."""
    n = part.inputs.shape[0]
    samples = jnp.arange(n, dtype=part.group.dtype)[:, None]
    sign = jnp.where(part.gates > 0.5, 1.0, -1.0).astype(part.h.dtype)
    z0, z1, d0, d1 = (sign * preactivations(part.inputs, w) for w in (part.w0, part.w1, part.d0, part.d1))
    least = part.least[None, :]
    free = (part.group[:, None] == samples) & part.some[None, :]
    for slide in part.slides:
        free &= slide[None, :] != samples
    floor = jnp.minimum(z0, 0.0)
    b0, b1, b2, b3 = z0 - floor, z0 - floor + d0 / 3, z1 - floor - d1 / 3, z1 - floor
    below1, below2 = b1 < -least, b2 < -least
    k = jnp.where(below1, 0.0, jnp.where(below2, 1.0, 2.0))
    left = jnp.maximum(jnp.where(below1, b0, jnp.where(below2, b1, b2)), 0.0)
    right = jnp.where(below1, b1, jnp.where(below2, b2, b3))
    wrong = _is_wrong(part, z0, d0)
    when = jnp.where(wrong, AT_ONCE, (k + left / jnp.where(right < 0, left - right, 1.0)) / 3)
    when = jnp.where(free & (below1 | below2 | (b3 < -least) | wrong), when, NEVER)
    found = []
    for _ in range(CANDIDATES):
        soonest = jnp.min(when, axis=0)
        sample = jnp.min(jnp.where(when == soonest[None, :], samples, n - 1), axis=0)
        when = jnp.where(samples == sample[None, :], NEVER, when)
        found.append((sample, soonest))
    soonest, whens = (jnp.stack(part) for part in zip(*found, strict=True))
    return soonest, whens, jnp.min(when, axis=0)


def amiss(dtype: jnp.dtype) -> Array:
    """The relative size of a pre-activation from which on its sign counts against its gate; see `AMISS`."""
    return AMISS * jnp.sqrt(jnp.finfo(dtype).eps)


def beyond_rounding(least: Array) -> Array:
    """The absolute size of such a pre-activation, where rounding is `least`, 16 eps times the size of its terms."""
    return amiss(least.dtype) / (16 * jnp.finfo(least.dtype).eps) * least


def is_against(z0: Array, least: Array) -> Array:
    """Whether a pre-activation, times the sign that its gate stands for, is negative beyond all rounding."""
    return z0 < -beyond_rounding(least)


def _is_wrong(part: Part, z0: Array, d0: Array) -> Array:
    """Which gates are against the sign of their pre-activation, and would be for long; those that have just changed may be for a moment."""
    against = is_against(z0, part.least[None, :])
    rises = d0 > 0
    time = -z0 / jnp.where(rises, d0, 1.0)
    if part.tolerance is None:
        return against & ~(rises & (time < SOON))
    jump = jnp.abs(part.c0[None, :] * part.weight0[:, None]) * jnp.max(jnp.abs(part.inputs), axis=1)[:, None]
    return against & ~(rises & (part.h * jump * time < TOUCH * part.tolerance[None, :]))


def roots(z0: Array, d0: Array, z1: Array, d1: Array, middle: Array, least: Array, when: Array) -> Array:
    """Where the pre-activation's quartic, positive as long as the gate is right, falls below zero.

    It is the quartic through the middle of the dense output, not the cubic of both ends alone: where the step's error is as large as the
    pre-activation the two may differ in sign, and a root of the cubic is none of the step.

    Args:
        z0: at the start.
        d0: its slope there.
        z1: at the end.
        d1: its slope there.
        middle: it in the middle, where the dense output knows it to a higher order than the cubic.
        least: what rounding makes of it.
        when: `NEVER` where nothing is asked, `AT_ONCE` where the gate is against the sign.

    Returns:
        In rows: the fraction where it falls, `NEVER` where it does not; its slope there; until when it stays below, 1 for the step's
        end; how long it is below if it returns, 0 if it does not.
    """
    floor = jax.lax.stop_gradient(jnp.minimum(z0, 0.0))
    cubic, half = hermite(z0 - floor, d0, z1 - floor, d1), jnp.full_like(z0, 0.5)
    curve = Quartic(cubic, middle - floor - cubic(half))
    plain: Quartic = jax.tree.map(jax.lax.stop_gradient, curve)
    highest, lowest = plain.cubic.extrema()
    dips = (lowest > 0) & (lowest < 1) & (plain(lowest) < -least)
    halfway, below = plain(half) < -least, plain(jnp.ones_like(z0)) < -least
    until = jnp.minimum(jnp.where(dips, lowest, 1.0), jnp.where(halfway, 0.5, 1.0))
    since = jnp.where((highest > 0) & (highest < until) & (plain(highest) > 0), highest, 0.0)
    at_once = when == AT_ONCE
    s = jnp.where(at_once, 0.0, first_fall(plain, curve, since, until))
    touches = (dips | halfway) & ~below & ~at_once
    bend = plain.bend(until)
    beyond = jnp.minimum(2 * jnp.sqrt(jnp.maximum(-2 * plain(until) / jnp.where(bend > 0, bend, 1.0), 0.0)), 1.0)
    real = (when < NEVER) & (dips | halfway | below | at_once)
    rises = at_once & (d0 > 0)
    back = jnp.minimum(-floor / jnp.where(rises, jax.lax.stop_gradient(d0), 1.0), 1.0)
    return jnp.stack([
        jnp.where(real, s, NEVER),
        curve.slope(s),
        jnp.where(touches, until, jnp.where(rises, back, 1.0)),
        jnp.where(touches, jax.lax.stop_gradient(beyond), 0.0),
    ])


def _with_candidates(part: Part) -> Part:
    """The neurons with an axis for candidates before that of neurons."""
    own = {name: value for name, value in part._asdict().items() if value is not None and name not in SHARED}
    return part._replace(**{name: value[..., None, :] for name, value in own.items()})


def _crossings(part: Part, sample: Array, when: Array, fills: bool, dead: bool) -> tuple[Event, Array]:
    """The events of each neuron's candidates, in rows, and until when their pre-activations stay on the other side."""
    row = jnp.moveaxis(part.inputs[sample], -1, 0)
    gate = jnp.sum(jnp.where(jnp.arange(part.gates.shape[0])[:, None, None] == sample[None], part.gates, 0.0), axis=0)
    sign = jnp.where(gate > 0.5, 1.0, -1.0).astype(row.dtype)
    z0, z1, d0, d1, middle = (sign * dot(row, w) for w in (part.w0, part.w1, part.d0, part.d1, part.middle))
    s, slope, until, beyond = apart(roots, z0, d0, z1, d1, middle, part.least, when)
    real = s < NEVER
    weight0, weight1 = part.weight0[sample], part.weight1[sample]
    jump = (part.c0 + s * (part.c1 - part.c0)) * (weight0 + s * (weight1 - weight0))
    if part.tolerance is not None:
        # a touch and return changes the weights by the jump times the time beyond the surface
        cost = part.h * jnp.abs(jump) * jnp.max(jnp.abs(row), axis=0) * beyond
        real &= ~((beyond > 0) & (cost < TOUCH * part.tolerance))
    free = off_surfaces(row, part.normal, part.metric)
    rate, change = sign * slope, part.h * jump * dot(free, part.metric * free)
    off, on = jnp.where(sign < 0, rate, rate + change), jnp.where(sign < 0, rate - change, rate)
    full, no = jnp.all(part.slides >= 0, axis=0), jnp.zeros_like(real)
    dies = real & full if fills else no
    # a neuron that is off elsewhere has no rate of its own (but for rounding): it rests on the surface instead of sliding there
    mine = part.group[:, None, None] == sample[None]
    idle = dead & (jnp.sum(jnp.where(mine, 0.0, part.gates), axis=0) == 0) & jnp.all(part.slides < 0, axis=0)
    rests = real & idle & ~full
    enters = real & (off > 0) & (on < 0) & ~full & ~rests
    flips = real & ~enters & ~dies & ~rests
    gate = jnp.where(flips & (sign < 0), 1.0, 0.0).astype(row.dtype)
    # a sample that pushes away from w = 0 may be another way to go on from there
    pushed = jnp.where(part.c1 > 0, jnp.min(part.weight1), -jnp.max(part.weight1)) < 0
    event = Event(
        s=jnp.where(real, s, NEVER),
        sample=sample,
        slot=jnp.zeros_like(sample),
        gate=gate,
        flips=flips,
        rests=rests,
        enters=enters,
        leaves=no,
        dies=dies,
        ambiguous=(dies & pushed) | (real & full & ~dies),
        jump=jump,
    )
    # what a neuron slides on already may not hold it any longer: that is seen at the end of the step
    alone, upset = jnp.all(part.slides < 0, axis=0), enters
    for q in range(part.slides.shape[0]):
        held = parabola(part.multiplier[:, q], s) + sign * jump * dot(part.dual[q], part.metric * row)
        upset |= (part.slides[q] >= 0) & ((held < 0) | (held > parabola(part.jump[:, q], s)))
    until = jnp.where(upset & ~alone & (flips | enters), s, until)
    return event, jnp.where(real, until, 1.0)


def parabola(values: Float[Array, "3 ..."], s: Float[Array, "..."]) -> Float[Array, "..."]:
    """Of a first value, a bow and a last value: the straight line between both values, plus the bow times s (1 - s)."""
    first, bow, last = values
    return first + s * (last - first) + s * (1 - s) * bow


def exit_times(slides: Array, multiplier: Float[Array, "3 ..."], jump: Float[Array, "3 ..."]) -> tuple[Array, Array]:
    """When the gate of a slide, its multiplier over its jump, falls below 0, and when it rises above 1; `NEVER` where it does not.

    Args:
        slides: whether there is one.
        multiplier: as a `parabola`.
        jump: likewise.

    Returns:
        Fractions of the step.
    """
    times = []
    for values in (multiplier, jump - multiplier):
        leaves, first, last = slides & (values[2] < 0), jnp.maximum(values[0], 0.0), values[2]
        a1, a2 = last - first + values[1], -values[1]
        square = a1**2 - 4 * a2 * first
        root = jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0)
        # from not below zero to below: one root, without cancellation
        below, above = root - a1, -(a1 + root)
        falls = a1 <= 0
        s = jnp.where(falls, 2 * first / jnp.where(falls & (below > 0), below, 1.0), above / jnp.where(falls | (a2 == 0), 1.0, 2 * a2))
        times.append(jnp.where(leaves, jnp.clip(s, 0.0, 1.0), NEVER))
    return times[0], times[1]


def _exits(part: Part) -> list[Event]:
    """When the gate of each slide leaves [0, 1]: at that moment nothing jumps."""
    events = []
    for q, sample in enumerate(part.slides):
        low, high = exit_times(part.some & (sample >= 0), part.multiplier[:, q], part.jump[:, q])
        s, no = jnp.minimum(low, high), jnp.zeros_like(low, bool)
        jump = parabola(part.jump[:, q], s)
        # where both ends are left at once the jump changes its sign: the surface repels, and off is what has fewer samples on
        repels = (low < NEVER) & (high < NEVER) & (jump <= REPELS * jnp.abs(part.jump[0, q]))
        gate = jnp.where((high < low) & ~repels, 1.0, 0.0).astype(s.dtype)
        slot = jnp.full_like(sample, q)
        events.append(Event(s, jnp.maximum(sample, 0), slot, gate, no, no, no, s < NEVER, no, repels, jump))
    return events
