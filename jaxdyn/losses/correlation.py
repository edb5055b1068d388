"""A loss that is linear in the outputs: minus their correlation with the targets."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import AbstractLoss, check_shapes


class Correlation(AbstractLoss):
    """-sum_j y_j f_j: minus the neural correlation function of Kumar & Haupt (2024, arXiv:2403.08121, section 3)."""

    name: ClassVar[str] = "correlation"
    attained: ClassVar[bool] = False
    convention: ClassVar[str] = "minus the sum over samples of y f; time runs n times faster than with the mean over n samples"

    def __call__(self, f: Float[Array, "sample ..."], y: Float[Array, "sample ..."]) -> Float[Array, ""]:
        """Minus the correlation.

        Args:
            f: the network's outputs.
            y: the targets, or minus the derivative of another loss by outputs that are zero.

        Returns:
            One number, summed over samples.
        """
        check_shapes(f, y, axes=2)
        return -jnp.sum(y * f)


correlation = Correlation()
