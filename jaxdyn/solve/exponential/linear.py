r"""The stiff part of a flow, frozen at a point: the neural tangent kernel of its outputs, seen through the curvature of the loss.

A gradient flow of $\ell(f(\theta))$ with mobility $M = S^2$ has the field $-M J^T \nabla \ell$ and, where the network is nearly linear,
the Jacobian $L = -S (A^T A) S^{-1}$ with $A = D^{1/2} J S$ and D the loss's second derivative: the generalised Gauss-Newton matrix, of
rank n. Its eigenvectors are those of the n x n kernel $A A^T$. An integrator that is exact for L need not resolve the decay of the
residuals; any L will do as far as its order is concerned, so small eigenvalues may be left out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..._types import Params
from ..decompositions import eigh, svd
from ..krylov import krylov
from ..metric import reciprocal, root_of_mobility

NEEDS = ("outputs", "loss_of_outputs", "mobility")
"""The methods of a flow whose linear part this is."""
MANY_OUTPUTS = 600
"""Beyond so many the kernel is not formed; its largest modes are found by Golub and Kahan's bidiagonalisation."""
KRYLOV_MODES = 96
"""And so many of them."""
FEW_PARAMS = 96
"""Up to so many parameters the stiffness of a flow that offers it is formed; beyond, seen through its Krylov space from the velocity."""
STIFF_MODES = 48
"""And so many of its modes."""


class LinearPart(NamedTuple):
    r"""$L = -S (U \Lambda U^T + \lambda) S^{-1}$; parameters with S = 0 do not move.

    Attributes:
        vectors: U, columns orthonormal or zero.
        values: $\Lambda \ge 0$.
        decay: $\lambda \ge 0$, of all directions.
        scale: S, the square root of the mobility.
    """

    vectors: Float[Array, "param mode"]
    values: Float[Array, " mode"]
    decay: Float[Array, ""]
    scale: Float[Array, " param"]

    def decays(self) -> Float[Array, " direction"]:
        """Minus the eigenvalues of L: along each column of U, and last of all directions outside."""
        return jnp.append(self.values + self.decay, self.decay)

    def inverse(self) -> Float[Array, " param"]:
        """1 / S, and 0 for what does not move."""
        return reciprocal(self.scale)


def offers_kernel(flow: Any) -> bool:
    """Whether a flow is a loss of outputs.

    Args:
        flow: any flow.

    Returns:
        Whether it has all methods that are needed.
    """
    return offers_stiffness(flow) or all(callable(getattr(flow, name, None)) for name in NEEDS)


def offers_stiffness(flow: Any) -> bool:
    """Whether a flow says itself what is stiff about it."""
    return callable(getattr(flow, "stiffness", None))


def linear_part(
    flow: Any, unravel: Callable[[Array], Params], y: Float[Array, " param"], gates: Any, project: Callable[[Array], Array] | None
) -> LinearPart:
    """The linear part of a flow at a point.

    Args:
        flow: offers `outputs`, `loss_of_outputs` and `mobility`; and perhaps `jacobian`, `penalty` and `separable`.
        unravel: flat parameters to what the flow takes.
        y: the point.
        gates: `Gates` held fixed; None for a flow without kinks.
        project: takes a velocity at y onto the surfaces on which the flow slides; None where it does not slide.

    Returns:
        The linear part, without derivatives.
    """
    y = jax.lax.stop_gradient(y)
    of_model, of_loss = (None, None) if gates is None else (gates.model, gates.loss)
    held = () if of_model is None else (of_model,)
    scale = root_of_mobility(flow, unravel(y))

    def onto(v: Array) -> Array:
        return v if project is None else reciprocal(scale) * project(scale * v)

    def outputs(v: Array) -> Array:
        return flow.outputs(unravel(v), *held).astype(y.dtype)

    def loss(f: Array) -> Array:
        return flow.loss_of_outputs(f) if of_loss is None else flow.loss_of_outputs(f, of_loss)

    f = outputs(y)
    root = _root_of_curvature(loss, f, getattr(flow, "separable", False))
    if f.size <= MANY_OUTPUTS or y.size <= MANY_OUTPUTS:
        own = getattr(flow, "jacobian", None)
        rows = jax.jacrev(outputs)(y) if own is None else _ravel_rows(own(unravel(y), *held), f)
        rows = root(rows.reshape(*f.shape, y.size).astype(y.dtype)).reshape(f.size, y.size) * scale[None, :]
        vectors, values = modes_of_rows(rows if project is None else jax.vmap(onto)(rows))
    else:
        forward = jax.linearize(outputs, y)[1]
        backward = jax.linear_transpose(forward, y)
        up = jax.linear_transpose(root, f)
        residual = jax.grad(loss)(f)
        vectors, values = modes_by_krylov(
            lambda v: root(forward(scale * onto(v))),
            lambda w: onto(scale * backward(up(w)[0])[0]),
            residual,
            min(KRYLOV_MODES, f.size, y.size),
            y.size,
        )
    part = LinearPart(vectors, values, _decay(flow, unravel, y, scale), scale)
    return jax.lax.stop_gradient(part)


def stiff_part(
    flow: Any,
    unravel: Callable[[Array], Params],
    y: Float[Array, " param"],
    gates: Any,
    velocity: Array,
    project: Callable[[Array], Array] | None,
) -> LinearPart:
    """The linear part of a flow that offers `stiffness(y, gates)`, a symmetric linear map of parameters: its positive modes.

    Args:
        flow: the flow.
        unravel: flat parameters to what the flow takes.
        y: the point.
        gates: `Gates` held fixed; None for a flow without kinks.
        velocity: the field there, whose Krylov space is looked at where there are many parameters.
        project: takes a velocity at y onto the surfaces on which the flow slides; None where it does not slide.

    Returns:
        The linear part, without derivatives.
    """
    y, velocity = jax.lax.stop_gradient((y, velocity))
    own = flow.stiffness(unravel(y), gates)

    def operator(v: Array) -> Array:
        bent = ravel_pytree(own(unravel(v if project is None else project(v))))[0].astype(y.dtype)
        return bent if project is None else project(bent)

    if y.size <= FEW_PARAMS:
        values, vectors = eigh(jax.vmap(operator)(jnp.eye(y.size, dtype=y.dtype)))
    else:
        space = krylov(operator, velocity, STIFF_MODES)
        values, inside = space.eigen(space.diagonal)
        vectors = space.basis.T @ inside
    part = LinearPart(vectors, jnp.maximum(values, 0.0), jnp.zeros((), y.dtype), jnp.ones_like(y))
    return jax.lax.stop_gradient(part)


def _ravel_rows(rows: PyTree, f: Array) -> Array:
    return jnp.concatenate([leaf.reshape(f.size, -1) for leaf in jax.tree.leaves(rows)], axis=1)


def _root_of_curvature(loss: Callable[[Array], Array], f: Array, separable: bool) -> Callable[[Array], Array]:
    """The map by a root of the loss's second derivative, R with R^T R its positive part, of arrays shaped like the outputs and more."""
    if not separable:
        curvature = jax.hessian(loss)(f).reshape(f.size, f.size)
        root = _root(curvature)
        return lambda rows: (root @ rows.reshape(f.size, -1)).reshape(rows.shape)
    gradient = jax.grad(loss)
    if f.ndim == 1:
        diagonal = jnp.sqrt(jnp.maximum(jax.jvp(gradient, (f,), (jnp.ones_like(f),))[1], 0.0))
        return lambda rows: diagonal.reshape(-1, *[1] * (rows.ndim - 1)) * rows
    # one sample's outputs against each other
    probes = [jax.jvp(gradient, (f,), (jnp.zeros_like(f).at[:, k].set(1.0),))[1] for k in range(f.shape[1])]
    roots = jax.vmap(_root)(jnp.stack(probes, axis=-1))
    return lambda rows: jnp.einsum("sij,sj...->si...", roots, rows)


def _root(curvature: Float[Array, "a a"]) -> Float[Array, "a a"]:
    values, vectors = eigh((curvature + curvature.T) / 2)
    return jnp.sqrt(jnp.maximum(values, 0.0))[:, None] * vectors.T


def _decay(flow: Any, unravel: Callable[[Array], Params], y: Array, scale: Array) -> Array:
    """The curvature of the penalty, as one number: its Rayleigh quotient along what moves; the weight decay if there is no other."""
    penalty = getattr(flow, "penalty", None)
    if penalty is None:
        return jnp.zeros((), y.dtype)
    # a direction that is like no parameters in particular
    v = jnp.where(scale > 0, jnp.where(jnp.arange(y.size) % 2 == 0, 1.0, -1.0), 0.0).astype(y.dtype)
    bent = jax.jvp(jax.grad(lambda y: penalty(unravel(y)).astype(y.dtype)), (y,), (scale * v,))[1]
    return jnp.maximum((scale * v) @ bent / jnp.maximum(v @ v, 1.0), 0.0)


def modes_of_rows(rows: Float[Array, "output param"]) -> tuple[Float[Array, "param mode"], Float[Array, " mode"]]:
    """The eigenvectors and eigenvalues of A^T A, by those of A A^T where that is smaller.

    Eigenvalues that rounding has spoilt are left out, with their vectors: those below a tenth of the root of the precision times the
    largest.

    Args:
        rows: A.

    Returns:
        Vectors, in columns, and values.
    """
    outputs, params = rows.shape
    if params <= outputs:
        values, vectors = eigh(rows.T @ rows)
        return vectors, jnp.maximum(values, 0.0)
    values, left = eigh(rows @ rows.T)
    good = values > 0.1 * jnp.sqrt(jnp.finfo(rows.dtype).eps) * values[-1]
    sizes = jnp.sqrt(jnp.where(good, values, 1.0))
    return jnp.where(good[None, :], (rows.T @ left) / sizes[None, :], 0.0), jnp.where(good, values, 0.0)


def modes_by_krylov(
    forward: Callable[[Array], Array], backward: Callable[[Array], Array], start: Array, modes: int, params: int
) -> tuple[Float[Array, "param mode"], Float[Array, " mode"]]:
    """The same by Golub and Kahan's bidiagonalisation of A, with full reorthogonalisation; the large modes, as seen from `start`.

    Args:
        forward: A v, shaped like `start`.
        backward: A^T w.
        start: where to begin; the residuals, whose decay is what is stiff.
        modes: how many.
        params: the length of v.

    Returns:
        Vectors, in columns, and values.

    Reference:
        Golub & Kahan (1965), Calculating the singular values and pseudo-inverse of a matrix.
    """
    shape, dtype = start.shape, start.dtype

    def unit(v: Array, against: Array) -> tuple[Array, Array]:
        least = 100 * jnp.finfo(dtype).eps * jnp.linalg.norm(v)
        for _ in range(2):
            v = v - against.T @ (against @ v)
        size = jnp.linalg.norm(v)
        size = jnp.where(size > least, size, 0.0)
        return jnp.where(size > 0, v / jnp.where(size > 0, size, 1.0), 0.0), size

    def turn(k: Array, carry: tuple) -> tuple:
        lefts, rights, upper, lower = carry
        v, alpha = unit(backward(lefts[k].reshape(shape)), rights)
        rights = rights.at[k].set(v)
        w, beta = unit(forward(v).reshape(-1), lefts)
        return lefts.at[k + 1].set(w, mode="drop"), rights, upper.at[k].set(alpha), lower.at[k].set(beta)

    first = unit(start.reshape(-1), jnp.zeros((1, start.size), dtype))[0]
    lefts = jnp.zeros((modes, start.size), dtype).at[0].set(first)
    nothing = jnp.zeros(modes, dtype)
    _, rights, upper, lower = jax.lax.fori_loop(0, modes, turn, (lefts, jnp.zeros((modes, params), dtype), nothing, nothing))
    # A^T of the left vectors is B^T of the right ones; the last left vector, of which only beta is known, counts too
    b = jnp.zeros((modes + 1, modes), dtype).at[jnp.arange(modes), jnp.arange(modes)].set(upper)
    b = b.at[jnp.arange(1, modes + 1), jnp.arange(modes)].set(lower)
    _, values, right = svd(b)
    return rights.T @ right.T, values**2
