"""Feed-forward networks of any depth."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count, check_flag, check_key, shown
from .._types import scalar
from .activations import Activation, activation
from .balance import balanced_layers
from .base import AbstractModel, batch_of_inputs

MLPParams = list[dict[str, Array]]
"""One dict a layer, from the input to the output: {"w": (out, in), "b": (out,)}; "b" only with biases."""


def _widths(widths: Any) -> tuple[int, ...]:
    if not isinstance(widths, tuple | list):
        raise ValueError(f"widths must be a tuple of hidden widths, such as (50, 50); {shown(widths)} was given.")
    return tuple(check_count("each of the widths", width) for width in widths)


class MLP(AbstractModel):
    """A feed-forward network h_l = act(W_l h_(l-1) + b_l), f = output_multiplier (W_L h_(L-1) + b_L), h_0 = x.

    At the start the weights of a layer are Gaussian with variance init_scale^2/fan_in (fan_in is the number of columns
    of W_l), and the biases are 0. `init_scale` multiplies every weight, so with an activation of degree 1 it multiplies
    the output by its L-th power. The biases are added, unlike those of `TwoLayer`.

    With `balanced=True` every hidden neuron is then rescaled so that p |out|^2 = |in|^2, with p the activation's degree, and the function
    stays what it was drawn (see `balanced_layers`): `conserved` starts at 0.

    Attributes:
        widths: the hidden widths from the input on; () is a linear function.
        dim: the number of inputs.
        bias: whether every layer, the last one too, has a bias.
        outputs: numbers a sample; one number is a vector over samples, more are an array (sample, output).
        balanced: see above.
        activation: an `Activation`, given by its name.
        init_scale: multiplies the start.
        output_multiplier: multiplies the function.
    """

    widths: tuple[int, ...] = eqx.field(static=True, converter=_widths)
    dim: int = eqx.field(static=True, converter=partial(check_count, "dim"), default=1)
    bias: bool = eqx.field(static=True, converter=partial(check_flag, "bias"), default=False)
    activation: Activation = eqx.field(converter=activation, default="relu")  # pyright: ignore[reportAssignmentType]
    init_scale: Float[Array, ""] = eqx.field(converter=scalar("init_scale"), default=1.0, kw_only=True)
    output_multiplier: Float[Array, ""] = eqx.field(converter=scalar("output_multiplier"), default=1.0, kw_only=True)
    outputs: int = eqx.field(static=True, converter=partial(check_count, "outputs"), default=1, kw_only=True)
    balanced: bool = eqx.field(static=True, converter=partial(check_flag, "balanced"), default=False, kw_only=True)

    def __check_init__(self):
        """Refuse settings without a meaning.

        Raises:
            ValueError: if dim or outputs is below 1 or a scale is not finite, or the init scale negative, or a balanced start is asked of
                an activation that is not homogeneous.
        """
        if self.balanced and self.activation.degree is None:
            raise ValueError(f"balanced=True needs a homogeneous activation such as relu, not {self.activation.name}.")
        scales = (self.init_scale, self.output_multiplier)
        if any(isinstance(scale, Tracer) for scale in scales):
            return
        if not all(np.all(np.isfinite(scale)) for scale in scales) or np.any(self.init_scale < 0):
            raise ValueError("init_scale must be finite and not negative, output_multiplier finite.")

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The activation's slopes (below zero, above zero) if it is gated and there is a hidden layer, otherwise None."""
        return self.activation.slopes if self.widths else None

    def init(self, key: PRNGKeyArray) -> MLPParams:
        """Draw params, as the class describes.

        Args:
            key: a JAX random key.

        Returns:
            The params, of the default float dtype.
        """
        sizes = (self.dim, *self.widths, self.outputs)
        layers = []
        for layer_key, fan_in, fan_out in zip(jr.split(check_key(key), len(sizes) - 1), sizes[:-1], sizes[1:], strict=True):
            # Balance does not depend on a common factor, so the init scale comes after it: it may be 0, and reverse-mode derivatives exist.
            scale = 1.0 if self.balanced else self.init_scale
            layer = {"w": scale / fan_in**0.5 * jr.normal(layer_key, (fan_out, fan_in))}
            if self.bias:
                layer["b"] = jnp.zeros_like(layer["w"][:, 0])
            layers.append(layer)
        if not self.balanced:
            return layers
        assert self.activation.degree is not None
        return jax.tree.map(lambda leaf: self.init_scale * leaf, balanced_layers(layers, self.activation.degree))

    def _forward(self, params: MLPParams, x: Array, gates: tuple[Array, ...] | None) -> tuple[tuple[Array, ...], Array]:
        if gates is not None and len(gates) != len(self.widths):
            raise ValueError(f"gates must hold one array a hidden layer, {len(self.widths)} in all, not {len(gates)}.")
        h, preactivations = batch_of_inputs(x, self.dim, params[0]["w"].dtype), []
        for index, layer in enumerate(params):
            z = h @ layer["w"].T + layer["b"][None, :] if self.bias else h @ layer["w"].T
            if index == len(self.widths):
                f = z[:, 0] if self.outputs == 1 else z
                return tuple(preactivations), f * self.output_multiplier.astype(z.dtype)
            preactivations.append(z)
            h = self.activation(z) if gates is None else self.activation.gated(z, gates[index])
        raise ValueError(f"params must hold {len(self.widths) + 1} layers, as init gives them, not {len(params)}.")

    def preactivations(
        self,
        params: MLPParams,
        x: Float[Array, "sample dim"],
        gates: tuple[Float[Array, "sample _"], ...] | None = None,
    ) -> tuple[Float[Array, "sample _"], ...]:
        """What enters the activation in each hidden layer.

        Args:
            params: the network's params.
            x: inputs, one row a sample.
            gates: as in `apply`; with them the pre-activations of the deeper layers are smooth in the params.

        Returns:
            One array (sample, width) a hidden layer.
        """
        return self._forward(params, x, gates)[0]

    def apply(
        self,
        params: MLPParams,
        x: Float[Array, "sample dim"],
        gates: tuple[Float[Array, "sample _"], ...] | None = None,
    ) -> Float[Array, "sample ..."]:
        """The outputs f(x).

        Args:
            params: the network's params; the outputs have their dtype.
            x: inputs, one row a sample.
            gates: for gated activations, one array (sample, width) of numbers in [0, 1] a hidden layer, which the
                activation takes its slopes from; None for the activation itself.

        Returns:
            One number a sample, or one row where there are several outputs.
        """
        return self._forward(params, x, gates)[1]

    def conserved(self, params: MLPParams) -> Float[Array, " hidden"] | None:
        """What every gradient flow of f conserves, hidden neuron by hidden neuron: p |out|^2 - |in|^2.

        |out| is the norm of the weights that leave the neuron, |in| that of those that enter it, the bias among them;
        p is the activation's degree (p = 1: Du, Hu & Lee 2018, arXiv:1806.00900, theorem 2.1).

        Args:
            params: the network's params.

        Returns:
            One number a hidden neuron, layer after layer; None if the activation is not homogeneous or there is no
            hidden layer.
        """
        terms = self.conserved_terms(params)
        return None if terms is None else terms[0] - terms[1]

    def conserved_terms(self, params: MLPParams) -> tuple[Float[Array, " hidden"], Float[Array, " hidden"]] | None:
        """The two terms of which `conserved` is the difference: p |out|^2 and |in|^2.

        Args:
            params: the network's params.

        Returns:
            One number a hidden neuron each; None where `conserved` is None.
        """
        if self.activation.degree is None or not self.widths:
            return None
        outer, inner = [], []
        for layer, following in zip(params[:-1], params[1:], strict=True):
            inner.append(jnp.sum(layer["w"] ** 2, axis=1) + (layer["b"] ** 2 if self.bias else 0.0))
            outer.append(self.activation.degree * jnp.sum(following["w"] ** 2, axis=0))
        return jnp.concatenate(outer), jnp.concatenate(inner)

    def trainable(self, params: MLPParams) -> list[dict[str, bool]]:
        """Which leaves train: all of them.

        Args:
            params: the network's params.

        Returns:
            A pytree of Python bools shaped like the params.
        """
        return jax.tree.map(lambda _: True, params)
