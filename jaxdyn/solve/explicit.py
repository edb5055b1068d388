"""An explicit Runge-Kutta step of diffrax's, unrolled.

The same tableau and error estimate as `solver.step` of a `diffrax.AbstractERK`; diffrax loops over the stages and contracts the whole
buffer of them each time, which for cheap fields costs as much again as the field (measured for Tsit5 on 384 parameters: 1.8 times six
field evaluations, against 1.2 here with all that a lane does besides).
"""

from typing import Any, cast

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from .apart import apart


def explicit_step(
    solver: dfx.AbstractERK,
    term: dfx.ODETerm,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    y0: Float[Array, " param"],
    args: PyTree,
    solver_state: PyTree,
    made_jump: bool | Bool[Array, ""],
) -> tuple[Float[Array, " param"], Float[Array, " param"], dict[str, PyTree], PyTree]:
    """One step.

    Args:
        solver: an explicit Runge-Kutta solver of diffrax.
        term: the field, on flat vectors.
        t0: the step's start.
        t1: and its end.
        y0: where it starts.
        args: passed to the field.
        solver_state: diffrax's, for a solver whose last stage is the next step's first: whether it is the first step, and that stage.
        made_jump: whether the field jumped at t0, so that the stage must be evaluated again.

    Returns:
        y1, the error estimate, the dense information (diffrax's, but `k` is a tuple of the stages' velocities, not yet times the
        step), and the solver's state.
    """
    tableau, h = cast(dfx.ButcherTableau, solver.tableau), t1 - t0
    if tableau.fsal:
        first_step, f = solver_state
        if made_jump is not False:
            f = jnp.where(made_jump, term.vf(t0, y0, args), f)
    else:
        first_step, f = None, term.vf(t0, y0, args)
    stages = [f]
    y = y0
    for row, c in zip(tableau.a_lower, tableau.c, strict=True):
        y = _move(row, h, y0, stages)
        f = term.vf(t1 if c == 1 else t0 + float(c) * h, y, args)
        stages.append(f)
    y1 = y if tableau.ssal else _move(tableau.b_sol, h, y0, stages)
    error = h * _weighted_sum(tableau.b_error, stages)
    state = (jnp.zeros_like(cast(Any, first_step)), f) if tableau.fsal else None
    return y1, error, {"y0": y0, "y1": y1, "k": tuple(stages)}, state


def _weighted_sum(row: np.ndarray, stages: list[Array]) -> Array:
    return cast(Array, sum(float(weight) * stage for weight, stage in zip(row, stages, strict=True) if weight != 0))


def _move(row: np.ndarray, h: Array, y0: Array, stages: list[Array]) -> Array:
    """The point of the next stage."""
    return apart(lambda h, y0, stages: y0 + h * _weighted_sum(row, stages), h, y0, stages)
