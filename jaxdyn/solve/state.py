"""What a lane is made of: its settings, its state, its certificate, and the stretch that a step passed over."""

from dataclasses import replace
from typing import Any

import diffrax as dfx
import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._repr import Readable, Words, is_known, is_missing
from .kinks import Cut, KinkState, Shift, SwitchState
from .rules import AbstractStopRule


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
        largest_norm: of the parameters, Euclidean, over accepted steps.
        accumulated_error: the Euclidean norms of all steps' error estimates, summed, and with t1 = inf what the limit is off; an estimate
            of the error of the end where neighbouring solutions do not part. NaN for solvers without an estimate.
        num_kinks: gates that changed, and slides that began or ended; -1 where a gated flow was stepped plainly.
        num_slides: slides that began; -1 likewise.
        num_ambiguous_kinks: after which the solution is not unique (see docs/kinks.md); -1 likewise.
        first_kink: time of the first kink; NaN without one.
        last_kink: and of the last.
    """

    num_accepted_steps: Int[Array, ""]
    num_rejected_steps: Int[Array, ""]
    num_field_evaluations: Int[Array, ""]
    loss_start: Float[Array, ""]
    loss_end: Float[Array, ""]
    largest_loss_increase: Float[Array, ""]
    conserved_drift: Float[Array, ""]
    largest_norm: Float[Array, ""]
    accumulated_error: Float[Array, ""]
    num_kinks: Int[Array, ""]
    num_slides: Int[Array, ""]
    num_ambiguous_kinks: Int[Array, ""]
    first_kink: Float[Array, ""]
    last_kink: Float[Array, ""]

    def _in_words(self) -> "Certificate":
        missing = {"conserved_drift": "not declared", "accumulated_error": "no estimate", "first_kink": "none", "last_kink": "none"}
        words: dict[str, Any] = {name: Words(text) for name, text in missing.items() if is_missing(getattr(self, name))}
        for name in ("num_field_evaluations", "num_kinks", "num_slides", "num_ambiguous_kinks"):
            count = getattr(self, name)
            if is_known(count) and bool((count == -1).all()):
                words[name] = Words("not counted")
        return replace(self, **words)


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
        norm_start: Euclidean norm of the start.
        norm: and of y.
        next_record: index of the next record time.
        outcome: an `Outcome`, `running` while it runs.
        certificate: see there.
        kinks: gates and slides; None where no kinks are located.
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
    norm_start: Float[Array, ""]
    norm: Float[Array, ""]
    next_record: Int[Array, ""]
    outcome: Int[Array, ""]
    certificate: Certificate
    kinks: KinkState | SwitchState | None


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
