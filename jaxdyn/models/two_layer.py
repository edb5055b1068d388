"""Two-layer networks f(x) = (multiplier/alpha(m)) sum_i c_i act(a_i.x - b_i)."""

import math
from functools import partial, reduce
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_choice, check_count, check_flag, check_key, is_concrete, is_real, shown
from .._types import as_leaf, scalar
from .activations import Activation, activation
from .balance import balanced_split
from .base import AbstractModel, Neurons, batch_of_inputs

_ALPHA = {"one": lambda m: 1.0, "sqrt": math.sqrt, "linear": float}
_LETTERS = ("a", "b", "c")

TwoLayerParams = dict[str, Array]
"""{"a": (hidden, dim), "b": (hidden,), "c": (hidden,)}; without "b" for a network without bias."""


def _letters(trains: Any) -> tuple[str, ...]:
    if not (isinstance(trains, str) or (isinstance(trains, list | tuple) and all(isinstance(letter, str) for letter in trains))):
        raise ValueError(f"trains must name some of the letters a, b, c, each once; {shown(trains)} was given.")
    return tuple(trains)


def _interval(knots: Any) -> Array | None:
    return None if knots is None else as_leaf(knots, "knots")


class TwoLayer(AbstractModel):
    """A two-layer network f(x) = (output_multiplier / alpha(m)) sum_i c_i act(a_i.x - b_i).

    Note the minus sign: in one dimension the knot of a neuron is b/a. alpha(m) is 1, sqrt(m) (kernel scaling) or m
    (mean-field scaling) (Williams et al. 2019, arXiv:1906.07842, section 2). The params are a dict
    `{"a": (hidden, dim), "b": (hidden,), "c": (hidden,)}`, without `"b"` if `bias=False`.

    The start has three steps, each switched on by itself:

    1. Draw: every entry of a, b, c is Gaussian with standard deviation `init_scale` times `scale_a`, `scale_b`,
       `scale_c`. With `knots=(A, B)` (one dimension only) a has the modulus `init_scale * scale_a` and the sign
       `orientation` (a fair coin if None), and b = a times a knot uniform on [A, B]; `scale_b` is then not used.
    2. `balanced=True`: each neuron keeps the direction of w = (a, b), the sign of c and the product c |w|, and is split
       anew so that p c^2 - |w|^2 = `delta`, with p the activation's degree (see `balanced_split`).
    3. `antisymmetric=True`: steps 1 and 2 draw half of the neurons, the other half is a copy with c negated, so that
       f = 0 at the start, up to the rounding of the sum (Chizat, Oyallon & Bach 2019, arXiv:1812.07956).

    With `committee=True` every c is `scale_c` at the start instead: a soft committee machine (Saad & Solla 1995), whose output weights
    are mostly left out of `trains`. With `alternating=True` besides every second c is -`scale_c`, so that there are outputs of both signs
    (the network of Frei et al. 2022, arXiv:2210.07082).

    Attributes:
        width: m, the number of neurons.
        dim: the number of inputs.
        bias: whether there are biases b.
        activation: an `Activation`, given by its name.
        scaling: alpha(m): `"one"`, `"sqrt"` or `"linear"`.
        trains: the letters among a, b, c that a flow moves; `"ac"` does as well as `("a", "c")`.
        balanced: see step 2.
        antisymmetric: see step 3.
        committee: see above.
        alternating: see above.
        orientation: see step 1; +1, -1 or None.
        init_scale: multiplies the start, of all weights.
        scale_a: multiplies the start of a.
        scale_b: multiplies the start of b.
        scale_c: multiplies the start of c.
        delta: the conserved quantity of every neuron of a balanced start.
        output_multiplier: multiplies the function.
        knots: see step 1; an array of two numbers, or None.
    """

    width: int = eqx.field(static=True, converter=partial(check_count, "width"))
    dim: int = eqx.field(static=True, converter=partial(check_count, "dim"), default=1)
    bias: bool = eqx.field(static=True, converter=partial(check_flag, "bias"), default=True)
    activation: Activation = eqx.field(converter=activation, default="relu")  # pyright: ignore[reportAssignmentType]
    scaling: str = eqx.field(static=True, default="sqrt")
    trains: tuple[str, ...] = eqx.field(static=True, converter=_letters, default=_LETTERS)
    balanced: bool = eqx.field(static=True, converter=partial(check_flag, "balanced"), default=False, kw_only=True)
    antisymmetric: bool = eqx.field(static=True, converter=partial(check_flag, "antisymmetric"), default=False, kw_only=True)
    committee: bool = eqx.field(static=True, converter=partial(check_flag, "committee"), default=False, kw_only=True)
    alternating: bool = eqx.field(static=True, converter=partial(check_flag, "alternating"), default=False, kw_only=True)
    orientation: int | None = eqx.field(static=True, default=None, kw_only=True)
    init_scale: Float[Array, ""] = eqx.field(converter=scalar("init_scale"), default=1.0, kw_only=True)
    scale_a: Float[Array, ""] = eqx.field(converter=scalar("scale_a"), default=1.0, kw_only=True)
    scale_b: Float[Array, ""] = eqx.field(converter=scalar("scale_b"), default=1.0, kw_only=True)
    scale_c: Float[Array, ""] = eqx.field(converter=scalar("scale_c"), default=1.0, kw_only=True)
    delta: Float[Array, ""] = eqx.field(converter=scalar("delta"), default=0.0, kw_only=True)
    output_multiplier: Float[Array, ""] = eqx.field(converter=scalar("output_multiplier"), default=1.0, kw_only=True)
    knots: Float[Array, "2"] | None = eqx.field(converter=_interval, default=None, kw_only=True)

    def __check_init__(self):
        """Refuse settings that do not go together.

        Raises:
            ValueError: with a sentence that names the mend.
        """
        check_choice("scaling", self.scaling, tuple(_ALPHA))
        if not self.trains or not set(self.trains) <= set(_LETTERS) or len(set(self.trains)) < len(self.trains):
            raise ValueError(f"trains must name some of the letters a, b, c, each once; {self.trains} was given.")
        if not self.bias and self.trains == ("b",):
            raise ValueError("trains names only b, which bias=False leaves out; set bias=True or train a or c.")
        if self.antisymmetric and self.width % 2:
            raise ValueError(f"antisymmetric=True pairs the neurons; make width even, not {self.width}.")
        if self.balanced and self.activation.degree is None:
            raise ValueError(f"balanced=True needs a homogeneous activation such as relu, not {self.activation.name}.")
        if self.committee and (self.balanced or self.antisymmetric):
            raise ValueError("committee=True gives every neuron the same output weight; leave balanced and antisymmetric out.")
        if self.alternating and not self.committee:
            raise ValueError("alternating=True is about the output weights of a committee: set committee=True or leave it out.")
        if self.orientation is not None and not (is_real(self.orientation) and self.orientation in (1, -1)):
            raise ValueError(f"orientation must be +1, -1 or None; {shown(self.orientation)} was given.")
        if self.knots is None and self.orientation is not None:
            raise ValueError("orientation has a meaning only with knots; give knots=(A, B) or leave it out.")
        if self.knots is not None and (self.dim != 1 or not self.bias or self.knots.shape != (2,)):
            raise ValueError("knots=(A, B) takes two numbers and needs dim=1 and bias=True.")
        self._check_values()

    def _check_values(self):
        scales = (self.init_scale, self.scale_a, self.scale_b, self.scale_c, self.delta, self.output_multiplier)
        if not is_concrete(scales, self.knots):
            return
        if not all(np.all(np.isfinite(scale)) for scale in scales) or any(np.any(scale < 0) for scale in scales[:4]):
            raise ValueError("init_scale, scale_a, scale_b, scale_c must be finite and not negative, delta finite.")
        if not self.balanced and np.any(np.asarray(self.delta) != 0):
            raise ValueError("delta has a meaning only for a balanced start; set balanced=True or leave delta out.")
        directionless = (self.scale_a == 0) & ((self.scale_b == 0) | (not self.bias or self.knots is not None))
        if self.balanced and np.any(directionless):
            raise ValueError("balanced=True needs a direction for every neuron; make scale_a or scale_b positive.")
        if self.knots is not None and not (np.all(np.isfinite(self.knots)) and self.knots[0] < self.knots[1]):
            raise ValueError(f"knots=(A, B) must be finite with A < B; {tuple(map(float, self.knots))} was given.")

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The activation's slopes (below zero, above zero) if it is gated, otherwise None."""
        return self.activation.slopes

    @property
    def output_factor(self) -> Float[Array, ""]:
        """What multiplies the sum over neurons: output_multiplier / alpha(m)."""
        return self.output_multiplier / _ALPHA[self.scaling](self.width)

    def init(self, key: PRNGKeyArray) -> TwoLayerParams:
        """Draw params, as the class describes.

        Args:
            key: a JAX random key.

        Returns:
            The params, of the default float dtype.
        """
        key_a, key_b, key_c = jr.split(check_key(key), 3)
        drawn = self.width // 2 if self.antisymmetric else self.width
        if self.knots is None:
            a = self.scale_a * jr.normal(key_a, (drawn, self.dim))
            b = self.scale_b * jr.normal(key_b, (drawn,))
        else:
            coin = jr.rademacher(key_a, (drawn, 1), self.scale_a.dtype)
            a = self.scale_a * (coin if self.orientation is None else jnp.full_like(coin, self.orientation))
            b = a[:, 0] * jr.uniform(key_b, (drawn,), minval=self.knots[0], maxval=self.knots[1])
        normal = jr.normal(key_c, (drawn,))
        c = self.scale_c * normal
        if self.balanced:
            assert self.activation.degree is not None
            norm = jnp.sqrt(jnp.sum(a**2, axis=1) + (b**2 if self.bias else 0.0))
            # The direction is taken before init_scale, so that a start with c |w| = 0 and |w| > 0 exists.
            c_size, w_size = balanced_split(self.init_scale**2 * norm * c, self.delta, self.activation.degree)
            a, b, c = a * (w_size / norm)[:, None], b * (w_size / norm), jnp.where(normal < 0, -c_size, c_size)
        else:
            a, b, c = self.init_scale * a, self.init_scale * b, self.init_scale * c
        if self.committee:
            signs = jnp.where(jnp.arange(drawn) % 2 == 0, 1.0, -1.0) if self.alternating else 1.0
            c = jnp.broadcast_to(self.scale_c * signs, c.shape).astype(c.dtype)
        if self.antisymmetric:
            a, b, c = jnp.concatenate([a, a]), jnp.concatenate([b, b]), jnp.concatenate([c, -c])
        return {"a": a, "b": b, "c": c} if self.bias else {"a": a, "c": c}

    def neurons(self, params: TwoLayerParams, x: Float[Array, "sample dim"]) -> Neurons:
        """Inputs (x, -1), inner weights (a, b) and outer weights output_factor c.

        Args:
            params: the network's params.
            x: inputs, one row a sample.

        Returns:
            The network as `Neurons`.
        """
        inputs, inner = batch_of_inputs(x, self.dim, params["a"].dtype), params["a"].T
        if self.bias:
            inputs = jnp.concatenate([inputs, -jnp.ones_like(inputs[:, :1])], axis=1)
            inner = jnp.concatenate([inner, params["b"][None, :]], axis=0)
        return Neurons(inputs, inner, params["c"] * self.output_factor.astype(inner.dtype))

    def preactivations(
        self,
        params: TwoLayerParams,
        x: Float[Array, "sample dim"],
        gates: Float[Array, "sample hidden"] | None = None,
    ) -> Float[Array, "sample hidden"]:
        """What enters the activation: a_i.x - b_i.

        Args:
            params: the network's params.
            x: inputs, one row a sample.
            gates: without effect on the only hidden layer.

        Returns:
            One number a sample and neuron.

        Raises:
            ValueError: the params belong to a network of other inputs.
        """
        x, a = batch_of_inputs(x, self.dim, params["a"].dtype), params["a"]
        if a.shape[1:] != (self.dim,):
            raise ValueError(f"a must have the shape (hidden, {self.dim}) for a network of {self.dim} inputs, not {a.shape}.")
        # measured on a CPU: a matrix product with so short an inner side costs up to twice as much as the plain sum
        z = x @ a.T if self.dim > 2 else reduce(jnp.add, [x[:, k, None] * a[None, :, k] for k in range(self.dim)])
        return z - params["b"][None, :] if self.bias else z

    def apply(
        self,
        params: TwoLayerParams,
        x: Float[Array, "sample dim"],
        gates: Float[Array, "sample hidden"] | None = None,
    ) -> Float[Array, " sample"]:
        """The outputs f(x).

        Args:
            params: the network's params; the outputs have their dtype.
            x: inputs, one row a sample.
            gates: numbers in [0, 1] that the activation takes its slopes from, for gated activations; None for the
                activation itself.

        Returns:
            One number a sample.
        """
        z = self.preactivations(params, x)
        hidden = self.activation(z) if gates is None else self.activation.gated(z, gates)
        return (hidden @ params["c"]) * self.output_factor.astype(z.dtype)

    def conserved(self, params: TwoLayerParams) -> Float[Array, " hidden"] | None:
        """What every gradient flow of f conserves, neuron by neuron: p c_i^2 - |w_i|^2 with w = (a, b).

        p is the activation's degree (p = 1: Williams et al. 2019, arXiv:1906.07842, section 2).

        Args:
            params: the network's params.

        Returns:
            One number a neuron; None if the activation is not homogeneous or some of the weights are not trained.
        """
        terms = self.conserved_terms(params)
        return None if terms is None else terms[0] - terms[1]

    def conserved_terms(self, params: TwoLayerParams) -> tuple[Float[Array, " hidden"], Float[Array, " hidden"]] | None:
        """The two terms of which `conserved` is the difference: p c_i^2 and |w_i|^2.

        Args:
            params: the network's params.

        Returns:
            One number per neuron each; None where `conserved` is None.
        """
        if self.activation.degree is None or not set(params) <= set(self.trains):
            return None
        inner = jnp.sum(params["a"] ** 2, axis=1) + (params["b"] ** 2 if self.bias else 0.0)
        return self.activation.degree * params["c"] ** 2, inner

    def trainable(self, params: TwoLayerParams) -> dict[str, bool]:
        """Which leaves train.

        Args:
            params: the network's params.

        Returns:
            A dict of Python bools with the keys of the params.
        """
        return {letter: letter in self.trains for letter in params}
