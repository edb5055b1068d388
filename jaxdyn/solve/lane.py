"""One lane, one step: the loop body that `solve` and the ensembles share.

A lane's state is a pytree of arrays with everything that the next step depends on, so a lane can be paused, saved and
continued to the same bits. Time is kept in two parts and the solver works in the step's own local time; so float32 time does
not stall: a step may be as short as `SMALLEST_STEP` times `t`, which is below the spacing of float32 numbers at `t`.
"""

from functools import cache
from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._platform import default_rtol
from .._types import Params, as_strong
from .branch import where_it_happens
from .chebyshev import RungeKuttaChebyshev
from .conserved import conserved_of, largest_terms, sizes_at_start
from .descent import Descent, DescentTerm, offers_steps
from .explicit import explicit_step
from .exponential import (
    EVALUATIONS,
    NEEDS,
    KernelExponential,
    KernelTerm,
    LinearPart,
    linear_part,
    offers_kernel,
    offers_stiffness,
    stiff_part,
)
from .first_step import first_step
from .kinks import KinkState, Passage, Step, SwitchState
from .limit import EVERY, STILL, Ending, ending
from .metric import root_of_mobility
from .outcome import Outcome
from .rules import Moment, Pace
from .state import Certificate, LaneState, Settings, Stillness, Stops, Stretch
from .stopping import Verdict, asks_for_stillness, first_met, values_of, verdict
from .treatment import innermost_controller, is_shift_invariant, treatment

MAX_REJECTIONS = 30
"""Rejections in a row after which a step counts as too small: each divides the step by up to 5."""
SMALLEST_STEP = 1e-13
"""A lane whose step is no longer than this times the time ends; float32 time in two parts resolves such steps, and so does float64 time."""
GROWTH = 1e3
"""A step that collapses after the norm grew by this factor is a blow-up."""
QUIET = 1e-8
"""The smallest error of a step, over the tolerance, that the controller sees; by PI control at order 5 steps then grow fourfold."""
ROUNDING = 8.0
"""Units of rounding of the largest parameter, below which no default absolute tolerance falls."""
FAST = 1e10
"""And so is one that collapses while the norm, larger than at the start, grows by its own size in 1/FAST of the time."""


def _tableau(solver: dfx.AbstractSolver) -> dfx.ButcherTableau | None:
    """The tableau of an explicit Runge-Kutta solver; None for any other."""
    tableau = solver.tableau if isinstance(solver, dfx.AbstractERK) else None
    return tableau if isinstance(tableau, dfx.ButcherTableau) else None


def _counts_evaluations(solver: dfx.AbstractSolver) -> tuple[int, int]:
    """Field evaluations of a start (initial step included) and of a step; -1 where they cannot be known."""
    tableau = _tableau(solver)
    if tableau is not None:
        return (2, tableau.num_stages - 1) if tableau.fsal else (2, tableau.num_stages)
    if isinstance(solver, dfx.Euler | Descent):
        return 2, 1
    if isinstance(solver, KernelExponential):
        return 2, EVALUATIONS
    return -1, -1


class Lane:
    """The integration of one flow under some settings; made inside a trace, holds no state of its own."""

    def __init__(self, flow: Any, settings: Settings, like: Params):
        """A lane whose parameters look like `like` (arrays or their shapes)."""
        self.flow, self.settings = flow, settings
        flat, self.unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))
        self.dtype = flat.dtype
        self.time_dtype = jnp.result_type(float)
        kernel = isinstance(settings.solver, KernelExponential)
        if kernel and not offers_kernel(flow):
            raise ValueError(f"KernelExponential needs a flow with {', '.join(NEEDS)}; {type(flow).__name__} has not: name another solver.")
        self.descends = isinstance(settings.solver, Descent)
        if self.descends != offers_steps(flow):
            mend = "needs begin, update and rate: name another solver" if self.descends else "steps by itself: name no solver, use its flow"
            raise ValueError(f"{type(settings.solver).__name__} does not fit {type(flow).__name__}, which {mend}.")
        # what is called several times is traced once
        self._field, self._point = jax.jit(self._field_at), jax.jit(self._point_at)
        self.term: Any = self._term(kernel)
        tableau = _tableau(settings.solver)
        self.has_last_stage = tableau is not None and tableau.fsal
        self.knows_velocity = self.has_last_stage or isinstance(settings.solver, RungeKuttaChebyshev)
        kinks, _, self.ignores_kinks = treatment(flow, settings.locate_kinks, settings.controller, like)
        reversible = settings.checkpoints is not None
        self.kinks: Any = None if kinks is None else kinks(flow, self.unravel, flat, polynomial=not kernel, reversible=reversible)
        self.start_evaluations, self.step_evaluations = _counts_evaluations(settings.solver)

    def _field_at(self, t: Array, y: Array, args: tuple[Array, PyTree]) -> Array:
        """The field at local time t; args are the time where that begins and what holds gates and slides."""
        begin, hold = args
        time = (begin + t).astype(self.time_dtype)
        if self.kinks is not None and hold is not None:
            return self.kinks.field(time, y, hold)
        return ravel_pytree(self.flow.vector_field(time, self.unravel(y), None))[0].astype(self.dtype)

    def _term(self, kernel: bool) -> dfx.AbstractTerm:
        """The flow as the solver wants it."""
        if self.descends:

            def update(y: Array, state: PyTree) -> tuple[Array, PyTree]:
                params, state = self.flow.update(self.unravel(y), state)
                return ravel_pytree(params)[0], state

            return DescentTerm(
                self._field,
                lambda y, key: self.flow.begin(self.unravel(y), key),
                update,
                lambda y, state: self.flow.rate(self.unravel(y), state).astype(self.dtype),
            )
        return KernelTerm(self._field, self._linear) if kernel else dfx.ODETerm(cast(Any, self._field))

    def _linear(self, y: Array, args: tuple[Array, PyTree]) -> LinearPart:
        """The stiff part of the field, its gates and slides held as there."""
        hold = args[1]
        gates, project = None, None
        if self.kinks is not None and hold is not None:
            gates, project = self.kinks.gates(hold), lambda v: self.kinks.project(v, y, hold)
        if offers_stiffness(self.flow):
            return stiff_part(self.flow, self.unravel, y, gates, self._field(jnp.zeros((), self.dtype), y, args), project)
        return linear_part(self.flow, self.unravel, y, gates, project)

    def _conserved(self, y: Array) -> tuple[Array, Array]:
        """The conserved quantities and the largest of their terms."""
        params = self.unravel(y)
        return conserved_of(self.flow, params, self.dtype), largest_terms(self.flow, params, self.dtype)

    def start(
        self,
        params: Params,
        t0: Array | float = 0.0,
        key: PRNGKeyArray | None = None,
        projected: Array | float = jnp.nan,
        before: LaneState | None = None,
    ) -> LaneState:
        """The state at the start.

        Args:
            params: where the flow starts.
            t0: and when.
            key: of what the flow draws, if it draws anything.
            projected: the certificate's `projected_steps`.
            before: a state that another solver reached, there and then: its gates, its certificate and what it is measured against stay.

        Returns:
            A state to step from; its outcome is `not_finite_at_start` if there is nothing to step from.
        """
        settings, zero = self.settings, jnp.zeros((), self.dtype)
        y = ravel_pytree(params)[0]
        t0 = jnp.asarray(t0, self.time_dtype)
        kinks = None if self.kinks is None else self.kinks.start(y) if before is None else before.kinks
        hold = None if self.kinks is None or kinks is None else self.kinks.hold(kinks)
        velocity = self._field(zero, y, (t0, hold))
        loss = jnp.asarray(self.flow.loss(params), self.dtype)
        controller = settings.controller.wrap(1)
        invariant = is_shift_invariant(controller)
        atol_factor = self._atol_factor(y) if before is None else before.atol_factor
        dt0 = None if settings.dt0 is None else settings.dt0.astype(self.dtype if invariant else self.time_dtype)
        solver_state: Any = None
        if self.descends:
            solver_state = settings.solver.init(self.term, zero, zero, y, key)
            dt0 = self.term.rate(y, solver_state)
        origin = zero if invariant else t0
        room = (settings.t1 - t0).astype(self.dtype)
        func = settings.solver.func
        order = self._error_order()
        horizon = jnp.full_like(zero, jnp.inf) if invariant else settings.t1  # ConstantStepSize counts steps to a finite end
        still = jax.lax.stop_gradient(y)
        estimated = dt0 is None and isinstance(innermost_controller(controller), dfx.PIDController)
        if estimated:
            tolerance = self._tolerance(atol_factor, still, still)
            guess = first_step(lambda y: self._field(zero, y, (t0, hold)), still, velocity, tolerance, self._error_order())
            # a power of two: the last bits of logarithms differ between compiled programs, and a length needs no digits
            known = jnp.isfinite(guess) & (guess > 0)
            power = jnp.floor(jnp.log2(jnp.where(known, guess, 1.0))).astype(int)
            dt0 = jnp.where(known, jnp.ldexp(jnp.ones_like(guess), power), room).astype(self.dtype if invariant else self.time_dtype)
        first, controller_state = controller.init(self.term, origin, horizon, still, dt0, (t0 - origin, hold), func, order)
        step_size = jax.lax.stop_gradient((first - origin).astype(self.dtype))
        step_size = jnp.where(jnp.isfinite(step_size) & (step_size > 0), step_size, room)
        if not self.descends:
            solver_state = settings.solver.init(self.term, zero, jnp.minimum(step_size, room), y, (t0, hold))
        if self.has_last_stage:
            # the first stage is at hand; otherwise one lane's start would cost every lane of its batch a stage
            solver_state = (jnp.zeros_like(solver_state[0]), velocity)
        finite = jnp.isfinite(loss) & jnp.all(jnp.isfinite(y)) & jnp.all(jnp.isfinite(velocity))
        norm = jnp.linalg.norm(still)
        conserved, terms = self._conserved(still)
        unlocated = _count(-1 if self.ignores_kinks else 0)
        ambiguous = unlocated
        if self.kinks is not None:
            ambiguous = self.kinks.ambiguous_start(y, kinks, velocity).astype(unlocated.dtype)
        never = jnp.full_like(t0, jnp.nan)
        state = LaneState(
            t=t0,
            t_low=jnp.zeros_like(t0),
            step_size=step_size,
            y=y,
            solver_state=solver_state,
            controller_state=as_strong(controller_state),
            made_jump=jnp.asarray(False),
            rejections=_count(0),
            conserved=conserved,
            resolvable=sizes_at_start(conserved, terms),
            norm_start=norm,
            norm=norm,
            atol_factor=atol_factor,
            pace=Pace(t0, _count(0), t0, t0),
            next_record=_count(0),
            outcome=jnp.where(finite, _count(Outcome.running), _count(Outcome.not_finite_at_start)),
            certificate=Certificate(
                num_accepted_steps=_count(0),
                num_rejected_steps=_count(0),
                num_field_evaluations=_count(self.start_evaluations - (not estimated and self.start_evaluations > 0)),
                loss_start=loss,
                loss_end=loss,
                largest_loss_increase=zero,
                conserved_drift=jnp.where(conserved.size > 0, zero, jnp.nan),
                unresolved_since=jnp.full_like(t0, jnp.inf if terms.size else jnp.nan),
                saddle_index=_count(-1),
                largest_norm=norm,
                accumulated_error=zero,
                num_kinks=unlocated,
                num_slides=unlocated,
                num_ambiguous_kinks=ambiguous,
                first_kink=never,
                last_kink=never,
                projected_steps=jnp.asarray(projected, self.dtype),
            ),
            kinks=kinks,
        )
        if before is not None:
            old, spent = before.certificate, state.certificate.num_field_evaluations
            countable = (old.num_field_evaluations >= 0) & (spent >= 0)
            certificate = eqx.tree_at(
                lambda c: (c.num_field_evaluations, c.projected_steps),
                old,
                (jnp.where(countable, old.num_field_evaluations + spent, -1), state.certificate.projected_steps),
            )
            pace = state.pace._replace(num_steps=old.num_accepted_steps + old.num_rejected_steps)
            kept = (before.t_low, before.conserved, before.resolvable, before.norm_start, certificate, pace)
            state = eqx.tree_at(lambda s: (s.t_low, s.conserved, s.resolvable, s.norm_start, s.certificate, s.pace), state, kept)
        return self.checked(state, velocity)

    def checked(self, state: LaneState, velocity: Array | None = None) -> LaneState:
        """The state with its stop rules checked where it stands, before the first step.

        Args:
            state: where the lane stands.
            velocity: the field there, if it is at hand.

        Returns:
            The state, its outcome that of the first rule that is met.
        """
        settings = self.settings
        if not settings.rules:
            return eqx.tree_at(lambda s: s.stops, state, None, is_leaf=lambda leaf: leaf is None)
        t, hold, old = state.t, None if self.kinks is None else self.kinks.hold(state.kinks), state.certificate
        nan = jnp.asarray(jnp.nan, self.dtype)
        moving = cache(lambda: self._field(jnp.zeros((), self.dtype), state.y, (t, hold)) if velocity is None else velocity)
        steps = old.num_accepted_steps + old.num_rejected_steps
        params = self.unravel(state.y)
        moment = Moment(
            self.flow, t, settings.t1, params, state.y, old.loss_end, state.step_size, steps, old.num_kinks, moving, nan, state.pace
        )
        outcome = first_met(settings.rules, moment, state.outcome, state.outcome == int(Outcome.running))
        stillness = None
        if asks_for_stillness(settings.rules):
            stillness = jax.lax.stop_gradient(Stillness(jnp.linalg.norm(moving()), t, state.y, _count(0)))
        stops = Stops(_count(-1), _count(0), state.step_size, stillness)
        return eqx.tree_at(lambda s: (s.outcome, s.stops), state, (outcome, stops), is_leaf=lambda leaf: leaf is None)

    def _largest(self, y: Array) -> Array:
        """The largest absolute entry of what moves."""
        moves = root_of_mobility(self.flow, self.unravel(y)) > 0
        return jax.lax.stop_gradient(jnp.max(jnp.where(moves, jnp.abs(y), 0.0), initial=0.0)).astype(self.dtype)

    def _atol_factor(self, y: Array) -> Array:
        """The largest absolute entry of what moves of the start, at most 1; 1 where that is 0, and where no tolerance follows the start."""
        one, follows = jnp.ones((), self.dtype), self.settings.atol_follows
        if follows is None or getattr(self.flow, "has_unit_scale", False):
            return one
        largest = self._largest(y)
        return jnp.where(follows & (largest > 0), jnp.minimum(largest, one), one)

    def _scaled(self, atol_factor: Array, y: Array) -> Settings:
        """The settings with the absolute tolerances of a lane that is at y; they stay above the rounding of its largest parameter."""
        follows, numbers = self.settings.atol_follows, jnp.finfo(self.dtype)
        if follows is None:
            return self.settings
        # also above the smallest normal number: an error relative to zero is no number
        floor = jnp.maximum(jnp.where(follows, ROUNDING * numbers.eps * self._largest(y), 0.0), numbers.tiny)
        return self.settings.scaled(atol_factor, floor)

    def _error_order(self) -> Any:
        """The order of the error estimate: the controller's, if it names one, or the solver's."""
        named = getattr(innermost_controller(self.settings.controller), "error_order", None)
        return self.settings.solver.error_order(self.term) if named is None else named

    def step(self, state: LaneState) -> tuple[LaneState, Stretch]:
        """One trial step; a lane that has ended stays as it is.

        Args:
            state: where the lane stands.

        Returns:
            The state after it and the stretch that was passed.
        """
        settings, zero = self._scaled(state.atol_factor, state.y), jnp.zeros((), self.dtype)
        running = state.outcome == int(Outcome.running)
        room = ((settings.t1 - state.t) - state.t_low).astype(self.dtype)
        # a step that all but reaches the end reaches it: rounding must leave no sliver
        sliver = jnp.sqrt(jnp.finfo(self.dtype).eps)
        clipped, beyond = state.step_size >= room * (1 - sliver), jnp.asarray(False)
        if self.descends:  # a step is as long as it is
            beyond = state.step_size > room * (1 + sliver)
            clipped &= ~beyond
        h = full = jnp.where(clipped, room, state.step_size)
        invariant = is_shift_invariant(settings.controller)
        origin = zero if invariant else state.t
        made_jump = False if invariant else state.made_jump
        hold = None if self.kinks is None or state.kinks is None else self.kinks.hold(state.kinks)
        y1, y_error, dense, solver_state, result = self._advance(h, state, hold, made_jump)
        solved = dfx.is_okay(result)
        resolved = ~self._is_lost(h, state, y1, hold)
        finite = jnp.all(jnp.isfinite(y1)) & solved
        if y_error is not None and isinstance(innermost_controller(settings.controller), dfx.PIDController):
            # estimates far below the tolerance are rounding, which would decide the lengths of the next steps
            seen = jnp.maximum(jnp.abs(y_error), QUIET * self._tolerance(state.atol_factor, state.y, state.y))
        else:
            seen = y_error
        # a step into nowhere is an infinite error, which controllers shrink from; NaN would poison the next step size
        keep, next_t0, next_t1, jump, controller_state, _ = settings.controller.wrap(1).adapt_step_size(
            origin,
            origin + h,
            jax.lax.stop_gradient(state.y),
            jax.lax.stop_gradient(jnp.where(finite, y1, state.y)),
            (state.t - origin, hold),
            None if seen is None else jax.lax.stop_gradient(jnp.where(finite & resolved & ~jnp.isnan(seen), seen, jnp.inf)),
            self._error_order(),
            state.controller_state,
        )
        accepted = running & keep & finite
        next_size = jax.lax.stop_gradient(jnp.asarray(next_t1 - next_t0).astype(self.dtype))
        next_size = jnp.where(clipped & keep, jnp.maximum(next_size, state.step_size), next_size)
        if self.descends:
            next_size = jax.lax.stop_gradient(self.term.rate(y1, solver_state))

        passage, kinks = None, state.kinks
        if self.kinks is not None:
            passage, kinks = self._pass_kinks(h, state, y1, dense, solver_state, hold, accepted)
            y1, h, clipped = passage.y, passage.shift.fraction * h, clipped & (passage.shift.fraction == 1)
            finite &= jnp.all(jnp.isfinite(y1))
            next_size = jnp.where(accepted & ~passage.good, passage.reach * full, next_size)
            accepted &= finite & passage.good
            if self.knows_velocity:
                solver_state = (solver_state[0], passage.velocity)

        t, t_low = _two_sum(state.t, state.t_low + h.astype(self.time_dtype))
        if not invariant:  # it has its own idea of where the next step starts, such as just after a jump
            t, t_low = next_t0, jnp.zeros_like(t_low)
        t, t_low = jnp.where(clipped, settings.t1, t), jnp.where(clipped, 0.0, t_low)
        error = jnp.full_like(zero, jnp.nan) if y_error is None else jnp.linalg.norm(jax.lax.stop_gradient(y_error))
        old, loss = state.certificate, jnp.asarray(self.flow.loss(self.unravel(y1)), self.dtype)
        steps = old.num_accepted_steps + old.num_rejected_steps + running
        num_kinks = old.num_kinks + (0 if passage is None else passage.num_kinks)
        velocity = cache(lambda: passage.velocity if passage is not None else self._velocity(solver_state, y1, jnp.asarray(t)))
        stiffness = jnp.max(dense["part"].decays()) if isinstance(settings.solver, KernelExponential) else jnp.full_like(zero, jnp.nan)
        about = (next_size, steps, num_kinks, velocity, stiffness, state.pace)
        moment = Moment(self.flow, t, settings.t1, self.unravel(y1), y1, loss, *about)
        stop = None
        if settings.rules and not self.descends:
            assert state.stops is not None
            stop = self._stop(state, moment, full, h, dense, passage, kinks, accepted)
            accepted &= ~stop.again
            part = stop.again | (accepted & (state.stops.aim >= 0) & (h < state.stops.size))
            left = state.stops.size if invariant else state.stops.size - h
            next_size = jnp.where(stop.again, stop.reach * h, jnp.where(part, left, next_size))
            controller_state = jax.tree.map(lambda a, b: jnp.where(part, a, b), state.controller_state, as_strong(controller_state))
            y1, loss = jnp.where(stop.ends, stop.placed.y, y1), jnp.where(stop.ends, stop.placed.loss, loss)
            shifted = _two_sum(t, t_low + stop.placed.shift.astype(self.time_dtype))
            t, t_low = (jnp.where(stop.ends, a, b) for a, b in zip(shifted, (t, t_low), strict=True))
            if self.knows_velocity:
                solver_state = (solver_state[0], jnp.where(stop.ends, stop.placed.velocity, solver_state[1]))
        before_limit, saddle_index = t, _count(-1)
        if settings.limit_after is not None:
            moved = jnp.sqrt(jnp.mean((jax.lax.stop_gradient(y1 - state.y) / self._tolerance(state.atol_factor, state.y, y1)) ** 2))
            turn = (state.certificate.num_accepted_steps + 1) % EVERY == 0
            looks = accepted & (t >= settings.limit_after) & (moved <= STILL) & turn
            if stop is not None:
                looks = (looks | stop.stuck) & ~stop.ends
            here = moment._replace(t=t, params=self.unravel(y1), y=y1, loss=loss)
            limit, loss = self._end(looks, here, None if passage is None else kinks, stop, state.atol_factor)
            clipped, y1, saddle_index, amiss = limit.reached, limit.y, limit.index, limit.error
            t, t_low = jnp.where(clipped, jnp.inf, t), jnp.where(clipped, 0.0, t_low)
            error += amiss
        still = jax.lax.stop_gradient(y1)
        norm, (conserved, terms) = jnp.linalg.norm(still), self._conserved(still)
        drift = jnp.max(jnp.abs(conserved - state.conserved)) if conserved.size else jnp.asarray(jnp.nan, self.dtype)
        lost = accepted & jnp.any(state.resolvable < jnp.finfo(self.dtype).eps * terms)
        certificate = Certificate(
            num_accepted_steps=old.num_accepted_steps + accepted,
            num_rejected_steps=old.num_rejected_steps + (running & ~accepted),
            loss_start=old.loss_start,
            loss_end=jnp.where(accepted, loss, old.loss_end),
            largest_loss_increase=jnp.where(
                accepted, jnp.maximum(old.largest_loss_increase, loss - old.loss_end), old.largest_loss_increase
            ),
            conserved_drift=jnp.where(accepted, jnp.maximum(old.conserved_drift, drift), old.conserved_drift),
            unresolved_since=jnp.where(lost, jnp.minimum(old.unresolved_since, before_limit), old.unresolved_since),
            saddle_index=jnp.where(accepted & (saddle_index >= 0), saddle_index, old.saddle_index),
            largest_norm=jnp.where(accepted, jnp.maximum(old.largest_norm, norm), old.largest_norm),
            accumulated_error=old.accumulated_error + jnp.where(accepted, error, 0.0),
            projected_steps=old.projected_steps,
            **self._count_kinks(state, passage, h, accepted, running),
        )
        again = jnp.asarray(False) if stop is None else stop.again
        rejections = jnp.where(accepted, 0, state.rejections + ~again)

        # the fate, the later where() the stronger
        grown = old.largest_norm > GROWTH * (1 + state.norm_start)
        grown |= (state.norm > 1 + state.norm_start) & ((norm - state.norm) * jnp.abs(state.t) > FAST * h * state.norm)
        tiny = (next_size.astype(self.time_dtype) <= SMALLEST_STEP * jnp.abs(state.t)) | (rejections >= MAX_REJECTIONS)
        tiny &= ~again
        fate = jnp.where((steps >= settings.max_steps) & ~again, _count(Outcome.max_steps), _count(Outcome.running))
        collapse = jnp.where(grown | ~finite & solved, int(Outcome.diverged), int(Outcome.step_too_small))
        collapse = jnp.where(~grown & ~solved, int(Outcome.root_find_failed), collapse)
        fate = jnp.where(tiny & ~(accepted & (clipped | beyond)), collapse, fate)
        pace = state.pace
        if settings.gives_up is not None:
            noted = running & settings.gives_up.is_marked(steps - pace.num_steps)
            now = jnp.where(accepted, t, state.t)
            pace = pace._replace(quarter=jnp.where(noted, pace.half, pace.quarter), half=jnp.where(noted, now, pace.half))
            gives_up, projected = settings.gives_up(moment, old.projected_steps)
            fate = jnp.where(gives_up, int(Outcome.too_stiff), fate)
        fate = first_met(settings.rules, moment, fate, accepted)
        asked = bool(velocity.cache_info().currsize) and not self.knows_velocity and passage is None
        if stop is not None:
            fate = jnp.where(stop.stuck & (fate == int(Outcome.running)), int(Outcome.tolerance_reached), fate)
        fate = jnp.where(accepted & (clipped | beyond), int(Outcome.t1_reached), fate)
        fate = jnp.where(accepted & (saddle_index > 0), int(Outcome.saddle), fate)
        if stop is not None:
            ends = jnp.asarray([int(rule.outcome) for rule in settings.rules])[stop.met]
            fate = jnp.where(stop.ends, ends, fate)
        outside = ~(norm <= settings.norm_bound * (1 + state.norm_start)) | ~jnp.isfinite(loss)
        fate = jnp.where((accepted & outside) | (keep & ~finite & solved), int(Outcome.diverged), fate)
        fate = jnp.where(keep & ~solved, int(Outcome.root_find_failed), fate)
        if settings.gives_up is not None:
            projected = jnp.where(fate == int(Outcome.too_stiff), projected.astype(self.dtype), old.projected_steps)
            certificate = eqx.tree_at(lambda c: c.projected_steps, certificate, jax.lax.stop_gradient(projected))

        def taken(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)

        def tried(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda a, b: jnp.where(running, a, b), new, old)

        after = LaneState(
            t=taken(t, state.t),
            t_low=taken(t_low, state.t_low),
            step_size=tried(next_size, state.step_size),
            y=taken(y1, state.y),
            solver_state=taken(solver_state, state.solver_state),
            controller_state=tried(as_strong(controller_state), state.controller_state),
            made_jump=taken(jnp.asarray(jump), state.made_jump),
            rejections=tried(rejections, state.rejections),
            conserved=state.conserved,
            resolvable=state.resolvable,
            norm_start=state.norm_start,
            norm=taken(norm, state.norm),
            atol_factor=state.atol_factor,
            pace=pace,
            next_record=state.next_record,
            outcome=tried(fate, state.outcome),
            certificate=certificate,
            kinks=taken(kinks, state.kinks),
            stops=state.stops if stop is None else tried(stop.stops, state.stops),
        )
        if stop is not None and self.step_evaluations > 0:
            evaluations = after.certificate.num_field_evaluations + stop.evaluations
            after = eqx.tree_at(lambda s: s.certificate.num_field_evaluations, after, evaluations)
        if asked and self.step_evaluations > 0:
            evaluations = after.certificate.num_field_evaluations + running
            after = eqx.tree_at(lambda s: s.certificate.num_field_evaluations, after, evaluations)
        return after, Stretch(state.t, after.t, full, after.y, dense, None if passage is None else passage.shift, y_error)

    def _pass_kinks(
        self, h: Array, state: LaneState, y1: Array, dense: PyTree, solver_state: PyTree, hold: PyTree, active: Array
    ) -> tuple[Passage, KinkState | SwitchState]:
        """The step, which held the gates, through its kinks."""
        assert self.kinks is not None and state.kinks is not None
        zero, controller = jnp.zeros((), self.dtype), self.settings.controller
        if self.has_last_stage:
            first, last = dense["k"][0], solver_state[1]
        else:
            first, last = (self._field(zero, y, (state.t, hold)) for y in (state.y, y1))
        tolerance = self._tolerance(state.atol_factor, state.y, y1) if isinstance(controller, dfx.PIDController) else None
        step = Step(h, state.y, first, y1, last, lambda s: self._point(h, dense, s), state.rejections)
        return self.kinks.passage(state.t, state.kinks, step, tolerance, active)

    def _stop(
        self,
        state: LaneState,
        moment: Moment,
        full: Array,
        h: Array,
        dense: PyTree,
        passage: Passage | None,
        kinks: KinkState | SwitchState | None,
        accepted: Array,
    ) -> Verdict:
        """What the stop rules make of a step of length h, which the solver's dense output, of length full, covers."""
        hold = None if self.kinks is None or kinks is None else self.kinks.hold(kinks)

        def at(t: Array, y: Array) -> Moment:
            params = self.unravel(y)
            loss = jnp.asarray(self.flow.loss(params), self.dtype)
            velocity = cache(lambda: self._field(jnp.zeros((), self.dtype), y, (t, hold)))
            return moment._replace(t=t, params=params, y=y, loss=loss, velocity=velocity)

        def curve(s: Array) -> tuple[Array, Array]:
            since = s * h / full
            y = self._point(full, dense, since)
            if passage is not None and self.kinks is not None:
                y = self.kinks.shifted(y, since, passage.shift)
            return state.t + (state.t_low + (s * h).astype(self.time_dtype)), y

        whole = accepted if passage is None else accepted & (passage.shift.fraction == 1)
        tolerance, step = self._tolerance(state.atol_factor, state.y, moment.y), (accepted, whole, h)
        known = self.knows_velocity or passage is not None
        reversible = self.settings.checkpoints is not None
        assert state.stops is not None
        return verdict(self.settings.rules, state.stops, moment, at, curve, step, tolerance, known, reversible)

    def _end(self, looks: Array, moment: Moment, kinks: Any, stop: Verdict | None, atol_factor: Array) -> tuple[Ending, Array]:
        """Where it is to be looked, whether what is left is linear; then the limit, and the loss there."""
        hold, y, t = None if kinks is None else self.kinks.hold(kinks), moment.y, moment.t
        scale, reversible = root_of_mobility(self.flow, moment.params), self.settings.checkpoints is not None

        def look(true: Array) -> tuple[Ending, Array]:
            here = jnp.where(true, y, jnp.nan)  # or it would be looked before every turn of the loop, taken or not
            found = ending(
                lambda v: self._field(jnp.zeros((), self.dtype), v, (t, hold)),
                (lambda v: v) if hold is None else lambda v: self.kinks.project(v, here, hold),
                here,
                t.astype(self.dtype),
                scale,
                self._tolerance(atol_factor, here, here),
                lambda happens, function, otherwise: where_it_happens(happens, function, otherwise, reversible),
            )
            params = self.unravel(found.y)
            loss = jnp.asarray(self.flow.loss(params), self.dtype)
            if stop is None:
                return found, loss
            # a rule that is met in the limit is met on the way there, which is then followed, unless the velocity is error
            velocity = cache(lambda: self._field(jnp.zeros((), self.dtype), found.y, (t, hold)))
            there = moment._replace(t=jnp.full_like(t, jnp.inf), params=params, y=found.y, loss=loss, velocity=velocity)
            values = values_of(self.settings.rules, there)
            if values is None:
                return found, loss
            before = jnp.any(values < 0) & ~stop.stuck
            kept = Ending(jnp.asarray(False), here, jnp.zeros((), self.dtype), _count(-1))
            return jax.tree.map(lambda a, b: jnp.where(before, a, b), (kept, moment.loss), (found, loss))

        nothing = (Ending(jnp.asarray(False), y, jnp.zeros((), self.dtype), _count(-1)), moment.loss)
        return where_it_happens(looks, look, nothing, reversible)

    def _tolerance(self, atol_factor: Array, y0: Array, y1: Array) -> Array:
        """What the controller allows each parameter; a default where it does not say."""
        controller = innermost_controller(self._scaled(atol_factor, y0).controller)
        rtol = getattr(controller, "rtol", default_rtol(self.dtype))
        atol = getattr(controller, "atol", 1e-2 * rtol)
        rtol, atol = (jnp.asarray(tolerance, self.dtype) for tolerance in (rtol, atol))
        return jax.lax.stop_gradient(atol + rtol * jnp.maximum(jnp.abs(y0), jnp.abs(y1)))

    def _count_kinks(self, state: LaneState, passage: Passage | None, h: Array, accepted: Array, running: Array) -> dict[str, Array]:
        """What the certificate says of evaluations and kinks."""
        old, evaluations = state.certificate, max(self.step_evaluations, 0)
        names = ("num_kinks", "num_slides", "num_ambiguous_kinks", "first_kink", "last_kink")
        if passage is None:
            same = {name: getattr(old, name) for name in names}
            return same | {"num_field_evaluations": old.num_field_evaluations + jnp.where(running, evaluations, 0)}
        if not self.has_last_stage and evaluations > 0:
            evaluations += 2
        spent = jnp.where(running, evaluations + passage.evaluations, 0) if evaluations > 0 else 0
        counts = (passage.num_kinks, passage.num_slides, passage.num_ambiguous)
        found = {name: getattr(old, name) + jnp.where(accepted, n, 0) for name, n in zip(names[:3], counts, strict=True)}
        some = accepted & (passage.num_kinks > 0)
        whole = h / jnp.where(passage.shift.fraction > 0, passage.shift.fraction, 1.0)
        first, last = (state.t + (state.t_low + (s * whole).astype(self.time_dtype)) for s in (passage.shift.first, passage.last))
        found["first_kink"] = jnp.where(some & jnp.isnan(old.first_kink), first, old.first_kink)
        found["last_kink"] = jnp.where(some, last, old.last_kink)
        return found | {"num_field_evaluations": old.num_field_evaluations + spent}

    def _advance(
        self, h: Array, state: LaneState, hold: PyTree, made_jump: bool | Array
    ) -> tuple[Array, Array | None, PyTree, PyTree, dfx.RESULTS]:
        """The solver's step from local time 0 to h."""
        solver, zero = self._scaled(state.atol_factor, state.y).solver, jnp.zeros((), self.dtype)
        step = (self.term, zero, h, state.y, (state.t, hold), state.solver_state, made_jump)
        if isinstance(solver, dfx.AbstractERK) and _tableau(solver) is not None:
            return *explicit_step(solver, *step), dfx.RESULTS.successful
        return solver.step(*step)

    def _is_lost(self, h: Array, state: LaneState, y1: Array, hold: PyTree) -> Array:
        """Whether a step moves no parameter by more than its rounding although the field asks for more than the tolerance.

        Then the difference of the solver's stages is their rounding, and its error estimate means nothing. An exponential solver moves as
        little where a stiff mode is at rest, and has its own estimate of rounding.

        Args:
            h: the step.
            state: where it began.
            y1: where it ends.
            hold: gates and slides in it.

        Returns:
            A truth value.
        """
        if self.knows_velocity:
            velocity = state.solver_state[1]
        elif isinstance(self.settings.solver, dfx.AbstractImplicitSolver):
            velocity = self._field(jnp.zeros((), self.dtype), state.y, (state.t, hold))
        else:
            return jnp.asarray(False)
        y0, y1, velocity = jax.lax.stop_gradient((state.y, y1, velocity))
        unmoved = jnp.all(jnp.abs(y1 - y0) <= jnp.finfo(self.dtype).eps * jnp.abs(y0))
        return unmoved & jnp.any(jnp.abs(h * velocity) > self._tolerance(state.atol_factor, y0, y0))

    def _velocity(self, solver_state: PyTree, y: Array, t: Array) -> Array:
        if self.knows_velocity:
            return solver_state[1]
        return self._field(jnp.zeros((), self.dtype), y, (t, None))

    def read(self, stretch: Stretch, t: Float[Array, ""]) -> Float[Array, " param"]:
        """The parameters at a time within a stretch, by the solver's dense output.

        Args:
            stretch: what the last step passed.
            t: a time in it.

        Returns:
            The flat parameters.
        """
        local = jnp.clip((t - stretch.t_before).astype(self.dtype), 0.0, stretch.length)
        since = local / stretch.length
        y = self._point(stretch.length, stretch.dense, since)
        if stretch.shift is not None and self.kinks is not None:
            y = self.kinks.shifted(y, since, stretch.shift)
        return jnp.where(t >= stretch.t_after, stretch.y, y)

    def _point_at(self, h: Array, dense: PyTree, since: Array) -> Array:
        """The solver's dense output at a fraction of a step of length h."""
        curve, parts = self.settings.solver.interpolation_cls, dense.get("k")
        if not isinstance(parts, tuple):
            return curve(t0=jnp.zeros_like(h), t1=h, **dense).evaluate(since * h)
        # it is linear in both ends and the stages, so its weights are those of unit vectors
        parts = (dense["y0"], dense["y1"], *parts)
        one = jnp.eye(len(parts), dtype=self.dtype)
        unit = curve(t0=jnp.zeros_like(h), t1=jnp.ones_like(h), y0=one[0], y1=one[1], k=one[2:])
        weights = unit.evaluate(since)
        ends = weights[0] * parts[0] + weights[1] * parts[1]
        return ends + h * sum(weight * part for weight, part in zip(weights[2:], parts[2:], strict=True))


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The sum of two numbers and its rounding error (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def _count(n: int) -> Array:
    return jnp.asarray(int(n), jnp.result_type(int))
