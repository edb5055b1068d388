"""The flow of a network's linearisation: the neural tangent kernel's model."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._checks import shown
from .._types import Params
from ..models import Taylor, trainable
from .gradient import GradientFlow
from .protocol import AbstractWrapper


class LinearisedFlow(AbstractWrapper):
    r"""The gradient flow of $f(\theta_0) + J(\theta_0)(\theta - \theta_0)$ in place of $f(\theta)$.

    With `point` the parameters are those of the network. Without it each seed is linearised around its own start: the
    parameters are then `{"now": theta, "start": theta_0}`, of which the start never moves. `LinearisedSolution` is its closed form for
    square losses.

    Attributes:
        inner: the gradient flow of the linearised model, with the loss, data, time scales and penalties of the network's.

    Reference:
        Lee et al. (2019), Wide neural networks of any depth evolve as linear models under gradient descent, eq. 5.
    """

    inner: GradientFlow

    def __init__(self, flow: GradientFlow, point: Params | None = None):
        """The linearisation of `flow` around `point`, or around each seed's own start.

        Args:
            flow: the network's flow.
            point: the parameters to linearise around; None for each start itself.

        Raises:
            ValueError: the flow is no `GradientFlow`.
        """
        if not isinstance(flow, GradientFlow):
            raise ValueError(f"a LinearisedFlow is that of a GradientFlow, not of {shown(flow)}.")
        scales, frozen, initial = flow.time_scales, flow.frozen, flow.initial
        if point is None:
            scales = None if scales is None else {"now": scales, "start": 0.0}
            frozen = tuple(f"now.{name}" for name in frozen)
            initial = None if initial is None else partial(_twice, initial)
        self.inner = GradientFlow(
            Taylor(_as_model(flow.model), point),
            flow.loss_function,
            flow.data,
            time_scales=scales,
            weight_decay=flow.weight_decay,
            norm_barrier=flow.norm_barrier,
            frozen=frozen,
            initial=initial,
            mixes_samples=flow.mixes_samples,
        )

    @property
    def wrapped(self) -> GradientFlow:
        """The flow that this one is made of."""
        return self.inner

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time: that of the network's flow."""
        return self.inner.convention

    def init(self, key: PRNGKeyArray) -> Params:
        """A start of the network, which is also the point of linearisation where none was given."""
        return self.inner.init(key)

    def loss(self, y: Params) -> Float[Array, ""]:
        """The linearised model's loss."""
        return self.inner.loss(y)

    def vector_field(self, t: Float[Array, ""], y: Params, args: PyTree | None = None) -> Params:
        """Minus the gradient of the linearised model's loss."""
        return self.inner.vector_field(t, y, args)

    def outputs(self, y: Params) -> Float[Array, " sample"]:
        """The linearised model on the samples."""
        return self.inner.outputs(y)

    def loss_of_outputs(self, f: Float[Array, " sample"]) -> Float[Array, ""]:
        """The data's part of the loss as a function of the outputs."""
        return self.inner.loss_of_outputs(f)

    @property
    def has_limit(self) -> bool:
        """Whether the flow can be expected to come to rest."""
        return self.inner.has_limit

    @property
    def separable(self) -> bool:
        """Whether the loss is a sum over samples; a plain function is not known to be."""
        return self.inner.separable

    def jacobian(self, y: Params) -> PyTree:
        """The outputs' derivatives by the parameters, each leaf with a leading axis `sample`."""
        return self.inner.jacobian(y)

    def penalty(self, y: Params) -> Float[Array, ""]:
        """The penalties that are switched on."""
        return self.inner.penalty(y)

    def mobility(self, y: Params) -> Params:
        """What multiplies minus the gradient: the time scales, 0 where parameters are frozen."""
        return self.inner.mobility(y)

    def trainable(self, y: Params) -> PyTree:
        """Which leaves move; the point of linearisation never does."""
        return self.inner.trainable(y)


class _Function(eqx.Module):
    """A network that is just a function, or has no start of its own, in the shape of a model."""

    model: Any

    def init(self, key: PRNGKeyArray) -> Params:
        raise ValueError("this model has no init(key): give the flow one, GradientFlow(..., initial=lambda key: params).")

    def apply(self, params: Params, x: Array) -> Array:
        return getattr(self.model, "apply", self.model)(params, x)

    def trainable(self, params: Params) -> PyTree:
        return trainable(self.model, params)


def _as_model(model: Any) -> Any:
    return model if callable(getattr(model, "init", None)) and callable(getattr(model, "apply", None)) else _Function(model)


def _twice(initial: Callable[[PRNGKeyArray], Params], key: PRNGKeyArray) -> Params:
    start = initial(key)
    return {"now": start, "start": start}
