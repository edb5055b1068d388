"""The method of Lanczos with full reorthogonalisation, and the loss's Hessian as the operator."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Params
from ._network import which_train


class Ritz(NamedTuple):
    """What a Krylov space knows of a symmetric matrix.

    Attributes:
        values: the Ritz values, ascending.
        weights: the squares of the start's components along the Ritz vectors; they sum to 1.
        errors: bounds of the values' distances from eigenvalues.
    """

    values: Float[Array, " step"]
    weights: Float[Array, " step"]
    errors: Float[Array, " step"]


def gradient_of_trained(flow: Any, params: Params) -> tuple[Callable[[Array], Array], Float[Array, " param"]]:
    """The loss's gradient by the leaves that move, as a function of these.

    Args:
        flow: any flow.
        params: its parameters.

    Returns:
        The function, and the leaves that move, flat.

    Raises:
        ValueError: nothing moves.
    """
    moving, still = eqx.partition(params, which_train(flow, params))
    flat, unravel = ravel_pytree(moving)
    if flat.size == 0:
        raise ValueError("no parameter of this flow moves, so its loss has no Hessian: unfreeze one.")
    return jax.grad(lambda flat: flow.loss(eqx.combine(unravel(flat), still))), flat


def lanczos(operator: Callable[[Array], Array], start: Float[Array, " param"], num_steps: int) -> Ritz:
    """Ritz values in the Krylov space of a start.

    Where the space is exhausted before, what is left of the tridiagonal matrix repeats a Rayleigh quotient, at weight 0.

    Args:
        operator: products with a symmetric matrix.
        start: where the space begins; not zero.
        num_steps: its dimension.

    Returns:
        The Ritz values.

    Reference:
        Golub & Van Loan (2013), Matrix Computations, sections 10.1 and 10.3.
    """
    eps = jnp.finfo(start.dtype).eps

    def turn(k: Array, carry: tuple) -> tuple:
        basis, diagonal, beside = carry
        w = operator(basis[k])
        alive, size = jnp.any(basis[k] != 0), jnp.linalg.norm(w)
        diagonal = diagonal.at[k].set(jnp.where(alive, w @ basis[k], diagonal[0]))
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        length = jnp.linalg.norm(w)
        length = jnp.where(alive & (length > 100 * eps * size), length, 0.0)
        w = jnp.where(length > 0, w / jnp.where(length > 0, length, 1.0), 0.0)
        return basis.at[k + 1].set(w, mode="drop"), diagonal, beside.at[k].set(length)

    none = jnp.zeros(num_steps, start.dtype)
    begin = (jnp.zeros((num_steps, start.size), start.dtype).at[0].set(start / jnp.linalg.norm(start)), none, none)
    _, diagonal, beside = jax.lax.fori_loop(0, num_steps, turn, begin)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1))
    return Ritz(values, vectors[0] ** 2, beside[-1] * jnp.abs(vectors[-1]))
