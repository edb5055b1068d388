"""Any flow with switches, such as deep networks and kinked losses: one kink after another, each at the end of a step.

A switch is a function of the parameters whose sign is a gate: a pre-activation, or the margin of a hinge loss. A step is taken with the
gates held and ends at its first kink. There the fields of both sides say whether the gate flips or the flow slides on the surface. As the
flow descends a continuous loss, its velocity jumps along the normal of the surface only, in the metric of its mobility S (Hadamard's
condition), so sliding is the velocity without what leads off the surfaces, and the gate is read off what was taken away.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..apart import apart
from ..branch import where_it_happens
from .events import AT_ONCE, NEVER, amiss, beyond_rounding, exit_times, is_against, roots
from .state import Passage, without_kinks
from .step import Step
from .surfaces import DEPENDENT

FEW_SLIDES = 8
"""Surfaces that the flow can slide on at once; and as many more as the loss has samples, up to `MANY_SLIDES` in all."""
MANY_SLIDES = 32
ITERATIONS = 3
"""Of Newton's method for the fractions."""
NEWTON = 2
"""Iterations to find a kink on the dense output."""
REPELS = 1e-3
"""Of its size at the start of the step: a jump that is smaller when the slide ends is about to change its sign."""
ROUNDING = 64
"""Of the precision times the largest switch: a switch nearer to zero has no sign."""


class SwitchState(eqx.Module):
    """The gates, and what slides.

    Attributes:
        gates: of all switches, flat; where the flow slides on a surface, Filippov's.
        below: the same, but where the flow slides on a surface, those below it.
        slides: the switches on whose surfaces the flow slides, -1 where a slot is free.
        shares: the slot of the slide on a switch's surface, -1 where there is none; repeated samples share a surface.
        fraction: how far the velocity is between that below the surface, 0, and that above it, 1.
        multiplier: what holds the flow on the surface, in units of `jump`; their quotient is the fraction.
        jump: how much the velocity jumps there, per unit of the surface's normal; the surface attracts while it is positive.
        passed: how often each gate has changed or begun to slide.
    """

    gates: Float[Array, " switch"]
    below: Float[Array, " switch"]
    slides: Int[Array, " slot"]
    shares: Int[Array, " switch"]
    fraction: Float[Array, " slot"]
    multiplier: Float[Array, " slot"]
    jump: Float[Array, " slot"]
    passed: Int[Array, " switch"]


class Cut(eqx.Module):
    """How a step ended at a kink.

    Attributes:
        fraction: how much of the step was taken.
        first: its kink, the same.
    """

    fraction: Float[Array, ""]
    first: Float[Array, ""]


class Surfaces(NamedTuple):
    """The surfaces that the flow slides on: normals (zero where a slot is free) and the inverse of their Gram matrix in the metric."""

    normal: Float[Array, "slot param"]
    inverse: Float[Array, "slot slot"]


class SwitchKinks:
    """The kinks of a flow that offers `switches` and `mobility`; made inside a trace, like `Lane`."""

    def __init__(self, flow: Any, unravel: Any, flat: Float[Array, " param"], polynomial: bool = True, reversible: bool = False):
        """What does not change along a lane.

        Args:
            flow: the flow.
            unravel: flat parameters to what the flow takes.
            flat: parameters of zeros.
            polynomial: of no use here.
            reversible: whether reverse-mode derivatives are wanted.
        """
        del polynomial
        self.flow, self.unravel, self.dtype, self.reversible = flow, unravel, flat.dtype, reversible
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, flat.dtype), jax.eval_shape(lambda: flow.switches(unravel(flat))))
        gates, self.unravel_gates = ravel_pytree(zeros)
        of_loss = jax.tree.leaves(getattr(zeros, "loss", None))
        self.slots = min(gates.size, FEW_SLIDES + sum(leaf.size for leaf in of_loss), MANY_SLIDES)

    def _switches(self, y: Array, gates: Array | None) -> Array:
        held = None if gates is None else self.unravel_gates(gates)
        return ravel_pytree(self.flow.switches(self.unravel(y), held))[0].astype(self.dtype)

    def _mobility(self, y: Array) -> Array:
        return ravel_pytree(self.flow.mobility(self.unravel(y)))[0].astype(self.dtype)

    def _raw(self, t: Array, y: Array, gates: Array) -> Array:
        return ravel_pytree(self.flow.vector_field(t, self.unravel(y), self.unravel_gates(gates)))[0].astype(self.dtype)

    def _normals(self, y: Array, gates: Array, which: Array) -> Array:
        pull = jax.vjp(lambda v: self._switches(v, gates), y)[1]
        return jax.vmap(lambda k: pull((jnp.arange(gates.size) == k).astype(self.dtype))[0])(which)

    def _surfaces(self, y: Array, gates: Array, slides: Array) -> Surfaces:
        normal = self._normals(y, gates, slides)
        gram = normal @ (self._mobility(y)[:, None] * normal.T)
        free = jnp.diag(gram) <= 0
        return Surfaces(normal, jnp.linalg.inv(jnp.where(free[:, None] & jnp.eye(free.size, dtype=bool), 1.0, gram)))

    def _where_any(self, slides: Array, function: Callable[[], PyTree], otherwise: PyTree) -> PyTree:
        """The function where the flow slides at all."""
        return where_it_happens(jnp.any(slides >= 0), lambda _: function(), otherwise, self.reversible)

    def _along(self, y: Array, gates: Array, slides: Array, velocity: Array) -> Array:
        """A velocity without what leads off the surfaces."""

        def project() -> Array:
            on = self._surfaces(y, gates, slides)
            return velocity - self._mobility(y) * ((on.inverse @ (on.normal @ velocity)) @ on.normal)

        return self._where_any(slides, project, velocity)

    def _onto(self, y: Array, gates: Array, slides: Array) -> Array:
        """The parameters on the surfaces, which they are close to."""

        def project() -> Array:
            on = self._surfaces(y, gates, slides)
            off = jnp.where(slides >= 0, self._switches(y, gates)[jnp.maximum(slides, 0)], 0.0)
            return y - self._mobility(y) * ((on.inverse @ off) @ on.normal)

        return self._where_any(slides, project, y)

    def _fractions(self, t: Array, y: Array, state: SwitchState) -> SwitchState:
        """The fractions at which the velocity stays on the surfaces, and the jumps, by Newton's method from those of before."""
        # the velocity is linear in each of them, but where one switch acts through another, as a neuron through a margin, not in all

        def mixed(fraction: Array) -> Array:
            mine = jnp.where(state.shares >= 0, fraction[jnp.maximum(state.shares, 0)], 0.0)
            return state.below + mine * (1 - 2 * state.below)

        def better(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            gates = mixed(carry[0])
            on = self._surfaces(y, gates, state.slides)
            ways = jnp.where(state.shares[None, :] == jnp.arange(self.slots)[:, None], 1 - 2 * state.below[None, :], 0.0)
            velocity = self._raw(t, y, gates)
            changes = jax.vmap(lambda way: jax.jvp(lambda g: self._raw(t, y, g), (gates,), (way,))[1])(ways)
            squared = jnp.sum(on.normal**2 * self._mobility(y)[None, :], axis=1)
            jump = -jnp.sum(on.normal * changes, axis=1) / jnp.where(squared > 0, squared, 1.0)
            # of a jump next to zero the multiplier tells more than the fraction
            multiplier = carry[0] * jump + on.inverse @ (on.normal @ velocity)
            fraction = jnp.clip(multiplier / jnp.where(jump != 0, jump, 1.0), -1.0, 2.0)
            slides = state.slides >= 0
            return jnp.where(slides, fraction, 0.0), jnp.where(slides, multiplier, 0.0), jnp.where(slides, jump, 0.0)

        def found() -> tuple[Array, Array, Array]:
            return jax.lax.fori_loop(0, ITERATIONS, lambda _, carry: better(carry), (state.fraction, state.multiplier, state.jump))

        otherwise = (state.fraction, state.multiplier, state.jump)
        fraction, multiplier, jump = self._where_any(state.slides, found, otherwise)
        return replace(state, gates=mixed(fraction).astype(self.dtype), fraction=fraction, multiplier=multiplier, jump=jump)

    # what the solver asks for

    def start(self, y: Float[Array, " param"]) -> SwitchState:
        """Gates by the signs at the start; nothing slides yet."""
        gates = (self._switches(y, None) > 0).astype(y.dtype)
        none = jnp.zeros(self.slots, y.dtype)
        counts = jnp.zeros(gates.size, jnp.result_type(int))
        return SwitchState(gates, gates, jnp.full(self.slots, -1, counts.dtype), jnp.full_like(counts, -1), none, none, none, counts)

    def ambiguous_start(self, y: Float[Array, " param"], state: SwitchState, velocity: Float[Array, " param"]) -> Int[Array, ""]:
        """Not looked for here: a start has each switch at zero off, as it would be without location."""
        return jnp.zeros((), jnp.result_type(int))

    def hold(self, state: SwitchState) -> PyTree:
        """What `field` needs to hold gates and slides."""
        return state.gates, state.slides

    def field(self, t: Float[Array, ""], y: Float[Array, " param"], hold: PyTree) -> Float[Array, " param"]:
        """The field with gates and slides held; smooth."""
        gates, slides = hold
        return self._along(y, gates, slides, self._raw(t, y, gates))

    def gates(self, hold: PyTree) -> Any:
        """The gates that `field` holds."""
        return self.unravel_gates(hold[0])

    def project(self, velocity: Float[Array, " param"], y: Float[Array, " param"], hold: PyTree) -> Float[Array, " param"]:
        """A velocity without what leads off the surfaces."""
        return self._along(y, hold[0], hold[1], velocity)

    def passage(
        self, t: Float[Array, ""], state: SwitchState, step: Step, tolerance: Float[Array, " param"] | None, active: Bool[Array, ""]
    ) -> tuple[Passage, SwitchState]:
        """The step, to its first kink.

        Args:
            t: time, for the field.
            state: gates and slides, held in the step.
            step: the step.
            tolerance: of no use here, as every kink ends its step.
            active: whether the step counts.

        Returns:
            What happened, without kinks the step itself; and gates and slides at its end.
        """
        gates, slides = state.gates, state.slides
        y1 = self._onto(step.y1, gates, slides)
        after = self._fractions(t, y1, state)
        s, slot, k, gate, least = self._first(state, after, step, y1)
        whole = without_kinks(y1, step.v1, Cut(jnp.ones_like(step.h), jnp.zeros_like(step.h)), 1)

        def go(_: Array) -> tuple[Passage, SwitchState]:
            exit_ = self._refined(t, state, after, step, s, slot, gate)
            return self._pass(t, state, step, jnp.where(slot < 0, s, exit_), slot, k, gate, least)

        return where_it_happens(active & (s < NEVER), go, (whole, after), self.reversible)

    def shifted(self, y: Float[Array, " param"], since: Float[Array, ""], shift: Cut) -> Float[Array, " param"]:
        """A point of a step's dense output, which kinks leave as it is."""
        return y

    def _first(self, state: SwitchState, after: SwitchState, step: Step, y1: Array) -> tuple[Array, Array, Array, Array, Array]:
        """When the first kink comes (`NEVER`: none does), the slot of the slide that it ends (-1: none), switch, gate, rounding."""
        assert step.dense is not None
        gates, slides = state.gates, state.slides
        sign = jnp.where(state.below > 0.5, 1.0, -1.0).astype(self.dtype)
        ends = [jax.jvp(lambda v: self._switches(v, gates), (y,), (step.h * v,)) for y, v in ((step.y0, step.v0), (y1, step.v1))]
        (z0, d0), (z1, d1) = ((sign * z, sign * d) for z, d in ends)
        middle = sign * self._switches(step.dense(jnp.full_like(step.h, 0.5)), gates)
        least = ROUNDING * jnp.finfo(self.dtype).eps * jnp.maximum(jnp.max(jnp.abs(z0)), jnp.max(jnp.abs(z1)))
        when = jnp.where(state.shares < 0, jnp.where(is_against(z0, least), AT_ONCE, 0.0), NEVER)
        s = apart(roots, z0, d0, z1, d1, middle, jnp.full_like(z0, least), when)[0]
        k = jnp.argmin(s)
        pairs = ((state.multiplier, after.multiplier), (state.jump, after.jump))
        low, high = exit_times(slides >= 0, *(jnp.stack([a, jnp.zeros_like(a), b]) for a, b in pairs))
        leaves = jnp.minimum(low, high)
        slot = jnp.argmin(leaves)
        ends_slide = leaves[slot] < s[k]
        first = jnp.where(ends_slide, leaves[slot], s[k])
        gate = jnp.where(high[slot] < low[slot], 1.0, 0.0).astype(self.dtype)
        return first, jnp.where(ends_slide, slot, -1), jnp.where(ends_slide, slides[slot], k).astype(slides.dtype), gate, least

    def _refined(self, t: Array, state: SwitchState, after: SwitchState, step: Step, s: Array, slot: Array, gate: Array) -> Array:
        """When a slide ends: by the parabola through what its linear estimate is found to be worth."""
        assert step.dense is not None

        def left(at: SwitchState) -> Array:
            return jnp.where(gate > 0.5, at.jump - at.multiplier, at.multiplier)[slot]

        s = jax.lax.stop_gradient(s)
        inside = (s > 0) & (s < 1)
        begin, here, end = (left(at) for at in (state, self._fractions(t, step.dense(s), state), after))
        before = (here - begin) / jnp.where(inside, s, 1.0)
        behind = (end - here) / jnp.where(inside, 1 - s, 1.0)
        slope = before + s * (behind - before)
        better = s - here / jnp.where(slope != 0, slope, 1.0)
        return jax.lax.stop_gradient(jnp.where(inside & (better > 0) & (better < 1), better, s))

    def _pass(
        self, t: Array, state: SwitchState, step: Step, s: Array, slot: Array, k: Array, gate: Array, least: Array
    ) -> tuple[Passage, SwitchState]:
        """The step up to its kink, and how it goes on from there."""
        assert step.dense is not None
        gates, crosses, slots = state.gates, slot < 0, jnp.arange(self.slots)

        # the moment by Newton's method on the dense output, which in its last step carries the derivatives too
        def closer(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            s = jax.lax.stop_gradient(carry[0])
            misses, rate = jax.jvp(lambda s: self._switches(step.dense(s), gates)[k], (s,), (jnp.ones_like(s),))  # pyright: ignore
            change = misses / jnp.where(rate != 0, rate, 1.0)
            return jnp.where(crosses & (rate != 0) & (s > 0) & (jnp.abs(change) < s), jnp.minimum(s - change, 1.0), s), s, misses

        tau, s, misses = jax.lax.fori_loop(0, NEWTON, closer, (s, s, jnp.zeros_like(s)))
        # where the dense output has no such kink, the gate must not change: the step is tried again, shorter
        found = ~crosses | (s <= 0) | (jnp.abs(misses) <= beyond_rounding(least))

        slides = jnp.where(slots == slot, -1, state.slides)
        y = self._onto(step.dense(tau), gates, slides)
        mine, below = self._sharing(y, state, k, crosses)
        low, high = (jnp.where(mine, side, gates).astype(self.dtype) for side in (below, 1 - below))
        normal = self._normals(y, gates, k[None])[0]
        along = self._along(y, gates, slides, self._mobility(y) * normal)
        squared = jnp.sum(normal**2 * self._mobility(y))
        held = jnp.sum(normal * along) <= DEPENDENT * squared
        off, on = (jnp.sum(normal * self._along(y, g, slides, self._raw(t, y, g))) for g in (low, high))
        attracts, full = (off > 0) & (on < 0), jnp.all(slides >= 0)
        enters = crosses & attracts & ~full & ~held
        # where both ends of [0, 1] are left at once the surface begins to repel, and off is what has fewer gates on
        repels = ~crosses & (jnp.abs(off - on) <= REPELS * squared * jnp.abs(state.jump[slot]))
        gate = jnp.where(repels, 0.0, gate)
        goes_up = jnp.where(crosses, (state.below[k] < 0.5) & ~enters & ~(attracts & held), gate > 0.5)
        place = jnp.argmax(slides < 0)
        here = (slots == place) & enters
        new = SwitchState(
            gates=gates,
            below=jnp.where(mine, jnp.where(goes_up, 1 - below, below), state.below).astype(self.dtype),
            slides=jnp.where(here, k, slides).astype(state.slides.dtype),
            shares=jnp.where(mine, jnp.where(enters, place, -1), state.shares).astype(state.shares.dtype),
            fraction=jnp.where(here, off / jnp.where(enters, off - on, 1.0), jnp.where(slides >= 0, state.fraction, 0.0)),
            multiplier=state.multiplier,
            jump=state.jump,
            passed=state.passed + mine,
        )
        new = self._fractions(t, y, new)
        y = self._onto(y, new.gates, new.slides)
        count = lambda kinds: kinds.astype(jnp.result_type(int))  # noqa: E731
        passage = Passage(
            y=y,
            velocity=self.field(t, y, self.hold(new)),
            shift=Cut(tau, tau),
            good=found,
            reach=jnp.where(found, tau, 0.5),
            num_kinks=count(jnp.asarray(True)),
            num_slides=count(enters),
            num_ambiguous=count(repels | (crosses & attracts & full)),
            last=tau,
            evaluations=count(jnp.asarray(4)),
        )
        return passage, new

    def _sharing(self, y: Array, state: SwitchState, k: Array, crosses: Array) -> tuple[Array, Array]:
        """The switches with the same surface as switch k, as two arbitrary directions tell; and their gates below it."""
        places = jnp.arange(y.size, dtype=self.dtype) + 1
        rates = [jax.jvp(lambda v: self._switches(v, state.gates), (y,), (d,)) for d in (jnp.cos(places), jnp.sin(1.7 * places))]
        z, (a, b) = rates[0][0], (rate for _, rate in rates)
        size = jnp.abs(a) + jnp.abs(b)
        near = amiss(z.dtype)
        parallel = jnp.abs(a * b[k] - b * a[k]) <= near * size * size[k]
        mine = (jnp.abs(z) <= near * jnp.max(jnp.abs(z))) & parallel & (size > 0) & (state.shares < 0)
        same = a * a[k] + b * b[k] > 0
        mine = jnp.where(crosses, mine | (jnp.arange(z.size) == k), state.shares == state.shares[k])
        return mine, jnp.where(crosses, jnp.where(same, 0.0, 1.0), state.below).astype(self.dtype)
