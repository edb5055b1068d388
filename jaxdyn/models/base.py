"""The protocol of a network: a pure pair of `init` and `apply`, always in batch form."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._repr import Readable
from .._types import Params


class AbstractModel(Readable, eqx.Module):
    """A network, as a pure function of its params; mostly with a scalar output.

    Hyper-parameters (scales, multipliers) are leaves and can be vmapped and differentiated; widths and switches are
    static. A model may offer more, which the floors above look for by protocol and never by class:

    - `trainable(params)`: a pytree of Python bools, False for the leaves that the flow leaves alone;
    - `conserved(params)`: quantities that every gradient flow of the output conserves, or None; `conserved_terms(params)`: the
      terms of which each is a sum or a difference, a sequence of arrays shaped like it;
    - `slopes`: the (negative, positive) slopes of a gated model, or None where the model is not gated; where they are
      given, `preactivations(params, x, gates)` and `apply(params, x, gates)` exist, and the gates look like the
      pre-activations;
    - `neurons(params, x)`: a model with one hidden layer as `Neurons`.
    """

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray) -> Params:
        """Draw params.

        Args:
            key: a JAX random key.

        Returns:
            A pytree of arrays.
        """

    @abc.abstractmethod
    def apply(self, params: Params, x: Float[Array, "sample dim"]) -> Float[Array, "sample ..."]:
        """The network's outputs.

        Args:
            params: what `init` returned, moved or not.
            x: inputs, one row a sample.

        Returns:
            One number a sample.
        """


class Neurons(NamedTuple):
    """A model with one hidden layer, f(x_k) = sum_i outer_i act(inner_i . inputs_k).

    Attributes:
        inputs: what the neurons see of the samples, a bias's -1 included.
        inner: the weights before the activation, a plain selection of params; the neurons last, as processors like it.
        outer: the weights after it, each proportional to one param.
    """

    inputs: Float[Array, "sample input"]
    inner: Float[Array, "input hidden"]
    outer: Float[Array, " hidden"]


def trainable(model: Any, params: Params) -> Params:
    """Which leaves of the params a flow moves: what the model says, and all of them where it says nothing.

    Args:
        model: any object; its `trainable(params)` is asked if it has one.
        params: the model's params.

    Returns:
        A pytree of Python bools shaped like `params`.
    """
    if hasattr(model, "trainable"):
        return model.trainable(params)
    return jax.tree.map(lambda _: True, params)


def batch_of_inputs(x: Any, dim: int, dtype: Any) -> Float[Array, "sample dim"]:
    """Inputs in the params' dtype, checked to be a batch.

    Args:
        x: the inputs.
        dim: the number of columns that the model expects.
        dtype: the params' dtype, which the model works in.

    Returns:
        The inputs as an array of that dtype.

    Raises:
        ValueError: if the inputs are not of shape (sample, dim).
    """
    if jnp.ndim(x) != 2 or jnp.shape(x)[1] != dim:
        raise ValueError(
            f"x must have the shape (sample, {dim}), one row a sample; {jnp.shape(x)} was given: reshape x or set the model's dim."
        )
    return jnp.asarray(x, dtype=dtype)
