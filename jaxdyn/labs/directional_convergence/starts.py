"""Starts beside a saddle and near the origin, for networks of squared ReLU neurons whose signs are fixed: they are two-homogeneous."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ... import data, flows, losses, models
from ..._types import Params, as_leaf


class SmallStart(flows.AbstractFlow):
    r"""A gradient flow from some neurons at given weights and others of norm delta, uniform on the sphere.

    Attributes:
        flow: the gradient flow; its output weights do not move.
        large: inner weights of the neurons that come first; of shape (0, dim) where all are small.
        signs: output weights of all neurons.
        log_size: log delta.
    """

    flow: flows.GradientFlow
    large: Float[Array, "large dim"]
    signs: Float[Array, " hidden"]
    log_size: Float[Array, ""]

    def __init__(self, samples: data.Samples, large: np.ndarray, signs: np.ndarray, log_size: Any = 0.0):
        """The flow of the square loss.

        Args:
            samples: the data.
            large: see the class.
            signs: see the class.
            log_size: see the class.
        """
        model = models.TwoLayer(len(signs), samples.dim, False, "relu^2", "one", "a", committee=True)
        self.flow = flows.GradientFlow(model, losses.square, samples)
        self.large, self.signs, self.log_size = jnp.asarray(large), jnp.asarray(signs, float), as_leaf(log_size)

    def init(self, key: PRNGKeyArray) -> Params:
        """Gaussian directions of the small neurons, together of norm delta."""
        shape = (self.signs.shape[0] - self.large.shape[0], self.large.shape[1])
        small = jr.normal(key, shape)
        small *= jnp.exp(self.log_size) / jnp.linalg.norm(small)
        return {"a": jnp.concatenate([self.large, small]), "c": self.signs}

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return self.flow.convention

    def loss(self, y: Params) -> Float[Array, ""]:
        """Half the sum of squares."""
        return self.flow.loss(y)

    def outputs(self, y: Params) -> Float[Array, " sample"]:
        """The network on the samples."""
        return self.flow.outputs(y)

    def vector_field(self, t: Float[Array, ""], y: Params, args: object = None) -> Params:
        """The gradient flow's velocity.

        Args:
            t: time.
            y: the weights.
            args: unused.

        Returns:
            A pytree like `y`.
        """
        return self.flow.vector_field(t, y, None)

    def trainable(self, y: Params) -> dict[str, bool]:
        """The inner weights."""
        return self.flow.trainable(y)

    def small(self, y: Params) -> Float[Array, "small dim"]:
        """The block of small neurons."""
        return y["a"][self.large.shape[0] :]


class BlockGrown(eqx.Module):
    """Stops once the small block's norm is the square root of what it was."""

    def __call__(self, flow: SmallStart, t: Float[Array, ""], y: Params) -> Array:
        """Whether it is.

        Args:
            flow: the flow.
            t: time, unused.
            y: the weights.

        Returns:
            A truth value.
        """
        return log_norm(flow.small(y)) >= flow.log_size / 2


def log_norm(a: Array) -> Float[Array, ""]:
    """The logarithm of a norm, of entries of any smallness."""
    largest = jnp.max(jnp.abs(a))
    return jnp.log(largest) + jnp.log(jnp.linalg.norm(a / largest))
