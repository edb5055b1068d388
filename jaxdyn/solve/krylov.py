"""The method of Lanczos with full reorthogonalisation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .decompositions import eigh


class Krylov(NamedTuple):
    """An orthonormal basis of a Krylov space, and in it the matrix, which is tridiagonal.

    Attributes:
        basis: one vector a row; rows are 0 from where the space is exhausted.
        diagonal: of the matrix, 0 there.
        beside: what stands beside it, last the length of the vector that would come next.
    """

    basis: Float[Array, "step param"]
    diagonal: Float[Array, " step"]
    beside: Float[Array, " step"]

    def eigen(self, diagonal: Float[Array, " step"]) -> tuple[Float[Array, " step"], Float[Array, "step step"]]:
        """Eigenvalues, ascending, and eigenvectors of the matrix, with a diagonal in place of its own."""
        return eigh(jnp.diag(diagonal) + jnp.diag(self.beside[:-1], 1) + jnp.diag(self.beside[:-1], -1))


def krylov(operator: Callable[[Array], Array], start: Float[Array, " param"], num_steps: int) -> Krylov:
    """The Krylov space of a start.

    Args:
        operator: products with a symmetric matrix.
        start: where the space begins.
        num_steps: its dimension.

    Returns:
        The space.

    Reference:
        Golub & Van Loan (2013), Matrix Computations, sections 10.1 and 10.3.
    """
    dtype, size = start.dtype, jnp.linalg.norm(start)
    eps = jnp.finfo(dtype).eps

    def turn(k: Array, carry: tuple) -> tuple:
        basis, diagonal, beside = carry
        w = operator(basis[k])
        diagonal = diagonal.at[k].set(w @ basis[k])
        least = 100 * eps * jnp.linalg.norm(w)
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        length = jnp.linalg.norm(w)
        length = jnp.where(length > least, length, 0.0)
        w = jnp.where(length > 0, w / jnp.where(length > 0, length, 1.0), 0.0)
        return basis.at[k + 1].set(w, mode="drop"), diagonal, beside.at[k].set(length)

    first = jnp.where(size > 0, start / jnp.where(size > 0, size, 1.0), 0.0)
    none = jnp.zeros(num_steps, dtype)
    return Krylov(*jax.lax.fori_loop(0, num_steps, turn, (jnp.zeros((num_steps, start.size), dtype).at[0].set(first), none, none)))
