"""How far a network has left the trajectory of its linearisation at the start."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import Params
from ..flows import LinearisedFlow, LinearisedSolution
from ._checked import checked
from ._network import as_rows, innermost, network_at, norm_of_trained, relative


@checked
def function_distance_to_linearisation(
    flow: Any, t: Float[Array, ""], params: Params, start: Params, *, x: Float[ArrayLike, "point dim"] | None = None
) -> Float[Array, ""]:
    r"""The distance of the outputs from those of the linearised flow at the same time, $\|f(t) - \bar f(t)\| / \|\bar f(t) - f(0)\|$.

    Norms are Euclidean, over the samples, or over the points `x`: on the samples both functions end at the targets. The linearisation is
    that at the start and flows from there; where it is at time t, its closed form says (`jaxdyn.flows.LinearisedSolution`), so nothing
    else is integrated. Each call costs the start's Jacobian and its singular value decomposition.

    An output multiplier $\alpha$ on a network that is zero at the start, with time scales $\alpha^{-2}$, makes it fall like $1/\alpha$
    (Chizat, Oyallon & Bach 2019, arXiv:1812.07956, theorem 2.2), as $\bar f(t)$ does not depend on $\alpha$; a width n like
    $n^{-1/2}$ (Lee et al. 2019, arXiv:1902.06720, theorem 2.1).

    Args:
        flow: a `GradientFlow` of a square loss, or a flow that wraps one.
        t: time since the start.
        params: the parameters.
        start: the lane's start.
        x: inputs, one row a point, a vector being one column; None for the flow's samples.

    Returns:
        A number without unit, 0 at the start; the distance itself where the linearisation stands still.
    """
    step = _linearised_step(flow, t, start)
    points = None if x is None else as_rows(x)

    def function(at: Params) -> Array:
        return flow.outputs(at) if points is None else network_at(flow, at, points)

    first, moved = jax.jvp(function, (start,), (step,))
    return relative(jnp.linalg.norm(function(params) - first - moved), jnp.linalg.norm(moved))


@checked
def parameter_distance_to_linearisation(flow: Any, t: Float[Array, ""], params: Params, start: Params) -> Float[Array, ""]:
    r"""The distance of the parameters from the linearised flow's at the same time, $\|\theta - \bar\theta\| / \|\bar\theta - \theta_0\|$.

    Norms are Euclidean, over the parameters that train. See `function_distance_to_linearisation`: with $\alpha$ the path's length
    $\|\bar\theta - \theta_0\|$ falls like $1/\alpha$, the distance like $1/\alpha^2$, so this quotient like $1/\alpha$.

    Args:
        flow: a `GradientFlow` of a square loss, or a flow that wraps one.
        t: time since the start.
        params: the parameters.
        start: the lane's start.

    Returns:
        A number without unit, 0 at the start; the distance itself where the linearisation stands still.
    """
    step = _linearised_step(flow, t, start)
    astray = jax.tree.map(lambda here, there, path: here - there - path, params, start, step)
    return relative(norm_of_trained(flow, astray), norm_of_trained(flow, step))


def _linearised_step(flow: Any, t: Float[Array, ""], start: Params) -> Params:
    """How far the linearised parameters have come, exactly 0 at the start."""
    solution = LinearisedSolution(flow if isinstance(flow, LinearisedFlow) else innermost(flow), start)
    return jax.tree.map(jnp.subtract, solution.params(t), start)
