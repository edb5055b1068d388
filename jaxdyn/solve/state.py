"""What a lane is made of: its settings, its state, its certificate, and the stretch that a step passed over."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._repr import Readable, Words, is_known, is_missing
from .kinks import Cut, KinkState, Shift, SwitchState
from .rules import AbstractStopRule, Moment, Pace


class AbstractGiveUp(eqx.Module):
    """When a lane is given up to another solver: a rule, and the steps at which it is asked."""

    @abstractmethod
    def is_marked(self, num_steps: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the time after so many steps of the solver is noted."""

    @abstractmethod
    def __call__(self, moment: Moment, projected: Float[Array, ""]) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        """Whether the lane is given up.

        Args:
            moment: where it stands.
            projected: the certificate's `projected_steps`.

        Returns:
            A truth value, and that number as it is now.
        """


class Settings(Readable, eqx.Module):
    """How a lane is solved; all numbers are leaves, so that none of them recompiles.

    Attributes:
        solver: a diffrax solver.
        controller: a diffrax step-size controller, with its tolerances.
        rules: stop rules, the first that is met gives the outcome.
        t1: end time.
        dt0: first step; None lets the controller choose.
        max_steps: accepted and rejected steps allowed.
        norm_bound: a Euclidean norm, relative to 1 + that of the start, beyond which the lane has diverged.
        locate_kinks: whether to step through the kinks of gated models instead of over them (static).
        checkpoints: states kept for reverse-mode derivatives; None for forward-mode ones (static).
        limit_after: the lane ends in its limit, at a time after this one; None for one that ends at t1.
        gives_up: when the lane ends as `too_stiff`, for another solver; None for a solver that the caller named.
        atol_follows: whether the absolute tolerance is multiplied by the lane's `atol_factor`; None for a controller that the caller made.
        root_finder_follows: whether that of an implicit solver's root finder is too (static).
    """

    solver: dfx.AbstractSolver
    controller: dfx.AbstractStepSizeController
    rules: tuple[AbstractStopRule, ...]
    t1: Float[Array, ""]
    dt0: Float[Array, ""] | None
    max_steps: Int[Array, ""]
    norm_bound: Float[Array, ""]
    locate_kinks: bool = eqx.field(static=True, default=True)
    checkpoints: int | None = eqx.field(static=True, default=None)
    limit_after: Float[Array, ""] | None = None
    gives_up: AbstractGiveUp | None = None
    atol_follows: Bool[Array, ""] | None = None
    root_finder_follows: bool = eqx.field(static=True, default=False)

    def scaled(self, factor: Float[Array, ""], floor: Float[Array, ""]) -> "Settings":
        """The settings of a lane, with the absolute tolerances that follow its start.

        Args:
            factor: the lane's `atol_factor`.
            floor: what they do not fall below: an error below the rounding of the largest parameter has no meaning.

        Returns:
            The settings; the same where every absolute tolerance was given by the caller.
        """
        places: list[Callable[[Any], Array]] = []
        if self.atol_follows is not None:
            places.append(lambda s: s.controller.atol)
        if self.root_finder_follows:
            places.append(lambda s: s.solver.root_finder.atol)
        settings = self
        for place in places:
            old = place(settings)
            settings = eqx.tree_at(place, settings, jnp.maximum(old * factor.astype(old.dtype), floor.astype(old.dtype)))
        return settings


class Certificate(Readable, eqx.Module):
    """What makes a lane trustworthy, gathered along the way.

    Attributes:
        num_accepted_steps: steps taken.
        num_rejected_steps: steps tried and thrown away.
        num_field_evaluations: of the vector field; -1 where they cannot be counted, as with the Newton iterations of implicit solvers.
        loss_start: the flow's loss at the start.
        loss_end: and at the end.
        largest_loss_increase: between two accepted steps (an exact gradient flow has none); 0 if it never rose.
        conserved_drift: largest absolute change of any conserved quantity since the start; NaN if the flow declares none.
        unresolved_since: the first time at which a conserved quantity was below the rounding of its terms, so that the parameters no longer
            determine it: eps times the largest term exceeds its absolute value at the start. Infinity if that never happened, NaN if the
            flow declares no `conserved_terms`. See `conserved.py` for quantities that are zero.
        saddle_index: the number of negative eigenvalues of the Hessian, in the parameters that move, where a lane with t1 = inf came to
            rest: 0 at the limit that was claimed, positive where the outcome is `saddle`; -1 if no limit was reached. Above 256
            parameters it is a lower bound.
        largest_norm: of the parameters, Euclidean, over accepted steps.
        accumulated_error: the Euclidean norms of all steps' error estimates, summed, and with t1 = inf what the limit is off; an estimate
            of the error of the end where neighbouring solutions do not part. NaN for solvers without an estimate.
        num_kinks: gates that changed, and slides that began or ended; -1 where a gated flow was stepped plainly.
        num_slides: slides that began; -1 likewise.
        num_ambiguous_kinks: after which the solution is not unique (see docs/kinks.md); -1 likewise.
        first_kink: time of the first kink; NaN without one.
        last_kink: and of the last.
        projected_steps: of a lane for which jaxdyn replaced Tsit5, the further steps that Tsit5 was estimated to need; of one that came
            back to it, what KernelExponential was estimated to cost, in steps of Tsit5; infinity where that was for good; NaN for others.
    """

    num_accepted_steps: Int[Array, ""]
    num_rejected_steps: Int[Array, ""]
    num_field_evaluations: Int[Array, ""]
    loss_start: Float[Array, ""]
    loss_end: Float[Array, ""]
    largest_loss_increase: Float[Array, ""]
    conserved_drift: Float[Array, ""]
    unresolved_since: Float[Array, ""]
    saddle_index: Int[Array, ""]
    largest_norm: Float[Array, ""]
    accumulated_error: Float[Array, ""]
    num_kinks: Int[Array, ""]
    num_slides: Int[Array, ""]
    num_ambiguous_kinks: Int[Array, ""]
    first_kink: Float[Array, ""]
    last_kink: Float[Array, ""]
    projected_steps: Float[Array, ""]

    def _in_words(self) -> "Certificate":
        missing = {
            "conserved_drift": "not declared",
            "accumulated_error": "no estimate",
            "first_kink": "none",
            "last_kink": "none",
            "projected_steps": "none",
            "unresolved_since": "not declared",
        }
        words: dict[str, Any] = {name: Words(text) for name, text in missing.items() if is_missing(getattr(self, name))}
        for name in ("num_field_evaluations", "num_kinks", "num_slides", "num_ambiguous_kinks"):
            count = getattr(self, name)
            if is_known(count) and bool((count == -1).all()):
                words[name] = Words("not counted")
        return replace(self, **words)


class Stillness(eqx.Module):
    """The step from which it is measured whether the trajectory still moves as its velocity says.

    Attributes:
        speed: the Euclidean norm of the velocity there.
        t: the time.
        y: the parameters.
        steps: accepted steps since.
    """

    speed: Float[Array, ""]
    t: Float[Array, ""]
    y: Float[Array, " param"]
    steps: Int[Array, ""]


class Stops(eqx.Module):
    """What stop rules need to know of earlier steps.

    Attributes:
        aim: the index of the rule at whose zero the next step is meant to end; -1 for an ordinary step.
        tries: steps in a row that had to be repeated or ended beside the zero.
        size: the length of the last step that passed a zero, from which step sizes continue.
        stillness: see there; None where no rule asks.
    """

    aim: Int[Array, ""]
    tries: Int[Array, ""]
    size: Float[Array, ""]
    stillness: Stillness | None


class LaneState(Readable, eqx.Module):
    """Everything that a lane's future depends on.

    Attributes:
        t: time; `t + t_low` to twice the precision.
        t_low: the low part.
        step_size: the next step to try.
        y: the parameters as one flat vector.
        solver_state: diffrax's.
        controller_state: diffrax's.
        made_jump: diffrax's.
        rejections: in a row.
        conserved: conserved quantities at the start, flat (empty if there are none).
        resolvable: the absolute values of these; infinity where they are zero, empty where the flow declares no `conserved_terms`.
        norm_start: Euclidean norm of the start.
        norm: and of y.
        atol_factor: what multiplies absolute tolerances that the caller left out: the largest absolute entry of what moves of the start, at
            most 1.
        pace: how the solver came here, see there.
        next_record: index of the next record time.
        outcome: an `Outcome`, `running` while it runs.
        certificate: see there.
        kinks: gates and slides; None where no kinks are located.
        stops: None for a lane without stop rules, and in a solution, whose next call may have others.
    """

    t: Float[Array, ""]
    t_low: Float[Array, ""]
    step_size: Float[Array, ""]
    y: Float[Array, " param"]
    solver_state: PyTree
    controller_state: PyTree
    made_jump: Bool[Array, ""]
    rejections: Int[Array, ""]
    conserved: Float[Array, " quantity"]
    resolvable: Float[Array, " quantity"]
    norm_start: Float[Array, ""]
    norm: Float[Array, ""]
    atol_factor: Float[Array, ""]
    pace: Pace
    next_record: Int[Array, ""]
    outcome: Int[Array, ""]
    certificate: Certificate
    kinks: KinkState | SwitchState | None
    stops: Stops | None = None


class Stretch(eqx.Module):
    """The piece of trajectory that a step passed over, as dense output.

    Attributes:
        t_before: time at its start.
        t_after: time at its end, equal to `t_before` where nothing was accepted.
        length: the solver's local time ran from 0 to this; a kink may have ended the step before.
        y: the parameters at its end.
        dense: diffrax's dense information; an explicit solver's `k` as its stages, see `explicit_step`.
        shift: what kinks added to it; None where none are located.
        error: the solver's estimate of the step's error; None where it has none.
    """

    t_before: Float[Array, ""]
    t_after: Float[Array, ""]
    length: Float[Array, ""]
    y: Float[Array, " param"]
    dense: PyTree
    shift: Shift | Cut | None
    error: Float[Array, " param"] | None
