"""Losses of several outputs a sample, for classes numbered from 0."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jaxtyping import Array, Float

from .base import AbstractLoss


class CrossEntropy(AbstractLoss):
    """sum_j (log sum_k exp f_jk - f_(j y_j)), the cross-entropy of the softmax; with two classes it is the logistic loss of f_1 - f_0."""

    name: ClassVar[str] = "cross_entropy"
    attained: ClassVar[bool] = False
    convention: ClassVar[str] = (
        "sum over samples of -log softmax(f)[y], labels 0, 1, ...; time runs n times faster than with the mean over n samples"
    )
    many_outputs: ClassVar[bool] = True

    def __call__(self, f: Float[Array, "sample output"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The cross-entropy, without overflow for any outputs.

        Args:
            f: the network's outputs, a row a sample.
            y: the labels 0, 1, ..., whole numbers of any dtype; a label beyond the outputs gives NaN.

        Returns:
            One number, summed over samples.

        Raises:
            ValueError: if the shapes do not fit.
        """
        if jnp.ndim(f) != 2 or jnp.shape(y) != jnp.shape(f)[:1]:
            raise ValueError(
                f"cross_entropy takes outputs of shape (sample, output) and labels of shape (sample,); {jnp.shape(f)} and {jnp.shape(y)}"
                " were given: for one output a sample and labels -1 and +1 take logistic."
            )
        chosen = jax.nn.one_hot(y.astype(int), f.shape[1], dtype=f.dtype)
        known = jnp.sum(chosen, axis=1) * (y == jnp.round(y))
        return jnp.sum(jnp.where(known > 0, jsp.special.logsumexp(f, axis=1) - jnp.sum(chosen * f, axis=1), jnp.nan))


cross_entropy = CrossEntropy()
