"""The neural correlation function, which small homogeneous networks climb in direction, and its KKT points."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._checks import check_count, check_not_negative
from .._repr import fields_html, text_of
from .._types import Params
from ._checked import checked
from ._direction import Direction, check_homogeneous, direction_of
from ._gates import SLOTS, free_gates, neurons_of_model
from ._stationary import gates_by_gauss_newton, gates_by_neuron


class CorrelationKKT(NamedTuple):
    r"""How far a direction w is from a KKT point of max N on the sphere.

    Attributes:
        residual: $|g - \lambda w| / |g|$ for the g nearest to stationary in the generalised gradient of N, the sine of the angle between g
            and the line of w: 0 at KKT points, at most 1; 0 where g = 0.
        multiplier: $\lambda = \langle w, g \rangle$, by Euler L N(w); a KKT point is non-negative where it is.
        gates: that make g, like the pre-activations; None for networks without gates.
        num_free: of gates at zero pre-activations; what exceeds the slots stayed closed, and the residual is then an upper bound.
    """

    residual: Float[Array, ""]
    multiplier: Float[Array, ""]
    gates: PyTree | None
    num_free: Int[Array, ""]

    __repr__ = text_of
    _repr_html_ = fields_html


def _towards(direction: Direction) -> Float[Array, "sample ..."]:
    f = direction.outputs(direction.flat)
    return -jax.grad(lambda f: direction.base.loss_function(f, direction.base.data.y.astype(f.dtype)))(jnp.zeros_like(f))


def _function(direction: Direction) -> Callable[..., Float[Array, ""]]:
    towards = _towards(direction)
    return lambda flat, gates=None: jnp.vdot(towards, direction.outputs(flat, gates))


@checked
def correlation(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    r"""The neural correlation function $N(w) = \sum_i \bar y_i f_i(w)$ at the unit direction.

    $\bar y = -\partial \ell / \partial f$ at f = 0.

    Args:
        flow: a gradient flow of a homogeneous network, or one that wraps it.
        t: time, unused.
        params: of any norm above 0.

    Returns:
        One number.

    Reference:
        Kumar & Haupt (2024), arXiv:2402.09226, definition of the NCF; arXiv:2403.08121.
    """
    direction = direction_of(flow, params)
    return _function(direction)(direction.flat)


@checked
def correlation_cosine(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The cosine of the angle between the params and the gradient of N there, JAX's gradient at kinks: 1 at smooth KKT points with N > 0.

    Args:
        flow: as in `correlation`, of a homogeneous network; another is refused where all is concrete.
        t: time, unused.
        params: of any norm above 0.

    Returns:
        A number in [-1, 1]; NaN where the gradient is 0.

    Reference:
        Kumar & Haupt (2024), arXiv:2402.09226.
    """
    direction = direction_of(flow, params)
    check_homogeneous(direction)
    gradient = jax.grad(_function(direction))(direction.flat)
    gradient /= jnp.max(jnp.abs(gradient))
    return direction.flat @ gradient / jnp.linalg.norm(gradient)


@checked
def correlation_kkt(flow: Any, params: Params, zero: float = 1e-6, *, slots: int = SLOTS) -> CorrelationKKT:
    r"""How far the direction of the params is from a KKT point of max N on the sphere, $\nabla N(w) = \lambda w$.

    Maxima of networks of (leaky) ReLU lie on kinks. The gates of pre-activations that are zero are free in [0, 1], which contains Clarke's
    subdifferential, and is it where a neuron's samples at zero are linearly independent; the residual is the minimum over them. With one
    hidden layer each neuron is a convex problem, solved to rounding; in deeper networks gates of several layers are multiplied, and a
    projected Gauss-Newton method finds the least of a few local minima.

    Args:
        flow: as in `correlation`, of a homogeneous network; another is refused where all is concrete.
        params: of any norm above 0.
        zero: a pre-activation w.h counts as zero up to this times |w| |h|.
        slots: the most gates that are free, of a neuron where there is one hidden layer and otherwise of all; the nearest to zero are.

    Returns:
        The residual, and what it was found at.

    Reference:
        Kumar & Haupt (2024), arXiv:2402.09226 and 2403.08121, KKT conditions of the constrained NCF; Clarke (1983), theorem 2.5.1.
    """
    check_not_negative("zero", zero)
    check_count("slots", slots)
    direction = direction_of(flow, params)
    check_homogeneous(direction)
    base, w = direction.base, direction.flat
    gradient = jax.grad(_function(direction))
    plain = gradient(w)
    if base.slopes is None:
        return _assess(w, plain, None, jnp.zeros((), int))
    multiplier = w @ plain  # of all gates, since those at zero do not enter Euler's formula
    weights = direction.params(w)
    if neurons_of_model(base.model, weights, base.data.x) is not None:
        gates, number = gates_by_neuron(direction, _towards(direction), gradient, multiplier, zero, slots)
    else:
        free = free_gates(base.model, weights, base.data.x, zero, slots)
        gates, number = free.gates(gates_by_gauss_newton(free, lambda gates: gradient(w, gates) - multiplier * w)), free.number
    return _assess(w, gradient(w, gates), gates, number)


@checked
def correlation_kkt_residual(flow: Any, t: Float[Array, ""], params: Params, *, zero: float = 1e-6) -> Float[Array, ""]:
    """The residual of `correlation_kkt`, as an observable.

    Args:
        flow: as in `correlation`, of a homogeneous network; another is refused where all is concrete.
        t: time, unused.
        params: of any norm above 0.
        zero: as in `correlation_kkt`.

    Returns:
        A number in [0, 1].

    Reference:
        Kumar & Haupt (2024), arXiv:2402.09226.
    """
    return correlation_kkt(flow, params, zero).residual


def _assess(w: Array, gradient: Array, gates: PyTree | None, number: Array) -> CorrelationKKT:
    multiplier = w @ gradient
    norm = jnp.linalg.norm(gradient)
    residual = jnp.linalg.norm(gradient - multiplier * w) / jnp.where(norm > 0, norm, 1.0)
    return CorrelationKKT(residual, multiplier, gates, number)
