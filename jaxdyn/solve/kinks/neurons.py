"""Networks with one hidden layer: all kinks of a step at once, as corrections to the step.

A step is taken with the gates held fixed, so its field is smooth. Then, neuron by neuron, the first kink in the step is located on the
cubic that the pre-activation follows, and Filippov's rule says whether the gate flips there or the neuron slides on the sample's
surface. At a kink the output is continuous, so the neurons do not feel each other's kinks at once: what a kink adds up to the end of the
step is the jump of the neuron's own velocity times the time left, and the difference of the fields at the end gives the next order and an
estimate of the error. Where that is too large the step is cut short, to a time soon after its first kink, by the dense output.
"""

from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from ...flows import Gates
from ..apart import apart
from ..branch import where_it_happens
from .events import NEVER, Event, Part, amiss, beyond_rounding, exit_times, first_events, parabola
from .state import KinkState, Passage, Shift, without_kinks
from .step import Step
from .surfaces import Frame, dot, frame, group_samples, off_surfaces, preactivations, tangential

MAX_SLIDES = 8
"""Surfaces that one neuron can slide on at once."""
FEW = 32
"""Neurons with a kink in a step that are looked at alone, or a quarter of all; where there are more, all are."""
SHARE = 1.0
"""Of the tolerance, for the kinks of a step."""
AIM = 0.3
"""And what a step is cut short to."""
PATIENCE = 2
"""After so many rejections in a row a step ends at its first kink, where there is nothing to correct."""
NEGLIGIBLE = 0.1
"""Of the tolerance: kinks of neurons with smaller weights hold up no step, and only the first in a step is seen."""
FAINT = 1e-4
"""Of the largest weight of all neurons: those above are never negligible, for in a small network all are below the tolerance."""
LOOKS = 2
"""At the field, to date the end of a slide."""
NEWTON = 3
"""Iterations on a dense output that is no polynomial."""
NEAR = 0.01
"""Of the step: so near to its ends nothing more is learnt by looking."""


class Change(NamedTuple):
    """What the events of a step up to some fraction make of each neuron's gates and slides.

    Attributes:
        sample: whose gate is set, with those that share its surface; -2 for none.
        gate: to this.
        dies: all gates are set to 0.
        slides: see `KinkState`.
    """

    sample: Int[Array, " hidden"]
    gate: Float[Array, " hidden"]
    dies: Bool[Array, " hidden"]
    slides: Int[Array, "slot hidden"]


class NeuronKinks:
    """The kinks of a flow with the methods of `GradientFlow` and `neurons` not None; made inside a trace, like `Lane`."""

    def __init__(self, flow: Any, unravel: Any, flat: Float[Array, " param"], polynomial: bool = True, reversible: bool = False):
        """What does not change along a lane.

        Args:
            flow: the flow.
            unravel: flat parameters to what the flow takes.
            flat: parameters of zeros.
            polynomial: whether the dense output is close to a quartic, on which kinks are then found.
            reversible: whether reverse-mode derivatives are wanted.
        """
        self.flow, self.unravel, self.polynomial, self.reversible = flow, unravel, polynomial, reversible
        self.carried, self.rebased = (getattr(flow, name, None) for name in ("carried", "rebased"))
        self.bend = flow.slopes[1] - flow.slopes[0]
        # what is called several times is traced once
        self._weights, self._frame, self._descent = map(jax.jit, (self._weights_of, self._frame_of, self._descent_at))
        self.inputs = jnp.asarray(flow.neurons(unravel(flat)).inputs, flat.dtype)
        self.mobility = ravel_pytree(flow.mobility(unravel(flat)))[0].astype(flat.dtype)
        self.metric = self._weights(self.mobility)[0]
        self._transposed = jax.linear_transpose(lambda params: flow.neurons(params)[1:], unravel(flat))
        n, d = self.inputs.shape
        # a ReLU neuron at zero weights is dead, a leaky one may go on from there
        dead = flow.slopes[0] == 0
        self.slots = min(max(d - 1, 1) if dead else d, n, MAX_SLIDES)
        self.fills = dead and self.slots >= d - 1

    # a flat vector and its parts

    def _weights_of(self, y: Array) -> tuple[Array, Array]:
        found = self.flow.neurons(self.unravel(y))
        return found.inner, found.outer

    def _place(self, inner: Array, outer: Array | None = None) -> Array:
        """Where inner (and outer) weights have these values; the outer ones times their factor."""
        return ravel_pytree(self._transposed((inner, jnp.zeros_like(inner[0]) if outer is None else outer))[0])[0]

    def _weight(self, residual: Array, group: Array, ratio: Array) -> Array:
        shared = group[None, :] == jnp.arange(group.shape[0], dtype=group.dtype)[:, None]
        return self.bend * jnp.sum(jnp.where(shared, (jnp.abs(ratio) * residual)[None, :], 0.0), axis=1)

    def _frame_of(self, slides: Array) -> Frame:
        rows = jnp.moveaxis(self.inputs[jnp.maximum(slides, 0)], -1, 1)
        return frame(jnp.where((slides >= 0)[:, None, :], rows, 0.0), self.metric)

    def _descent_at(self, y: Array, gates: Array) -> tuple[Any, Array]:
        return self.flow.descent(self.unravel(y), gates)

    def _held(self, params: Any, on: Frame) -> Array:
        """A velocity, or parameters, without what leads sliding neurons off their surfaces; flat."""
        inner = self.flow.neurons(params).inner
        change = self._transposed((tangential(inner, on.normal, self.metric) - inner, jnp.zeros_like(inner[0])))[0]
        return ravel_pytree(jax.tree.map(jnp.add, params, change))[0].astype(self.metric.dtype)

    def _velocity(self, y: Array, raw: Any, on: Frame) -> Array:
        """A velocity at y without what leads sliding neurons off their surfaces; flat."""
        held = self._held(raw, on)
        return held if self.carried is None else ravel_pytree(self.carried(self.unravel(y), self.unravel(held)))[0]

    def _with_multipliers(self, state: KinkState, y: Array, velocity: Any, residual: Array, on: Frame) -> KinkState:
        inner, outer = self.flow.neurons(velocity).inner, self._weights(y)[1]
        weight = self._weight(residual, state.group, state.ratio)
        multiplier = jnp.stack([dot(d, inner) for d in on.dual])
        jump = jnp.where(state.slides >= 0, outer[None, :] * weight[jnp.maximum(state.slides, 0)], 0.0)
        return replace(state, multiplier=multiplier, jump=jump, weight=weight)

    # what the solver asks for

    def start(self, y: Float[Array, " param"]) -> KinkState:
        """Gates by the signs at the start; nobody slides yet."""
        group, ratio = group_samples(self.inputs)
        ratio = ratio.astype(y.dtype)
        inner = self._weights(y)[0]
        gates = (preactivations(self.inputs, inner) > 0).astype(y.dtype)
        # samples that share a surface are on both sides of it, also where the start is on it
        gates = jnp.where((group >= 0)[:, None], jnp.where((ratio > 0)[:, None], gates[group], 1 - gates[group]), gates)
        gates = jnp.where(jnp.all(inner == 0, axis=0)[None, :], 0.0, gates).astype(y.dtype)
        slides = jnp.full((self.slots, inner.shape[1]), -1, group.dtype)
        none = jnp.zeros(slides.shape, y.dtype)
        weight = self._weight(self._descent(y, gates)[1], group, ratio)
        return KinkState(gates, slides, none, none, weight, group, ratio, jnp.zeros_like(slides[0]), jnp.zeros((), y.dtype))

    def ambiguous_start(self, y: Float[Array, " param"], state: KinkState, velocity: Float[Array, " param"]) -> Int[Array, ""]:
        """At how many kinks the start stands from which the solution is not unique: surfaces that repel, zero weights that are pushed away.

        Args:
            y: the start.
            state: what `start` made of it.
            velocity: the field there.

        Returns:
            A count.
        """
        (inner, outer), moving = self._weights(y), self._weights(velocity)[0]
        z, rate = (preactivations(self.inputs, w) for w in (inner, moving))
        first = (state.group == jnp.arange(state.group.size, dtype=state.group.dtype))[:, None]
        jump = outer[None, :] * state.weight[:, None]
        rise = jump * ((self.inputs**2) @ self.metric)
        off = rate + jnp.where(state.gates > 0.5, rise, 0.0)
        zero = jnp.all(inner == 0, axis=0)[None, :]
        repels = first & (z == 0) & jnp.where(zero, (jump < 0) & (rise != 0), (off < 0) & (off - rise > 0))
        return jnp.sum(jnp.where(zero, jnp.any(repels, axis=0)[None, :] & (jnp.arange(z.shape[0]) == 0)[:, None], repels))

    def at_rest(self, y: Float[Array, " param"]) -> KinkState:
        """Gates and slides as parameters alone tell them: a neuron slides where a pre-activation is zero up to rounding."""
        state, inner = self.start(y), self._weights(y)[0]
        size = jnp.sum(jnp.abs(self.inputs), axis=1)[:, None] * jnp.max(jnp.abs(inner), axis=0)[None, :]
        samples = jnp.arange(state.group.size, dtype=state.group.dtype)[:, None]
        on = (jnp.abs(preactivations(self.inputs, inner)) <= amiss(size.dtype) * size) & (size > 0) & (state.group[:, None] == samples)
        slides = []
        for _ in range(self.slots):
            first = jnp.min(jnp.where(on, samples, samples.size), axis=0)
            slides.append(jnp.where(first < samples.size, first, -1))
            on &= samples != first[None, :]
        found = jnp.stack(slides).astype(state.slides.dtype)
        below = jnp.where((state.ratio > 0)[:, None], 0.0, 1.0).astype(y.dtype)
        mine = jnp.any((found[:, None, :] == state.group[None, :, None]) & (found >= 0)[:, None, :], axis=0)
        state = replace(state, slides=found, gates=jnp.where(mine, below, state.gates))
        velocity, residual = self._descent(y, state.gates)
        return self._with_multipliers(state, y, velocity, residual, self._frame(found))

    def hold(self, state: KinkState) -> PyTree:
        """What `field` needs to hold gates and slides."""
        return state.gates, self._frame(state.slides)

    def field(self, t: Float[Array, ""], y: Float[Array, " param"], hold: PyTree) -> Float[Array, " param"]:
        """The field with gates and slides held; smooth."""
        gates, on = hold
        return self._velocity(y, self.flow.vector_field(t, self.unravel(y), gates), on)

    def gates(self, hold: PyTree) -> Gates:
        """The gates that `field` holds."""
        return Gates(hold[0], None)

    def project(self, velocity: Float[Array, " param"], y: Float[Array, " param"], hold: PyTree) -> Float[Array, " param"]:
        """A velocity without what leads off the surfaces."""
        del y
        return self._held(self.unravel(velocity), hold[1])

    def passage(
        self,
        t: Float[Array, ""],
        state: KinkState,
        step: Step,
        tolerance: Float[Array, " param"] | None,
        active: Bool[Array, ""],
    ) -> tuple[Passage, KinkState]:
        """The step through its kinks.

        Args:
            t: time, of no use here.
            state: gates and slides, held in the step.
            step: the step.
            tolerance: of each parameter; None cuts nothing short for the sake of accuracy.
            active: whether the step counts.

        Returns:
            What happened, without kinks the step itself; and gates and slides at its end.
        """
        on = self._frame(state.slides)
        step = step._replace(y1=self._held(self.unravel(step.y1), on))
        velocity, residual = self._descent(step.y1, state.gates)
        after = self._with_multipliers(state, step.y1, velocity, residual, on)
        least = self._rounding(step)
        hits = apart(self._violated, state, step._replace(dense=None), least)
        hits |= jnp.any((state.slides >= 0) & ((after.multiplier < 0) | (after.jump < after.multiplier)), axis=0)
        zero, m = jnp.zeros_like(step.h), hits.shape[0]
        shift = Shift(jnp.ones_like(zero), zero, jnp.zeros_like(least), jnp.zeros_like(self.metric), jnp.zeros_like(least), zero * step.y1)
        whole = without_kinks(step.y1, step.v1, shift, 0)
        same = Change(jnp.full(m, -2, state.slides.dtype), jnp.zeros(m, zero.dtype), jnp.zeros(m, bool), state.slides)
        found = (whole, same, after.multiplier, after.jump, after.weight, state.rate)
        number, few = jnp.sum(hits), m if m <= 2 * FEW else max(FEW, m // 4)
        some = jnp.nonzero(hits, size=few, fill_value=m)[0]
        for which, here in ((some, number <= few), (jnp.arange(m), number > few))[: 2 if few < m else 1]:

            def go(true: Array, which: Array = which) -> tuple:
                return self._go(state, after, step, on, least, tolerance, jnp.where(true, which, m))

            found = where_it_happens(active & (number > 0) & here, go, found, self.reversible)
        passage, change, multiplier, jump, weight, rate = found
        return passage, KinkState(
            gates=self._set(state, change),
            slides=change.slides,
            multiplier=multiplier,
            jump=jump,
            weight=weight,
            group=state.group,
            ratio=state.ratio,
            passed=state.passed + (change.sample >= 0),
            rate=rate,
        )

    def shifted(self, y: Float[Array, " param"], since: Float[Array, ""], shift: Shift) -> Float[Array, " param"]:
        """A point of a step's dense output, with what kinks added.

        Args:
            y: the point.
            since: its fraction of the step.
            shift: what they added.

        Returns:
            The parameters.
        """

        def part(onset: Array) -> Array:
            room = shift.fraction - onset
            return jnp.where(room > 0, jnp.clip((since - onset) / jnp.where(room > 0, room, 1.0), 0.0, 1.0), 0.0)

        mine = part(shift.first + shift.onset)
        moved = self._place(mine[None, :] * shift.inner) - self.mobility * self._place(jnp.zeros_like(shift.inner), mine**2 * shift.outer)
        return y + moved + part(shift.first) ** 2 * shift.rest

    def _rounding(self, step: Step) -> Array:
        """The size of what rounding makes of a pre-activation, by neuron."""
        inner = jnp.maximum(jnp.abs(self._weights(step.y0)[0]), jnp.abs(self._weights(step.y1)[0]))
        return 16 * jnp.finfo(inner.dtype).eps * jnp.max(jnp.sum(jnp.abs(self.inputs), axis=1)) * jnp.max(inner, axis=0)

    def _violated(self, state: KinkState, step: Step, least: Array) -> Array:
        """The neurons of which the control polygon of some pre-activation's cubic, which it never leaves, is on the wrong side."""
        (w0, w1), (d0, d1) = ([self._weights(v)[0] for v in pair] for pair in ((step.y0, step.y1), (step.v0, step.v1)))
        ends = [preactivations(self.inputs, w) for w in (w0 + step.h / 3 * d0, w1 - step.h / 3 * d1, w1)]
        low, high = reduce(jnp.minimum, ends), reduce(jnp.maximum, ends)
        return jnp.min(jnp.where(state.gates > 0.5, low, -high), axis=0) < -least

    def _set(self, state: KinkState, change: Change) -> Array:
        """The gates after a change."""
        mine = state.group[:, None] == change.sample[None, :]
        gates = jnp.where(mine, jnp.where((state.ratio > 0)[:, None], change.gate[None, :], 1 - change.gate[None, :]), state.gates)
        return jnp.where(change.dies[None, :], 0.0, gates)

    # the neurons with a kink

    def _go(
        self,
        state: KinkState,
        after: KinkState,
        step: Step,
        on: Frame,
        least: Array,
        tolerance: Array | None,
        which: Array,
    ) -> tuple:
        """The step through the kinks of the neurons `which`, of which those beyond the last stand for none."""
        m, dtype = self.metric.shape[1], self.metric.dtype
        of = jnp.minimum(which, m - 1)
        (w0, c0), (w1, c1) = self._weights(step.y0), self._weights(step.y1)
        d0, d1 = (step.h * self._weights(v)[0] for v in (step.v0, step.v1))
        size = jnp.ones_like(least) if tolerance is None else jnp.min(self._weights(tolerance)[0], axis=0)
        looks, bow_multiplier, bow_jump = self._bows(state, after, step, on)
        largest = jnp.max(jnp.maximum(jnp.abs(w0), jnp.abs(w1)), axis=0)
        negligible = jnp.zeros_like(largest, bool)
        if tolerance is not None:
            negligible = largest < jnp.minimum(NEGLIGIBLE * size, FAINT * jnp.max(largest))
        parts = (state.multiplier, bow_multiplier, after.multiplier, state.jump, bow_jump, after.jump, state.slides.astype(dtype))
        slots = jnp.concatenate(parts)
        rows = jnp.stack([c0, c1, size, least])
        assert step.dense is not None
        middle = self._weights(step.dense(jnp.full_like(step.h, 0.5)))[0]
        w0, w1, middle, d0, d1, metric, normal, dual, slots, rows, gates = (
            a[..., of] for a in (w0, w1, middle, d0, d1, self.metric, on.normal, on.dual, slots, rows, state.gates)
        )
        slots, (c0, c1, size, least) = slots.reshape(7, self.slots, -1), rows
        part = Part(
            inputs=self.inputs,
            h=step.h,
            w0=w0,
            w1=w1,
            middle=middle,
            d0=d0,
            d1=d1,
            c0=c0,
            c1=c1,
            weight0=state.weight,
            weight1=after.weight,
            gates=gates,
            group=state.group,
            slides=slots[6].astype(state.slides.dtype),
            multiplier=slots[:3],
            jump=slots[3:6],
            normal=normal,
            dual=dual,
            metric=metric,
            tolerance=None if tolerance is None else size,
            least=least,
            some=which < m,
            negligible=negligible[of],
        )
        event, limit = apart(lambda part: first_events(part, self.fills, self.flow.slopes[0] == 0), part)
        limit, found = jax.lax.stop_gradient(jnp.minimum(limit, 1.0)), jnp.asarray(True)
        if not self.polynomial:
            event, limit, found = self._polished(event, limit, step, of, least, part.negligible)
        row = self.inputs[event.sample].T
        begin = jnp.minimum(jnp.min(jnp.where(part.negligible, NEVER, event.s)), 1.0)
        # the normal that the neuron is free to move along, next to the surfaces it slides on
        free = off_surfaces(row, normal, metric)
        for q, d in enumerate(dual):
            size = dot(d, metric * d)
            free = jnp.where((event.leaves & (event.slot == q))[None, :], d / jnp.where(size > 0, size, 1.0)[None, :], free)
        tau, drift = limit, jnp.zeros_like(begin)
        if part.tolerance is not None:
            # as far as the last kinks' rate lets expect; the jumps' own displacement grows in proportion to the time since
            push = jnp.abs(event.jump) * jnp.maximum(limit - event.s, 0.0) * jnp.sqrt(dot(metric * free, metric * free))
            drift = step.h * jnp.sqrt(jnp.sum((jnp.where(event.s <= limit, push, 0.0) / part.tolerance) ** 2) / step.y0.size)
            expected = state.rate * step.h * jnp.maximum(limit - begin, 0.0) * drift
            tau = begin + (limit - begin) * jnp.sqrt(jnp.minimum(AIM / jnp.where(expected > 0, expected, AIM), 1.0))
        at_first = step.rejections >= PATIENCE
        tau = jax.lax.stop_gradient(jnp.minimum(limit, jnp.where(at_first, begin, tau)))
        passage, change, new, error = self._try(state, after, step, which, part, event, row, free, tau)
        size = jnp.zeros_like(begin) if tolerance is None else jnp.sqrt(jnp.mean((error / tolerance) ** 2))
        size = jax.lax.stop_gradient(size)
        reach = begin + (tau - begin) * jnp.where(passage.good, jnp.sqrt(AIM / jnp.maximum(size, AIM)), AIM)
        reach = jnp.where(found, reach, 0.5)
        rate = size * _ratio(limit - begin, (tau - begin) ** 2 * step.h * drift)
        good = (((size <= SHARE) & passage.good) | at_first) & found
        passage = replace(passage, good=good, reach=reach, evaluations=passage.evaluations + looks)
        rate = jnp.where((tau > begin) & jnp.isfinite(rate), rate, state.rate)
        return passage, change, new.multiplier, new.jump, new.weight, jax.lax.stop_gradient(rate)

    def _bows(self, state: KinkState, after: KinkState, step: Step, on: Frame) -> tuple[Array, Array, Array]:
        """How often the field was looked at to date the first end of a slide, and the bows of multipliers and jumps that this shows."""
        ends, slides = ((state.multiplier, after.multiplier), (state.jump, after.jump)), state.slides >= 0
        exits = jnp.any(slides & ((after.multiplier < 0) | (after.jump < after.multiplier)))

        def look(bows: tuple[Array, Array]) -> tuple[Array, Array]:
            curves = (jnp.stack([a, bow, b]) for (a, b), bow in zip(ends, bows, strict=True))
            s = jnp.clip(jnp.min(jnp.minimum(*exit_times(slides, *curves))), NEAR, 1 - NEAR)
            assert step.dense is not None
            y = step.dense(s)
            velocity, residual = self._descent(y, state.gates)
            found = self._with_multipliers(state, y, velocity, residual, on)
            seen = (found.multiplier, found.jump)
            one, other = ((v - a - s * (b - a)) / (s * (1 - s)) for v, (a, b) in zip(seen, ends, strict=True))
            return one, other

        nothing = (jnp.zeros_like(state.multiplier), jnp.zeros_like(state.jump))

        def looks(true: Array) -> tuple[Array, Array]:
            bows = jax.tree.map(lambda bow: jnp.where(true, bow, jnp.nan), nothing)
            return jax.lax.fori_loop(0, LOOKS, lambda _, bows: look(bows), bows)

        bows = where_it_happens(exits, looks, nothing, self.reversible)
        return jnp.where(exits, LOOKS, 0), *bows

    def _polished(self, event: Event, limit: Array, step: Step, of: Array, least: Array, negligible: Array) -> tuple[Event, Array, Array]:
        """The first event, where the dense output has it and not a polynomial through it; the step ends before the next."""
        assert step.dense is not None
        urgent = jnp.where(negligible, NEVER, event.s)
        k = jnp.argmin(urgent)
        neuron, row = of[k], self.inputs[event.sample[k]]
        crosses = (urgent[k] > 0) & (urgent[k] < NEVER) & ~event.leaves[k]

        def height(s: Array) -> Array:
            return row @ self._weights(step.dense(s))[0][:, neuron]  # pyright: ignore[reportOptionalCall]

        def closer(_: Array, s: Array) -> Array:
            value, slope = jax.jvp(height, (s,), (jnp.ones_like(s),))
            slope = jax.lax.stop_gradient(slope)
            return jnp.clip(jax.lax.stop_gradient(s) - value / jnp.where(slope != 0, slope, 1.0), 0.0, 1.0)

        s = jax.lax.fori_loop(0, NEWTON, closer, jax.lax.stop_gradient(jnp.clip(event.s[k], 0.0, 1.0)))
        value = height(s)
        found = ~crosses | (jnp.abs(value) <= beyond_rounding(least[k]))
        mine = jnp.arange(event.s.size) == k
        others = jnp.min(jnp.where(mine, NEVER, jax.lax.stop_gradient(urgent)))
        event = event._replace(s=jnp.where(mine & crosses, s, event.s))
        first = jnp.minimum(jax.lax.stop_gradient(jnp.where(crosses, s, urgent[k])), 1.0)
        return event, jnp.maximum(jnp.minimum(limit, others), first), found

    def _try(
        self,
        state: KinkState,
        after: KinkState,
        step: Step,
        which: Array,
        part: Part,
        event: Event,
        row: Array,
        free: Array,
        tau: Array,
    ) -> tuple[Passage, Change, KinkState, Array]:
        """The step up to the fraction `tau`, to second order in the time after each kink.

        Returns:
            It, its changes, the new state but for some, and what was of second order.
        """
        m, d, begin = self.metric.shape[1], self.metric.shape[0], jnp.min(event.s)
        real = event.s <= tau
        flips, rests, enters, leaves, dies = (kind & real for kind in (event.flips, event.rests, event.enters, event.leaves, event.dies))
        assert step.dense is not None
        y = step.dense(tau)
        inner, outer = self._weights(y)
        table = jnp.concatenate([inner, outer[None, :]])[:, jnp.minimum(which, m - 1)]
        inner, outer = table[:-1], table[-1]
        weight0, weight1 = state.weight[event.sample], after.weight[event.sample]
        weight = weight0 + tau * (weight1 - weight0)
        left = jnp.where(real, step.h * (tau - event.s), 0.0)
        push, squared = part.metric * free, dot(free, part.metric * free)
        z, jump, up = dot(row, inner), outer * weight, 2 * event.gate - 1
        # what held a neuron that leaves, at its exit (zero, but where another kink has ended the slide) and at the end
        multiplier = jnp.zeros_like(z)
        for q in range(self.slots):
            for fraction in (event.s, tau):
                now = parabola(part.multiplier[:, q], fraction) - event.gate * parabola(part.jump[:, q], fraction)
                multiplier += jnp.where(event.leaves & (event.slot == q), now, 0.0)
        onto = jnp.where(squared > 0, 1 / jnp.where(squared > 0, squared, 1.0), 0.0)
        kinds = [flips, enters | rests, leaves]
        size = jnp.select(kinds, [-up * left * (event.jump + jump) / 2, -z * onto, multiplier * left / 2], 0.0)
        moved = jnp.where(dies[None, :], -inner, size[None, :] * push)
        change = self._changed(state, event, which, flips | rests | enters | leaves, enters, leaves, dies)
        new = replace(state, gates=apart(self._set, state, change), slides=change.slides)
        acts, late = apart(self._activations_change, part, new.gates[:, jnp.minimum(which, m - 1)], inner, moved)
        since = jnp.where(real, tau - event.s, 0.0)

        scatter = lambda rows: jnp.zeros((rows.shape[0], m), y.dtype).at[:, which].set(rows, mode="drop")  # noqa: E731
        f, pull = jax.vjp(lambda v: self.flow.outputs(self.unravel(v), new.gates).astype(v.dtype), y + self._place(scatter(moved)))
        # with the residual as it is there without the kinks, not as it was expected
        deviation = (
            outer * self._weight(self.flow.residual(self.unravel(y), f - acts @ outer), state.group, state.ratio)[event.sample] - jump
        )
        moved = moved - jnp.where(flips, up * left * deviation, 0.0)[None, :] * push

        # the outputs' change grows in proportion to the time since each kink, and with it the residual and everybody's velocity
        residual, bent = jax.jvp(lambda f: self.flow.residual(self.unravel(y), f), (f,), (acts @ (outer * left),))
        table = scatter(jnp.concatenate([moved, jnp.stack([since, residual @ acts * left / 2])]))
        moved, since, halved = table[:d], table[d], table[-1]
        end = y + self._place(moved)
        decay = jax.jvp(jax.grad(lambda v: self.flow.penalty(self.unravel(v))), (end,), (self._place(step.h * since[None, :] * moved),))[1]
        more = -self.mobility * (pull(bent)[0] + decay) / 2
        own = -self.mobility * self._place(jnp.zeros_like(moved), halved)
        now_on, second = self._frame(new.slides), more + own
        end = self._held(self.unravel(end + second), now_on)
        if self.rebased is not None:
            based = ravel_pytree(self.rebased(self.unravel(end), self.unravel(y), state.gates))[0]
            end, more = based, more + based - end
        raw, residual = self._descent(end, new.gates)
        count = lambda kinds: jnp.sum(kinds).astype(jnp.result_type(int))  # noqa: E731
        passage = Passage(
            y=end,
            velocity=self._velocity(end, raw, now_on),
            shift=Shift(tau, begin, tau - begin - since, moved, halved, more),
            # a kink that these have brought on is seen a step late, unless it is of no account
            good=jnp.all(~real | (late * jnp.abs(outer) * left <= (jnp.inf if part.tolerance is None else part.tolerance))),
            reach=tau,
            num_kinks=count(real),
            num_slides=count(enters),
            num_ambiguous=count(real & event.ambiguous),
            last=jnp.max(jnp.where(real, event.s, 0.0)),
            evaluations=jnp.asarray(2, jnp.result_type(int)),
        )
        return passage, change, self._with_multipliers(new, end, raw, residual, now_on), second

    def _activations_change(self, part: Part, gates: Array, inner: Array, moved: Array) -> tuple[Array, Array]:
        """What new gates and a displacement make of some neurons: the change of activations, and the jumps of kinks that it brought on."""
        before, after = (preactivations(self.inputs, w) for w in (inner, inner + moved))
        low, high = self.flow.slopes
        acts = low * (after - before) + (high - low) * (gates * after - part.gates * before)
        sign = jnp.where(gates > 0.5, 1.0, -1.0).astype(after.dtype)
        brought = (sign * after < -part.least[None, :]) & (sign * before >= 0) & (gates == part.gates)
        weight = jnp.abs(part.weight1[part.group]) * jnp.max(jnp.abs(self.inputs), axis=1)
        return acts, jnp.max(jnp.where(brought, weight[:, None], 0.0), axis=0)

    def _changed(self, state: KinkState, event: Event, which: Array, sets: Array, enters: Array, leaves: Array, dies: Array) -> Change:
        m = self.metric.shape[1]
        old, slides, waits = state.slides[:, jnp.minimum(which, m - 1)], [], enters
        for q, slide in enumerate(old):
            slide = jnp.where(dies | (leaves & (event.slot == q)), -1, slide)
            takes = waits & (slide < 0)
            slides.append(jnp.where(takes, event.sample, slide))
            waits = waits & ~takes
        return Change(
            sample=jnp.full(m, -2, state.slides.dtype).at[which].set(jnp.where(sets, event.sample, -2), mode="drop"),
            gate=jnp.zeros(m, event.gate.dtype).at[which].set(event.gate, mode="drop"),
            dies=jnp.zeros(m, bool).at[which].set(dies, mode="drop"),
            slides=state.slides.at[:, which].set(jnp.stack(slides), mode="drop"),
        )


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)
