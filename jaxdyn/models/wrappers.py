"""Models made of functions or of other models: with an init scale, centred at their start, or their Taylor polynomials."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count, check_number, shown
from .._types import Params, scalar
from .base import AbstractModel, Neurons, trainable


def _check(model: Any) -> None:
    if isinstance(model, type) or not (callable(getattr(model, "init", None)) and callable(getattr(model, "apply", None))):
        raise ValueError(f"The model must have init(key) and apply(params, x); {shown(model)} has not.")


def _pair(model: Any, params: Params) -> Params:
    frozen = jax.tree.map(lambda _: False, params["start"])
    return {"now": trainable(model, params["now"]), "start": frozen}


class Network(AbstractModel):
    """A network of two functions, with the init scale as a setting that a sweep can vary without compiling again.

    Attributes:
        function: `function(params, x)`, the outputs for a batch of inputs.
        start: `start(key)`, the params at init scale 1.
        init_scale: multiplies every array of the start.
    """

    function: Callable[[Params, Array], Array]
    start: Callable[[PRNGKeyArray], Params]
    init_scale: Float[Array, ""] = eqx.field(converter=scalar("init_scale"), default=1.0)

    def __check_init__(self):
        """Refuse what cannot be called.

        Raises:
            ValueError: if the network or its start is not a function.
        """
        for name, call in (("function", "(params, x)"), ("start", "(key)")):
            if not callable(getattr(self, name)):
                raise ValueError(f"{name} must be a function {name}{call}, not {shown(getattr(self, name))}.")

    def init(self, key: PRNGKeyArray) -> Params:
        """Draw the start, and scale it.

        Args:
            key: a JAX random key.

        Returns:
            What `start` returns, times the init scale.
        """
        return jax.tree.map(lambda leaf: self.init_scale.astype(jnp.result_type(leaf)) * leaf, self.start(key))

    def apply(self, params: Params, x: Array) -> Float[Array, "sample ..."]:
        """The network's outputs.

        Args:
            params: what `init` returned, moved or not.
            x: inputs, the samples first.

        Returns:
            What `function` returns.
        """
        return self.function(params, x)


class Centred(AbstractModel):
    """A model minus its own start: output_multiplier (f(now; x) - f(start; x)), zero at the start.

    Inside a compiled function it is zero up to rounding, as XLA may sum the two terms in different orders. A large
    output multiplier leads to the kernel regime (Chizat, Oyallon & Bach 2019, arXiv:1812.07956: their alpha with
    f(start) = 0). The params are `{"now": theta, "start": theta_0}`; `"start"` never trains.

    Attributes:
        model: any object with `init(key)` and `apply(params, x)`.
        output_multiplier: multiplies the difference, besides the model's own.
    """

    model: Any
    output_multiplier: Float[Array, ""] = eqx.field(converter=scalar("output_multiplier"), default=1.0)

    def __check_init__(self):
        """Refuse what is no model."""
        _check(self.model)
        check_number("output_multiplier", self.output_multiplier, "finite")

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The wrapped model's slopes (below zero, above zero) if it is gated, otherwise None."""
        return getattr(self.model, "slopes", None)

    def init(self, key: PRNGKeyArray) -> Params:
        """Draw the wrapped model's params, twice the same.

        Args:
            key: a JAX random key.

        Returns:
            `{"now": theta_0, "start": theta_0}`.
        """
        start = self.model.init(key)
        return {"now": start, "start": start}

    def preactivations(self, params: Params, x: Float[Array, "sample dim"], *args: Any) -> Any:
        """The wrapped model's pre-activations at `"now"`.

        Args:
            params: the pair of params.
            x: inputs, one row a sample.
            *args: passed on.

        Returns:
            What the wrapped model returns; None if it offers none.
        """
        own = getattr(self.model, "preactivations", None)
        return None if own is None else own(params["now"], x, *args)

    def apply(self, params: Params, x: Float[Array, "sample dim"], gates: Any = None) -> Float[Array, " sample"]:
        """The centred outputs.

        Args:
            params: the pair of params.
            x: inputs, one row a sample.
            gates: gates of the wrapped model at `"now"`, for gated models; the start keeps its own.

        Returns:
            One number a sample.
        """
        extra = () if gates is None else (gates,)
        difference = self.model.apply(params["now"], x, *extra) - self.model.apply(params["start"], x)
        return difference * self.output_multiplier.astype(difference.dtype)

    def neurons(self, params: Params, x: Float[Array, "sample dim"]) -> Neurons | None:
        """The wrapped model's hidden layer at `"now"`, whose outputs differ from this model's by a constant.

        Args:
            params: the pair of params.
            x: inputs, one row a sample.

        Returns:
            The layer; None if the wrapped model offers none.
        """
        own = getattr(self.model, "neurons", None)
        found = None if own is None else own(params["now"], x)
        return found and found._replace(outer=found.outer * self.output_multiplier.astype(found.outer.dtype))

    def conserved(self, params: Params) -> Array | None:
        """The wrapped model's conserved quantities at `"now"`: subtracting a constant function changes none of them.

        Args:
            params: the pair of params.

        Returns:
            What the wrapped model returns; None if it declares nothing.
        """
        own = getattr(self.model, "conserved", None)
        return None if own is None else own(params["now"])

    def conserved_terms(self, params: Params) -> Any:
        """The terms of these quantities.

        Args:
            params: the pair of params.

        Returns:
            What the wrapped model returns; None if it declares nothing.
        """
        own = getattr(self.model, "conserved_terms", None)
        return None if own is None else own(params["now"])

    def trainable(self, params: Params) -> Params:
        """Which leaves train: those of `"now"` that the wrapped model trains, none of `"start"`.

        Args:
            params: the pair of params.

        Returns:
            A pytree of Python bools shaped like the params.
        """
        return _pair(self.model, params)


class Taylor(AbstractModel):
    r"""The Taylor polynomial of a model in its params, $\sum_{k=0}^{order} \frac{1}{k!} D^k f(p; x)[\theta - p, \dots, \theta - p]$.

    Order 1 is the linearised model, f + J d with d = theta - p, whose gradient flow has a constant neural tangent kernel (Lee et al. 2019,
    arXiv:1902.06720, eq. 5). Order 2, f + J d + 1/2 d^T H d, is the first whose kernel moves (Bai et al. 2020, Taylorized training,
    arXiv:2002.04010). With `point` given, p = point and the params are the model's own theta. With `point=None`, p is each lane's own
    start and the params are `{"now": theta, "start": theta_0}`, of which `"start"` never trains. At a kink the derivatives are JAX's:
    relu'(0) = 0.

    Attributes:
        model: any object with `init(key)` and `apply(params, x)`.
        point: the params p to expand around, or None.
        order: of the polynomial, at least 1; each order about doubles the work.
    """

    model: Any
    point: Params | None = None
    order: int = eqx.field(static=True, converter=partial(check_count, "order"), default=1)

    def __check_init__(self):
        """Refuse what is no model."""
        _check(self.model)

    def init(self, key: PRNGKeyArray) -> Params:
        """Draw the wrapped model's params, and double them if there is no point.

        Args:
            key: a JAX random key.

        Returns:
            theta_0, or `{"now": theta_0, "start": theta_0}`.
        """
        start = self.model.init(key)
        return start if self.point is not None else {"now": start, "start": start}

    def apply(self, params: Params, x: Float[Array, "sample dim"]) -> Float[Array, "sample ..."]:
        """The outputs of the Taylor polynomial.

        Args:
            params: theta, or the pair of params.
            x: inputs, one row a sample.

        Returns:
            What the wrapped model returns: one number a sample, or one row.
        """
        now, point = (params, self.point) if self.point is not None else (params["now"], params["start"])
        point = jax.tree.map(lambda here, there: jnp.asarray(there, dtype=here.dtype), now, point)
        step = jax.tree.map(jnp.subtract, now, point)
        terms = _directional(lambda theta: self.model.apply(theta, x), self.order, step)(point)
        return sum((term / math.factorial(k) for k, term in enumerate(terms[1:], start=1)), terms[0])

    def trainable(self, params: Params) -> Params:
        """Which leaves train: those that the wrapped model trains, none of `"start"`.

        Args:
            params: theta, or the pair of params.

        Returns:
            A pytree of Python bools shaped like the params.
        """
        return trainable(self.model, params) if self.point is not None else _pair(self.model, params)


def _directional(f: Callable[[Params], Array], order: int, step: Params) -> Callable[[Params], tuple[Array, ...]]:
    """The function and its derivatives along a direction, up to an order."""
    if order == 0:
        return lambda theta: (f(theta),)
    lower = _directional(f, order - 1, step)

    def higher(theta: Params) -> tuple[Array, ...]:
        values, changes = jax.jvp(lower, (theta,), (step,))
        return (*values, changes[-1])

    return higher
