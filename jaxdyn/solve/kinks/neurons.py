"""Networks with one hidden layer: all kinks of a step at once, as corrections to the step.

A step is taken with the gates held fixed, so its field is smooth. Then, neuron by neuron, the first kink in the step is located on the
cubic that the pre-activation follows, and Filippov's rule says whether the gate flips there or the neuron slides on the sample's
surface. At a kink the output is continuous, so the neurons do not feel each other's kinks at once: what a kink adds up to the end of the
step is the jump of the neuron's own velocity times the time left, and the difference of the fields at the end gives the next order and an
estimate of the error. Where that is too large the step is cut short, to a time soon after its first kink, by the dense output.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .cubic import Cubic, first_fall, hermite
from .state import KinkState, Passage
from .surfaces import Frame, dot, frame, group_samples, tangential

MAX_SLIDES = 8
"""Surfaces that one neuron can slide on at once."""
CANDIDATES = 2
"""Kinks of one neuron that are located in a step; it ends at the second, and before the third."""
SHARE = 0.5
"""Of the tolerance, for the kinks of a step."""
NEXT_ORDER = 2 / 3
"""Of the error's estimate is taken as a correction: all of it would be right for the first kink, less for those after it."""
MAX_TURNS = 5
"""Lengths of a step that are tried; the last ends at its first kink, where there is nothing to correct."""
TOUCH = 0.05
"""Of the tolerance: what a touch and return may cost and be left out."""
AMISS = 1e-9
"""A gate against the sign of a pre-activation of this size, relative to weights and inputs, is set right."""
NEVER = 2.0
"""A fraction that no step reaches."""


class Field(NamedTuple):
    """The field with gates held, before sliding neurons are held on their surfaces.

    Attributes:
        raw: the velocity.
        inner: its part of the inner weights.
        weight: see `KinkState`.
        outer: the outer weights.
    """

    raw: Float[Array, " param"]
    inner: Float[Array, "hidden input"]
    weight: Float[Array, " sample"]
    outer: Float[Array, " hidden"]


class Step(NamedTuple):
    """A step with gates held: its length, and parameters and field at both ends."""

    h: Float[Array, ""]
    y0: Float[Array, " param"]
    v0: Float[Array, " param"]
    y1: Float[Array, " param"]
    v1: Float[Array, " param"]


class Event(NamedTuple):
    """What comes first in each neuron.

    Attributes:
        s: fraction of the step; `NEVER` where nothing comes.
        sample: whose surface.
        row: that sample's input.
        slot: which of the neuron's slots, where a slide ends.
        gate: 1 where the gate is on afterwards.
        flips: whether the gate changes.
        enters: whether it begins to slide.
        leaves: whether it ceases to slide.
        dies: whether its weights have become zero.
        ambiguous: whether the solution is not unique from here.
        jump: of the velocity at s, per unit of the row.
    """

    s: Float[Array, " hidden"]
    sample: Int[Array, " hidden"]
    row: Float[Array, "hidden input"]
    slot: Int[Array, " hidden"]
    gate: Float[Array, " hidden"]
    flips: Bool[Array, " hidden"]
    enters: Bool[Array, " hidden"]
    leaves: Bool[Array, " hidden"]
    dies: Bool[Array, " hidden"]
    ambiguous: Bool[Array, " hidden"]
    jump: Float[Array, " hidden"]


class NeuronKinks:
    """The kinks of a flow that offers `neurons`, `mobility`, `outputs` and `loss_of_outputs`; made inside a trace, like `Lane`."""

    def __init__(self, flow: Any, unravel: Any, flat: Float[Array, " param"]):
        """What does not change along a lane.

        Args:
            flow: the flow.
            unravel: flat parameters to what the flow takes.
            flat: parameters of zeros.
        """
        self.flow, self.unravel = flow, unravel
        self.bend = flow.slopes[1] - flow.slopes[0]
        self.inputs = jnp.asarray(flow.neurons(unravel(flat)).inputs, flat.dtype)
        self.mobility = ravel_pytree(flow.mobility(unravel(flat)))[0].astype(flat.dtype)
        self.metric = self._weights(self.mobility)[0]
        self._transposed = jax.linear_transpose(self._weights, flat)
        factor = self._place(jnp.zeros_like(self.metric), jnp.ones_like(self.metric[:, 0]))
        self.factor = jnp.where(factor != 0, factor, 1.0)
        n, d = self.inputs.shape
        self.slots = min(max(d - 1, 1), n, MAX_SLIDES)
        self.fills = self.slots >= d - 1  # then a further surface leaves a neuron with all slots taken no direction

    # a flat vector and its parts

    def _weights(self, y: Array) -> tuple[Array, Array]:
        found = self.flow.neurons(self.unravel(y))
        return found.inner, found.outer

    def _place(self, inner: Array, outer: Array | None = None) -> Array:
        """Where inner (and outer) weights have these values; the outer ones times their factor."""
        return self._transposed((inner, jnp.zeros_like(inner[:, 0]) if outer is None else outer))[0]

    def _descend(self, gradient: Array) -> Array:
        """The velocity for a gradient by the outer weights."""
        return -self.mobility * self._place(jnp.zeros_like(self.metric), gradient)

    def _preactivations(self, inner: Array) -> Array:
        x = self.inputs
        return x @ inner.T if x.shape[1] > 3 else reduce(jnp.add, [x[:, k, None] * inner[None, :, k] for k in range(x.shape[1])])

    def _weight(self, params: Any, gates: Array, group: Array, ratio: Array) -> Array:
        residual = jax.grad(self.flow.loss_of_outputs)(self.flow.outputs(params, gates))
        shared = group[None, :] == jnp.arange(group.shape[0])[:, None]
        return self.bend * jnp.sum(jnp.where(shared, (jnp.abs(ratio) * residual)[None, :], 0.0), axis=1)

    def _field(self, t: Array, y: Array, state: KinkState) -> Field:
        params = self.unravel(y)
        raw = ravel_pytree(self.flow.vector_field(t, params, state.gates))[0].astype(y.dtype)
        weight = self._weight(params, state.gates, state.group, state.ratio)
        return Field(raw, self._weights(raw)[0], weight, self._weights(y)[1])

    def _frame(self, state: KinkState) -> Frame:
        taken = (state.slides >= 0)[..., None]
        return frame(jnp.where(taken, self.inputs[jnp.maximum(state.slides, 0)], 0.0), self.metric)

    def _held(self, flat: Array, on: Frame) -> Array:
        """A velocity, or parameters, without what leads sliding neurons off their surfaces."""
        inner = self._weights(flat)[0]
        return flat + self._place(tangential(inner, on, self.metric) - inner)

    def _with_multipliers(self, state: KinkState, field: Field, on: Frame) -> KinkState:
        multiplier = jnp.stack([dot(d, field.inner) for d in on.dual])
        jump = field.outer[None, :] * field.weight[jnp.maximum(state.slides, 0)]
        return replace(state, multiplier=multiplier, jump=jnp.where(state.slides >= 0, jump, 0.0), weight=field.weight)

    # what the solver asks for

    def start(self, y: Float[Array, " param"]) -> KinkState:
        """Gates by the signs at the start; nobody slides yet."""
        group, ratio = group_samples(self.inputs)
        ratio = ratio.astype(y.dtype)
        inner = self._weights(y)[0]
        gates = (self._preactivations(inner) > 0).astype(y.dtype)
        slides = jnp.full((self.slots, inner.shape[0]), -1, jnp.result_type(int))
        none = jnp.zeros(slides.shape, y.dtype)
        weight = self._weight(self.unravel(y), gates, group, ratio)
        return KinkState(gates, slides, none, none, weight, group, ratio, jnp.zeros_like(slides[0]))

    def hold(self, state: KinkState) -> PyTree:
        """What `field` needs to hold gates and slides."""
        return state.gates, self._frame(state)

    def field(self, t: Float[Array, ""], y: Float[Array, " param"], hold: PyTree) -> Float[Array, " param"]:
        """The field with gates and slides held; smooth."""
        gates, on = hold
        return self._held(ravel_pytree(self.flow.vector_field(t, self.unravel(y), gates))[0].astype(y.dtype), on)

    def passage(
        self,
        t: Float[Array, ""],
        state: KinkState,
        step: Step,
        dense: Callable[[Array], Array],
        tolerance: Float[Array, " param"] | None,
        active: Bool[Array, ""],
    ) -> Passage:
        """The step through its kinks.

        Args:
            t: time, for the field.
            state: gates and slides, held in the step.
            step: the step.
            dense: fraction of the step to parameters.
            tolerance: of each parameter; None cuts nothing short for the sake of accuracy.
            active: whether the step counts.

        Returns:
            What happened; without kinks the step itself.
        """
        on = self._frame(state)
        step = step._replace(y1=self._held(step.y1, on))
        after = self._with_multipliers(state, self._field(t, step.y1, state), on)
        estimate = self._look(state, step)
        leaving = (state.slides >= 0) & ((after.multiplier < 0) | (after.jump < after.multiplier))
        zero, none = jnp.zeros_like(step.h), jnp.zeros((), jnp.result_type(int))
        nothing = jnp.zeros_like(step.y1)
        whole = Passage(
            fraction=jnp.ones_like(zero),
            y=step.y1,
            velocity=step.v1,
            state=after,
            linear=nothing,
            quadratic=nothing,
            onset=nothing,
            num_kinks=none,
            num_slides=none,
            num_ambiguous=none,
            first=zero,
            last=zero,
            evaluations=none,
            settled=~(active & (jnp.any(estimate < NEVER) | jnp.any(leaving))),
        )

        def go(carry: tuple) -> tuple:
            passage, reach, turn = carry
            new, reach = self._try(t, state, step, on, after, estimate, dense, tolerance, reach, turn == MAX_TURNS - 1)
            return replace(new, evaluations=new.evaluations + passage.evaluations), reach, turn + 1

        return jax.lax.while_loop(lambda carry: ~carry[0].settled, go, (whole, jnp.ones_like(zero), none))[0]

    # what comes when

    def _rounding(self, step: Step) -> Array:
        """The size of what rounding makes of a pre-activation, by neuron."""
        inner = jnp.maximum(jnp.abs(self._weights(step.y0)[0]), jnp.abs(self._weights(step.y1)[0]))
        return 16 * jnp.finfo(inner.dtype).eps * jnp.max(jnp.sum(jnp.abs(self.inputs), axis=1)) * jnp.max(inner, axis=1)

    def _look(self, state: KinkState, step: Step) -> Array:
        """When each gate is violated first, roughly: by the control polygon of the pre-activation's cubic, which it never leaves."""
        (w0, w1), (d0, d1) = ([self._weights(v)[0] for v in pair] for pair in ((step.y0, step.y1), (step.v0, step.v1)))
        sign = jnp.where(state.gates > 0.5, 1.0, -1.0).astype(w0.dtype)
        z0, z1 = sign * self._preactivations(w0), sign * self._preactivations(w1)
        rise, fall = (sign * self._preactivations(step.h / 3 * d) for d in (d0, d1))
        least = self._rounding(step)[None, :]
        samples = jnp.arange(state.group.shape[0])
        free = (state.group == samples)[:, None]
        for slide in state.slides:
            free &= slide[None, :] != samples[:, None]
        floor = jnp.minimum(z0, 0.0)
        b0, b1, b2, b3 = z0 - floor, z0 - floor + rise, z1 - floor - fall, z1 - floor
        below1, below2 = b1 < -least, b2 < -least
        amiss = z0 < -_amiss(least)
        k = jnp.where(below1, 0.0, jnp.where(below2, 1.0, 2.0))
        left, right = jnp.where(below1, b0, jnp.where(below2, b1, b2)), jnp.where(below1, b1, jnp.where(below2, b2, b3))
        left = jnp.maximum(left, 0.0)
        when = jnp.where(amiss, 0.0, (k + left / jnp.where(right < 0, left - right, 1.0)) / 3)
        return jnp.where(free & (below1 | below2 | (b3 < -least) | amiss), when, NEVER)

    def _crossings(
        self, state: KinkState, step: Step, after: KinkState, on: Frame, estimate: Array, tolerance: Array | None
    ) -> tuple[list[Event], list[Array], Array]:
        """The first candidates of each neuron, located; until when each of them lasts; and when a further one may come."""
        (w0, c0), (w1, c1) = self._weights(step.y0), self._weights(step.y1)
        d0, d1 = step.h * self._weights(step.v0)[0], step.h * self._weights(step.v1)[0]
        least, neurons = self._rounding(step), jnp.arange(w0.shape[0])
        samples = jnp.arange(estimate.shape[0])[:, None]
        full = jnp.all(state.slides >= 0, axis=0)
        events, lasts = [], []
        for _ in range(CANDIDATES):
            when = jnp.min(estimate, axis=0)
            sample = jnp.min(jnp.where(estimate == when[None, :], samples, samples.shape[0] - 1), axis=0)
            estimate = jnp.where(samples == sample[None, :], NEVER, estimate)
            row = self.inputs[sample]
            sign = jnp.where(state.gates[sample, neurons] > 0.5, 1.0, -1.0).astype(row.dtype)
            z0, z1, rise, fall = (sign * dot(row, w) for w in (w0, w1, d0, d1))
            floor = jax.lax.stop_gradient(jnp.minimum(z0, 0.0))
            curve = hermite(z0 - floor, rise, z1 - floor, fall)
            plain = Cubic(*(jax.lax.stop_gradient(part) for part in curve))
            highest, lowest = plain.extrema()
            dips = (lowest > 0) & (lowest < 1) & (plain(lowest) < -least)
            below = plain(jnp.ones_like(z0)) < -least
            until = jnp.where(dips, lowest, 1.0)
            since = jnp.where((highest > 0) & (highest < until) & (plain(highest) > 0), highest, 0.0)
            amiss = z0 < -_amiss(least)
            real = (when < NEVER) & (dips | below | amiss)
            s = jnp.where(real & ~amiss, first_fall(plain, curve, since, until), 0.0)
            jump = (c0 + s * (c1 - c0)) * (state.weight[sample] + s * (after.weight[sample] - state.weight[sample]))
            touches = dips & ~below & ~amiss
            if tolerance is not None:
                # of a touch and return, the change of the weights is the jump times the time beyond the surface
                depth, bend = -plain(until), 2 * plain.a2 + 6 * plain.a3 * until
                beyond = jnp.minimum(2 * jnp.sqrt(jnp.maximum(2 * depth / jnp.where(bend > 0, bend, 1.0), 0.0)), 1.0)
                cost = step.h * jnp.abs(jump) * jnp.max(jnp.abs(row), axis=1) * beyond
                real &= ~(touches & (cost < TOUCH * jnp.min(self._weights(tolerance)[0], axis=1)))
            free = row - sum(dot(q, self.metric * row)[:, None] * q for q in on.normal)
            rate, change = sign * curve.slope(s), step.h * jump * dot(free, self.metric * free)
            off, up = jnp.where(sign < 0, rate, rate + change), jnp.where(sign < 0, rate - change, rate)
            dies = real & full if self.fills else jnp.zeros_like(real)
            enters = real & (off > 0) & (up < 0) & ~full
            # a sample that pushes away from w = 0 may be another way out
            pushed = jnp.where(c1 > 0, jnp.min(after.weight), -jnp.max(after.weight)) < 0
            unsure = (dies & pushed) | (real & full & ~dies)
            nowhere = jnp.zeros_like(sample)
            no = jnp.zeros_like(real)
            gate = jnp.where(sign < 0, 1.0, 0.0).astype(row.dtype)
            flips = real & ~enters & ~dies
            events.append(
                Event(jnp.where(real, s, NEVER), sample, row, nowhere, jnp.where(flips, gate, 0.0), flips, enters, no, dies, unsure, jump)
            )
            lasts.append(jnp.where(touches & real, until, 1.0))
        return events, lasts, jnp.min(estimate, axis=0)

    def _exits(self, state: KinkState, after: KinkState) -> list[Event]:
        """When the gate of each slide leaves [0, 1], to first order in time: at that moment nothing jumps."""
        events = []
        no = jnp.zeros_like(state.slides[0], dtype=bool)
        for q, sample in enumerate(state.slides):
            m0, m1, j0, j1 = state.multiplier[q], after.multiplier[q], state.jump[q], after.jump[q]
            taken = sample >= 0
            times = []
            for a, b in ((m0, m1), (j0 - m0, j1 - m1)):
                leaves = taken & (b < 0)
                times.append(jnp.where(leaves, jnp.maximum(a, 0.0) / jnp.where(leaves, jnp.maximum(a, 0.0) - b, 1.0), NEVER))
            low, high = times
            # where both are left at once the jump has changed its sign: the surface repels, and off is what has fewer samples on
            repels = (low < NEVER) & (high < NEVER)
            gate = jnp.where((high < NEVER) & ~repels, 1.0, 0.0).astype(m0.dtype)
            s = jnp.minimum(low, high)
            row = self.inputs[jnp.maximum(sample, 0)]
            slot = jnp.full_like(sample, q)
            events.append(Event(s, sample, row, slot, gate, no, no, s < NEVER, no, repels, j0 + s * (j1 - j0)))
        return events

    def _first(
        self, state: KinkState, step: Step, after: KinkState, on: Frame, estimate: Array, tolerance: Array | None
    ) -> tuple[Event, Array]:
        """Each neuron's first event, and the fraction at which the step must end for want of knowing what comes after."""
        crossings, lasts, further = self._crossings(state, step, after, on, estimate, tolerance)
        first, last, second = crossings[0], lasts[0], jnp.full_like(further, NEVER)
        ones = [jnp.ones_like(last)] * self.slots
        for event, lasting in zip(crossings[1:] + self._exits(state, after), lasts[1:] + ones, strict=True):
            sooner = event.s < first.s
            second = jnp.minimum(second, jnp.where(sooner, first.s, event.s))
            last = jnp.where(sooner, lasting, last)
            first = Event(*(_where(sooner, new, old) for new, old in zip(event, first, strict=True)))
        # a candidate that was none makes room for no other: the estimate of the next one must do
        further = jnp.maximum(further, jnp.where(first.s < NEVER, first.s, 1e-3))
        return first, jnp.min(jnp.minimum(jnp.minimum(second, further), last))

    # what it does

    def _try(
        self,
        t: Array,
        state: KinkState,
        step: Step,
        on: Frame,
        after: KinkState,
        estimate: Array,
        dense: Callable[[Array], Array],
        tolerance: Array | None,
        reach: Array,
        at_first: Array,
    ) -> tuple[Passage, Array]:
        """The step up to the fraction `reach`, or to its first kink; and how far to go next time if that was too far."""
        event, limit = self._first(state, step, after, on, estimate, tolerance)
        begin = jnp.min(event.s)
        tau = jax.lax.stop_gradient(jnp.minimum(jnp.minimum(limit, 1.0), jnp.where(at_first, begin, reach)))
        real = event.s <= tau
        flips, enters, leaves, dies = (kind & real for kind in (event.flips, event.enters, event.leaves, event.dies))
        y = jnp.where(tau < 1, dense(tau), step.y1)
        inner, outer = self._weights(y)
        before = self._field(t, y, state)
        v = self._held(before.raw, on)
        moving = self._weights(v)[0]
        left = jnp.where(real, step.h * (tau - event.s), 0.0)

        # the normal that the neuron is free to move along, next to the surfaces it slides on
        free = event.row - sum(dot(q, self.metric * event.row)[:, None] * q for q in on.normal)
        for q, d in enumerate(on.dual):
            mine = (leaves & (event.slot == q))[:, None]
            free = jnp.where(mine, d / jnp.maximum(dot(d, self.metric * d), _TINY)[:, None], free)
        squared = dot(free, self.metric * free)
        push = self.metric * free
        z, rate = dot(event.row, inner), dot(event.row, moving)
        jump = outer * before.weight[event.sample]
        up = 2 * event.gate - 1
        multiplier = jnp.zeros_like(z)
        for q in range(self.slots):
            now = state.multiplier[q] + tau * (after.multiplier[q] - state.multiplier[q])
            multiplier = jnp.where(event.slot == q, now - event.gate * (state.jump[q] + tau * (after.jump[q] - state.jump[q])), multiplier)
        onto = jnp.where(squared > 0, 1 / jnp.where(squared > 0, squared, 1.0), 0.0)
        size = jnp.select([flips, enters, leaves], [-up * left * (event.jump + jump) / 2, -z * onto, multiplier * left / 2], 0.0)
        moved = jnp.where(dies[:, None], -inner, size[:, None] * push)
        gradient = jnp.where(flips, up * before.weight[event.sample] * z, 0.0)
        linear, quadratic = self._place(moved), self._descend(gradient * left / 2)
        # the jump of the field at the end that is known already
        known = jnp.select([flips, enters, leaves], [-up * jump, -rate * onto, multiplier], 0.0)
        jumped = self._place(jnp.where(dies[:, None], -moving, known[:, None] * push)) + self._descend(gradient)

        new = self._switched(state, event, flips | enters | leaves, enters, leaves, dies)
        now_on = self._frame(new)
        y = y + linear + quadratic
        field = self._field(t, y, new)
        velocity = self._held(field.raw, now_on)
        error = step.h * jnp.maximum(tau - begin, 0.0) / 2 * (velocity - v - jumped)
        size = jnp.asarray(0.0, y.dtype) if tolerance is None else jnp.sqrt(jnp.mean((error / tolerance) ** 2))
        quadratic = quadratic + NEXT_ORDER * error
        y = self._held(y + NEXT_ORDER * error, now_on)
        reach = begin + (tau - begin) * 0.85 * jnp.sqrt(SHARE / jnp.maximum(size, SHARE))
        num = lambda kinds: jnp.sum(kinds).astype(jnp.result_type(int))  # noqa: E731
        later = jnp.where(real, event.s - begin, 0.0)
        onset = begin + self._place(jnp.broadcast_to(later[:, None], inner.shape)) + self._place(jnp.zeros_like(inner), later) / self.factor
        passage = Passage(
            fraction=tau,
            y=y,
            velocity=velocity,
            state=self._with_multipliers(new, field, now_on),
            linear=linear,
            quadratic=quadratic,
            onset=onset,
            num_kinks=num(real),
            num_slides=num(enters),
            num_ambiguous=num(real & event.ambiguous),
            first=begin,
            last=jnp.max(jnp.where(real, event.s, 0.0)),
            evaluations=jnp.asarray(2, jnp.result_type(int)),
            settled=(size <= SHARE) | at_first,
        )
        return passage, jax.lax.stop_gradient(reach)

    def _switched(self, state: KinkState, event: Event, sets: Array, enters: Array, leaves: Array, dies: Array) -> KinkState:
        mine = (state.group[:, None] == event.sample[None, :]) & sets[None, :]
        gates = jnp.where(mine, jnp.where((state.ratio > 0)[:, None], event.gate[None, :], 1 - event.gate[None, :]), state.gates)
        gates = jnp.where(dies[None, :], 0.0, gates)
        slides, waits = [], enters
        for q, slide in enumerate(state.slides):
            slide = jnp.where(dies | (leaves & (event.slot == q)), -1, slide)
            takes = waits & (slide < 0)
            slides.append(jnp.where(takes, event.sample, slide))
            waits = waits & ~takes
        return replace(state, gates=gates, slides=jnp.stack(slides), passed=state.passed + (sets | dies))


_TINY = 1e-300


def _amiss(least: Array) -> Array:
    return AMISS / (16 * jnp.finfo(least.dtype).eps) * least


def _where(which: Array, new: Array, old: Array) -> Array:
    return jnp.where(which[:, None] if new.ndim > which.ndim else which, new, old)
