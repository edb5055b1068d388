"""Why a lane ended."""

from enum import IntEnum


class Outcome(IntEnum):
    """The fate of a lane; stored with every lane, never raised.

    `running` is a lane that was paused and can go on. `saddle` comes with the index in `certificate.saddle_index`.
    """

    running = 0
    t1_reached = 1
    converged = 2
    stopped = 3
    diverged = 4
    step_too_small = 5
    max_steps = 6
    not_finite_at_start = 7
    too_stiff = 8
    saddle = 9
    root_find_failed = 10
    tolerance_reached = 11

    @property
    def message(self) -> str:
        """What it means, in a sentence."""
        return _MESSAGES[self]


_MESSAGES = {
    Outcome.running: "The lane was paused; solve it on from its state.",
    Outcome.t1_reached: "The end time was reached.",
    Outcome.converged: "A rule for convergence (gradient norm, steady direction) was met.",
    Outcome.stopped: "A stop rule (loss, user's own) was met.",
    Outcome.diverged: "The parameters left every bound or were about to: a blow-up in finite time, or steps that are too long.",
    Outcome.step_too_small: "The step size fell below what the time can hold: a singular or chattering field.",
    Outcome.max_steps: "The allowed number of steps was used up before the end time.",
    Outcome.not_finite_at_start: "The start, its loss or its velocity is not finite.",
    Outcome.too_stiff: "The solver would take too long for the time that is left; another one restarts the lane.",
    Outcome.saddle: "The flow rests at a saddle point: no displacement along the negative curvature of the loss is left above rounding.",
    Outcome.root_find_failed: "The implicit solver could not solve its equations at any step size that time can hold.",
    Outcome.tolerance_reached: "The gradient norm no longer falls: what is left of it is error of the solver at these tolerances.",
}
