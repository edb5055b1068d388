"""Implicit differentiation of a stationary point by whatever its flow depends on."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from .._checks import check_flag, check_number, explained
from .._repr import fields_html, text_of
from .._types import Params
from ..flows import innermost
from .checked import check_call
from .decompositions import eigh
from .metric import reciprocal, root_of_mobility
from .settings import check_params


class ImplicitDerivative(NamedTuple):
    """What a stationary point's equation says of its derivative: the normal part.

    Attributes:
        normal: the part of the derivative that is orthogonal to the manifold of stationary points, a pytree like the parameters; all of it
            where the point is isolated (`num_free` is 0), and where a gradient flow has no way along the manifold.
        rank: eigenvalues above the cut-off.
        num_free: parameters that move, less the rank: the dimension of the manifold.
        outside: the share of the force that no displacement balances, between 0 and 1; not small where the stationary point moves off,
            or the cut-off drops what matters.
        eigenvalues: of the Hessian between roots of the time scales, or of the kernel; the largest modulus first.
    """

    normal: Params
    rank: Int[Array, ""]
    num_free: Int[Array, ""]
    outside: Float[Array, ""]
    eigenvalues: Float[Array, " mode"]

    __repr__ = text_of
    _repr_html_ = fields_html


def implicit_derivative(
    flow: Any, params: Params, change: PyTree, *, cutoff: float | Array | None = None, by_kernel: bool = False
) -> ImplicitDerivative:
    r"""How a stationary point moves with its flow: the normal part $-H^+ \, \partial_\lambda \nabla \ell$, not the tangential one.

    Where the minima are a manifold (more parameters than samples) the end of training also moves along it, by an amount that depends on the
    whole way there. No equation at the end knows of that part: it takes the derivative of `jaxdyn.solve`, or `jaxdyn.tangents` for a change
    of the start. The normal part is the projection of that derivative, in the metric of the inverse time scales, and the same from every
    start that ends here.

    With time scales S^2, $d\theta = -S (S H S)^+ S \, \partial_\lambda \nabla \ell$. The Hessian is that of the smooth piece around the
    point: at an end where neurons slide, which is on the kinks, it is not the whole story.

    Args:
        flow: the flow; one of a gradient, whose Hessian is symmetric.
        params: its stationary point: parameters at which the velocity is far below the changes that matter.
        change: the derivative of the flow by what is varied, a pytree like the flow with None where nothing changes:
            `flow, change = equinox.filter_jvp(make_flow, (labels,), (direction,))`. With `jax.vmap` over several the decomposition is done
            once.
        cutoff: eigenvalues below this share of the largest modulus count as zero; by default the root of the precision's unit of rounding
            (1.5e-8 in float64), and by kernel the square of that unit times the larger of outputs and parameters.
        by_kernel: whether to take the tangent kernel's decomposition, as large as there are outputs, in place of the Hessian's, as large
            as there are parameters. Exact where the loss has its minimum over all outputs (interpolation) and no penalty; the flow needs
            `outputs(params)` and `loss_of_outputs(f)`, a loss strictly convex there.

    Returns:
        The normal part, and what it rests on.

    Raises:
        ValueError: the flow has no outputs, or has penalties, and its kernel is asked for; or the change does not fit the flow.
    """
    check_params(params)
    check_call(flow, params, (), {})
    if cutoff is not None:
        check_number("cutoff", cutoff, "a share from 0 to 1", lambda cutoff: 0 <= cutoff <= 1)
    with explained("change must be a pytree like the flow, with None where nothing changes, as equinox.filter_jvp has it"):
        eqx.filter_eval_shape(lambda flow, change: eqx.filter_jvp(lambda flow: flow.loss(params), (flow,), (change,)), flow, change)
    by_kernel = check_flag("by_kernel", by_kernel)
    if by_kernel and not (callable(getattr(flow, "outputs", None)) and callable(getattr(flow, "loss_of_outputs", None))):
        raise ValueError(f"{type(flow).__name__} has no outputs(params) and loss_of_outputs(f): leave by_kernel out.")
    if by_kernel and any(getattr(innermost(flow), penalty, None) is not None for penalty in ("weight_decay", "norm_barrier")):
        raise ValueError("the kernel knows of no penalty, and this flow has one: leave by_kernel out.")
    unravel = ravel_pytree(params)[1]
    scale = root_of_mobility(flow, params)
    values, kept, push, outside = (_by_kernel if by_kernel else _by_hessian)(flow, params, scale, change, cutoff)
    rank = jnp.sum(kept)
    return ImplicitDerivative(unravel(scale * push), rank, jnp.sum(scale > 0) - rank, outside, values)


def _by_hessian(flow: Any, params: Params, scale: Array, change: PyTree, cutoff: Any) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues, which of them are kept, the displacement in units of the scale, and the share outside."""

    def velocity(flow: Any, params: Params) -> Array:
        return ravel_pytree(flow.vector_field(jnp.zeros(()), params, None))[0]

    flat, unravel = ravel_pytree(params)
    inverse = reciprocal(scale)
    force = inverse * eqx.filter_jvp(lambda flow: velocity(flow, params), (flow,), (change,))[1]
    hessian = -inverse[:, None] * jax.jacfwd(lambda y: velocity(flow, unravel(y)))(flat) * scale[None, :]
    values, vectors = eigh((hessian + hessian.T) / 2)
    sizes = jnp.abs(values)
    kept = sizes > (jnp.sqrt(jnp.finfo(flat.dtype).eps) if cutoff is None else cutoff) * jnp.max(sizes)
    parts = vectors.T @ force
    push = vectors @ jnp.where(kept, parts / jnp.where(kept, values, 1.0), 0.0)
    return values[jnp.argsort(-sizes)], kept, push, _share(parts, ~kept)


def _by_kernel(flow: Any, params: Params, scale: Array, change: PyTree, cutoff: Any) -> tuple[Array, Array, Array, Array]:
    """The same from H = J^T D J: with D = L L^T and B = L^T J S, by the singular values of B."""
    flat, unravel = ravel_pytree(params)
    f, shaped = ravel_pytree(flow.outputs(params))
    missed = eqx.filter_jvp(lambda flow: ravel_pytree(jax.grad(flow.loss_of_outputs)(flow.outputs(params)))[0], (flow,), (change,))[1]
    root = jnp.linalg.cholesky(jax.hessian(lambda f: flow.loss_of_outputs(shaped(f)))(f))
    rows = root.T @ (jax.jacrev(lambda y: ravel_pytree(flow.outputs(unravel(y)))[0])(flat) * scale[None, :])
    left, sizes, right = jnp.linalg.svd(rows, full_matrices=False)
    values = sizes**2
    kept = values > ((max(rows.shape) * jnp.finfo(flat.dtype).eps) ** 2 if cutoff is None else cutoff) * values[0]
    wanted = -jax.scipy.linalg.solve_triangular(root, missed, lower=True)
    parts = left.T @ wanted
    push = right.T @ jnp.where(kept, parts / jnp.where(kept, sizes, 1.0), 0.0)
    return values, kept, push, jnp.linalg.norm(wanted - left @ jnp.where(kept, parts, 0.0)) / _nonzero(jnp.linalg.norm(wanted))


def _share(parts: Array, of: Array) -> Array:
    return jnp.linalg.norm(jnp.where(of, parts, 0.0)) / _nonzero(jnp.linalg.norm(parts))


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1.0, x)
