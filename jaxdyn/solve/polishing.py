"""The iteration of `polish`: a trust region around a lane's end, whose whole state is one tuple."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from .._checks import check_flag, check_positive, check_whole, is_concrete, shown
from .._repr import Readable
from .._types import Params
from .metric import reciprocal, root_of_mobility
from .newton import METHODS, Aim, newton_step
from .settings import as_limit, check_params

DENSE = 512
"""Up to so many parameters the Hessian is decomposed by default."""
GOOD, POOR, ACCEPTED = 0.75, 0.25, 1e-3
"""Gains over predicted gains from which the radius grows, below which it shrinks, and from which a step is taken."""


class Polished(Readable, eqx.Module):
    """A stationary point, or as near to it as the steps came.

    Attributes:
        params: the point.
        gradient_norm: the Euclidean norm of the loss's gradient by what moves, time scales left out.
        loss: the loss there.
        distance: the Euclidean distance from where it began.
        num_steps: steps tried.
        num_products: products with the Hessian, or columns of it, that the steps took.
        converged: whether the gradient's norm is within the tolerance.
    """

    params: Params
    gradient_norm: Float[Array, ""]
    loss: Float[Array, ""]
    distance: Float[Array, ""]
    num_steps: Int[Array, ""]
    num_products: Int[Array, ""]
    converged: Bool[Array, ""]


class PolishSettings(Readable, eqx.Module):
    """What was asked for: see `polish`. A radius that is not a number stands for the default."""

    tolerance: Float[Array, ""]
    max_steps: Int[Array, ""]
    radius: Float[Array, ""]
    saddles: bool = eqx.field(static=True)
    method: str = eqx.field(static=True)


def polish_settings(params: Params, tolerance: Any, max_steps: Any, radius: Any, saddles: bool, method: str | None) -> PolishSettings:
    """The settings, checked, with every default filled in.

    Args:
        params: of one lane, or their shapes.
        tolerance: see `polish`.
        max_steps: see `polish`.
        radius: see `polish`.
        saddles: see `polish`.
        method: see `polish`.

    Returns:
        The settings.

    Raises:
        ValueError: one makes no sense, or the precision cannot hold it.
    """
    dtype, num_params = check_params(params), sum(leaf.size for leaf in jax.tree.leaves(params))
    if method is not None and (not isinstance(method, str) or method not in METHODS):
        raise ValueError(f"method={shown(method)} must be one of {', '.join(METHODS)}, or None.")
    double = jnp.finfo(dtype).bits == 64
    if tolerance is None:
        tolerance = 1e-12 if double else 1e-4
    check_positive("tolerance", tolerance)
    check_whole("max_steps", max_steps)
    if radius is not None:
        check_positive("radius", radius)
    if is_concrete(tolerance) and not double and float(tolerance) < 1e-6:
        raise ValueError(
            f"float32 cannot hold a gradient of {float(tolerance):g}: switch on jax_enable_x64 and make the parameters float64."
        )
    return PolishSettings(
        jnp.asarray(tolerance, dtype),
        as_limit(max_steps),
        jnp.asarray(jnp.nan if radius is None else radius, dtype),
        check_flag("saddles", saddles),
        method or ("eigen" if num_params <= DENSE else "products"),
    )


class Point(NamedTuple):
    """Where the iteration stands.

    Attributes:
        z: the displacement over the root of the time scales.
        slope: the gradient by z.
        gradient: the gradient by the parameters that move.
        loss: the loss.
        radius: the trust radius.
        steps: tried so far.
        products: products with the Hessian so far.
    """

    z: Float[Array, " param"]
    slope: Float[Array, " param"]
    gradient: Float[Array, " param"]
    loss: Float[Array, ""]
    radius: Float[Array, ""]
    steps: Int[Array, ""]
    products: Int[Array, ""]


class Polishing(eqx.Module):
    """One lane that is polished.

    Attributes:
        flow: whose stationary point is sought.
        origin: the parameters to begin with, flat.
        scale: the root of the time scales there.
        size: the origin's norm in the flow's metric.
        longest: the largest trust radius.
        how: what was asked for.
        unravel: makes parameters of flat ones.
    """

    flow: Any
    origin: Float[Array, " param"]
    scale: Float[Array, " param"]
    size: Float[Array, ""]
    longest: Float[Array, ""]
    how: PolishSettings
    unravel: Callable[[Array], Params] = eqx.field(static=True)

    def __init__(self, flow: Any, params: Params, how: PolishSettings):
        """The lane.

        Args:
            flow: see the class.
            params: where to begin.
            how: see the class.
        """
        self.flow, self.how = flow, how
        self.origin, self.unravel = ravel_pytree(params)
        self.scale = root_of_mobility(flow, params)
        self.size = jnp.linalg.norm(reciprocal(self.scale) * self.origin)
        default = jnp.where(self.size > 0, 0.1 * self.size, 1.0)
        self.longest = jnp.where(jnp.isnan(how.radius), default, how.radius)

    def params(self, z: Float[Array, " param"]) -> Params:
        """The parameters at a displacement."""
        return self.unravel(self.origin + self.scale * z)

    def gradient(self, z: Float[Array, " param"]) -> Float[Array, " param"]:
        """The gradient by the parameters that move, read off the field."""
        y = self.params(z)
        velocity = ravel_pytree(self.flow.vector_field(jnp.zeros(()), y, None))[0]
        return -(reciprocal(root_of_mobility(self.flow, y)) ** 2) * velocity

    def slope(self, z: Float[Array, " param"]) -> Float[Array, " param"]:
        """The gradient by the displacement."""
        return self.scale * self.gradient(z)

    def loss(self, z: Float[Array, " param"]) -> Float[Array, ""]:
        """The loss at a displacement."""
        return jnp.asarray(self.flow.loss(self.params(z)), self.origin.dtype)

    def begin(self) -> Point:
        """The start."""
        z, none = jnp.zeros_like(self.origin), jnp.zeros_like(self.how.max_steps)
        gradient = self.gradient(z)
        return Point(z, self.scale * gradient, gradient, self.loss(z), self.longest, none, none)

    def is_running(self, at: Point) -> Bool[Array, ""]:
        """Whether another step is to be tried: the gradient is finite and too large, and the radius above the rounding."""
        eps = jnp.finfo(self.origin.dtype).eps
        wide = at.radius > 4 * eps * jnp.maximum(self.size, self.longest)
        fine = jnp.isfinite(at.loss) & jnp.all(jnp.isfinite(at.gradient))
        return (jnp.linalg.norm(at.gradient) > self.how.tolerance) & (at.steps < self.how.max_steps) & wide & fine

    def step(self, at: Point) -> Point:
        """Tries a step.

        Args:
            at: where the iteration stands.

        Returns:
            Where it stands after; at the same point with a smaller radius if the step was no good.
        """
        eps, saddles = jnp.finfo(self.origin.dtype).eps, self.how.saddles
        aim = Aim(at.radius, self.how.tolerance, self.is_running(at))
        move = newton_step(lambda z: self.slope(z), at.z, at.slope, aim, self.how.method, saddles)
        z = at.z + move.step
        loss, gradient = self.loss(z), self.gradient(z)
        slope = self.scale * gradient
        if saddles:
            gain, falls = 0.5 * (at.slope @ at.slope - slope @ slope), jnp.isfinite(loss)
        else:
            # what the rounding of a loss of these curvatures can be; below it the change of the loss is read off the slopes
            rounding = 8 * eps * (jnp.abs(at.loss) + move.size * (self.size + jnp.linalg.norm(at.z)) ** 2)
            gain = jnp.where(move.gain > 1e3 * rounding, at.loss - loss, -0.5 * move.step @ (at.slope + slope))
            falls = loss <= at.loss + rounding
        ratio = gain / move.gain
        taken = (ratio >= ACCEPTED) & falls & jnp.all(jnp.isfinite(gradient))
        length = jnp.linalg.norm(move.step)
        shorter = jnp.minimum(0.25 * jnp.where(jnp.isfinite(length), length, at.radius), at.radius)
        longer = jnp.where((ratio > GOOD) & (length > 0.8 * at.radius), jnp.minimum(2 * at.radius, self.longest), at.radius)
        return Point(
            jnp.where(taken, z, at.z),
            jnp.where(taken, slope, at.slope),
            jnp.where(taken, gradient, at.gradient),
            jnp.where(taken, loss, at.loss),
            jnp.where(taken & (ratio >= POOR), longer, shorter),
            at.steps + 1,
            at.products + move.products,
        )

    def report(self, end: Point) -> Polished:
        """What the caller gets.

        Args:
            end: where the iteration ended.

        Returns:
            The point.
        """
        norm, way = jnp.linalg.norm(end.gradient), jnp.linalg.norm(self.scale * end.z)
        return Polished(self.params(end.z), norm, end.loss, way, end.steps, end.products, norm <= self.how.tolerance)
