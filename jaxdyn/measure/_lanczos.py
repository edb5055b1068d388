"""What a Krylov space tells of a spectrum, and the loss's Hessian as the operator."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Params
from ..solve import krylov
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
    space = krylov(operator, start, num_steps)
    alive = jnp.any(space.basis != 0, axis=1)
    values, vectors = space.eigen(jnp.where(alive, space.diagonal, space.diagonal[0]))
    return Ritz(values, vectors[0] ** 2, space.beside[-1] * jnp.abs(vectors[-1]))
