"""Square losses, for regression; with several outputs a sample the squares are summed over these."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import AbstractLoss, check_shapes


class Square(AbstractLoss):
    """1/2 sum_j (f_j - y_j)^2 (Williams et al. 2019, arXiv:1906.07842, section 2)."""

    name: ClassVar[str] = "square"
    convention: ClassVar[str] = "1/2 sum over samples of (f - y)^2; time runs n times faster than with mean_square for n samples"

    def __call__(self, f: Float[Array, "sample ..."], y: Float[Array, "sample ..."]) -> Float[Array, ""]:
        """Half the sum of squares.

        Args:
            f: the network's outputs.
            y: the targets.

        Returns:
            One number, summed over samples, with the 1/2.
        """
        check_shapes(f, y, axes=2)
        return 0.5 * jnp.sum((f - y) ** 2)


class MeanSquare(AbstractLoss):
    """1/2 mean_j (f_j - y_j)^2 (Chizat, Oyallon & Bach 2019, arXiv:1812.07956)."""

    name: ClassVar[str] = "mean_square"
    convention: ClassVar[str] = "1/2 mean over samples of (f - y)^2; time runs n times slower than with square for n samples"

    def __call__(self, f: Float[Array, "sample ..."], y: Float[Array, "sample ..."]) -> Float[Array, ""]:
        """Half the mean of squares.

        Args:
            f: the network's outputs.
            y: the targets.

        Returns:
            One number, averaged over samples, with the 1/2.
        """
        check_shapes(f, y, axes=2)
        return 0.5 * jnp.sum((f - y) ** 2) / f.shape[0]


square = Square()
mean_square = MeanSquare()
