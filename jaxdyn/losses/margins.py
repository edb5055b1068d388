"""Losses of the margin y f, for labels -1 and +1."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import AbstractLoss, check_shapes

_FAR = -37.0
"""Below this log(softplus(z)) is z, to rounding in float64: the next term is -e^z / 2."""


def _log_softplus(z: Float[Array, " sample"]) -> Float[Array, " sample"]:
    """log(log(1 + e^z)), about z far below zero."""
    near = jnp.maximum(z, _FAR)
    return jnp.where(z > _FAR, jnp.log(jax.nn.softplus(near)), z)


class Logistic(AbstractLoss):
    """sum_j log(1 + exp(-y_j f_j)); Min, Mallada & Vidal 2023 (arXiv:2307.12851) take twice this."""

    name: ClassVar[str] = "logistic"
    signs: ClassVar[bool] = True
    attained: ClassVar[bool] = False
    convention: ClassVar[str] = (
        "sum over samples of log(1 + exp(-y f)), labels -1 and +1; time runs n times faster than with the mean over n"
        " samples and half as fast as with 2 log(1 + exp(-y f))"
    )

    def __call__(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The logistic loss, without overflow for any margin.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number, summed over samples.
        """
        check_shapes(f, y)
        return jnp.sum(jax.nn.softplus(-y * f))

    def log(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The logarithm of the loss, which neither overflows nor underflows, and whose derivatives do not either.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number.
        """
        check_shapes(f, y)
        return jax.nn.logsumexp(_log_softplus(-y * f))


class Exponential(AbstractLoss):
    """sum_j exp(-y_j f_j) (Min, Mallada & Vidal 2023, arXiv:2307.12851)."""

    name: ClassVar[str] = "exponential"
    signs: ClassVar[bool] = True
    attained: ClassVar[bool] = False
    convention: ClassVar[str] = (
        "sum over samples of exp(-y f), labels -1 and +1; time runs n times faster than with the mean over n samples"
    )

    def __call__(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The exponential loss; margins below about -709 (float64) or -88 (float32) overflow to infinity.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number, summed over samples.
        """
        check_shapes(f, y)
        return jnp.sum(jnp.exp(-y * f))

    def log(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The logarithm of the loss, which neither overflows nor underflows, and whose derivatives do not either.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number.
        """
        check_shapes(f, y)
        return jax.nn.logsumexp(-y * f)


class Hinge(AbstractLoss):
    """sum_j max(0, 1 - y_j f_j), with a kink where the margin y_j f_j is 1."""

    name: ClassVar[str] = "hinge"
    signs: ClassVar[bool] = True
    convention: ClassVar[str] = (
        "sum over samples of max(0, 1 - y f), labels -1 and +1; time runs n times faster than with the mean over n samples"
    )

    def __call__(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The hinge loss, with derivative 0 at the kink.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number, summed over samples.
        """
        return jnp.sum(jax.nn.relu(self.switches(f, y)))

    def switches(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, " sample"]:
        """What changes its sign at a kink: 1 - y f.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number a sample.
        """
        check_shapes(f, y)
        return 1 - y * f

    def gated(self, f: Float[Array, " sample"], y: Float[Array, " sample"], gates: Float[Array, " sample"]) -> Float[Array, ""]:
        """The loss with its slopes taken from gates, linear in f.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.
            gates: numbers in [0, 1], 1 for samples within the margin.

        Returns:
            One number, summed over samples.
        """
        return gates @ self.switches(f, y)


class SquaredHinge(AbstractLoss):
    """sum_j max(0, 1 - y_j f_j)^2; its derivative is continuous, so the flow has no kinks where the margin y_j f_j is 1."""

    name: ClassVar[str] = "squared_hinge"
    signs: ClassVar[bool] = True
    convention: ClassVar[str] = (
        "sum over samples of max(0, 1 - y f)^2, labels -1 and +1; time runs n times faster than with the mean over n samples and twice as"
        " fast as with 1/2 max(0, 1 - y f)^2"
    )

    def __call__(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The squared hinge loss.

        Args:
            f: the network's outputs.
            y: the labels -1 and +1.

        Returns:
            One number, summed over samples.
        """
        check_shapes(f, y)
        return jnp.sum(jax.nn.relu(1 - y * f) ** 2)


logistic = Logistic()
exponential = Exponential()
hinge = Hinge()
squared_hinge = SquaredHinge()
