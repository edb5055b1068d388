"""Gradient descent, stochastic or not: the flow in steps of a learning rate, by any optax optimiser."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt32

from .._checks import check_count, check_flag, check_function, check_key, check_not_negative, explained, is_concrete
from .._types import Params, as_leaf, as_strong
from ._sampling import has_samples, has_teacher, loss_on_fresh, loss_on_some, some_of
from .linearised import LinearisedFlow
from .protocol import AbstractWrapper, check_methods

STREAM = 0x9E3779B9
"""Folded into a lane's key, so that its samples have nothing to do with its start."""

Optimiser = Callable[[Any], optax.GradientTransformation]


class DescentState(eqx.Module):
    """What a descent remembers between steps.

    Attributes:
        step: how many were made.
        stream: what all of the lane's draws follow from.
        optimiser: optax's.
    """

    step: Int[Array, ""]
    stream: UInt32[Array, " word"]
    optimiser: PyTree


class StochasticDescent(AbstractWrapper):
    r"""Gradient descent on what a flow descends: each step moves the parameters by an optax update and time by the learning rate.

    With plain SGD $\theta \leftarrow \theta - \eta\, s \odot g$, where g is the gradient of a batch, whose expectation is that of the
    flow's loss, and s the flow's time scales, 0 where parameters are frozen. With the whole batch that is Euler's method with $h = \eta$:
    the flow of `mean_square` gives gradient descent of rate $\eta$ on half the mean of squares, that of `square` on half their sum, also
    where a batch estimates it. Any other optimiser's update is multiplied by s likewise.

    `solve` and `sweep` find `begin`, `update` and `rate` and step by these. Steps are never shortened: a lane ends with the first that
    reaches t1, at a time that may lie beyond by less than a learning rate. Between two steps it is taken to move straight.

    Whatever the flow offers besides (`outputs`, `data`, ...) is offered here too, for observables. `vector_field` and `loss` are the flow's
    own, over all samples or the population; the conserved quantities are the flow's, which a descent keeps up to its steps.

    Attributes:
        flow: a `GradientFlow` or `LinearisedFlow`, or a `PopulationFlow` or `IdentityLinkFlow`, of which each step sees new samples.
        learning_rate: $\eta$; or a function of the number of the step, as in `optax.schedules`. Time is the sum of the rates.
        optimiser: what makes an optax transformation of a learning rate: `optax.sgd`, `optax.adam`,
            `lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate, momentum=0.9))`.
        batch: samples a step; None for the gradient of all samples, or of the population.
        replacement: whether samples are drawn independently; otherwise each epoch is a new permutation, cut into batches; what is left
            over is left out. Of no use for populations.
        label_noise: standard deviation of normal numbers that are added to the labels, anew each step; None for none.

    Reference:
        Robbins & Monro (1951), A stochastic approximation method.
    """

    flow: Any
    learning_rate: Any
    optimiser: Optimiser
    label_noise: Float[Array, ""] | None
    batch: int | None = eqx.field(static=True)
    replacement: bool = eqx.field(static=True)

    def __init__(
        self,
        flow: Any,
        learning_rate: Any,
        *,
        optimiser: Optimiser = optax.sgd,
        batch: int | None = None,
        replacement: bool = False,
        label_noise: Any = None,
    ):
        """A descent of `flow`.

        Args:
            flow: see the class.
            learning_rate: see the class.
            optimiser: see the class.
            batch: see the class.
            replacement: see the class.
            label_noise: see the class.

        Raises:
            ValueError: the flow has neither samples nor teacher, or a setting makes no sense for it.
        """
        check_methods(flow)
        source = _source(flow)
        samples = source.data.num_samples if has_samples(source) else None
        if samples is None and not has_teacher(source):
            raise ValueError(f"{type(flow).__name__} has neither samples nor a teacher: give a GradientFlow or a PopulationFlow.")
        if callable(learning_rate):
            check_function("learning_rate", learning_rate, ("step",))
        else:
            learning_rate = as_leaf(learning_rate, "the learning rate")
            if learning_rate.ndim > 0:
                raise ValueError(f"the learning rate must be one number, not of shape {learning_rate.shape}: use time_scales of the flow.")
            if is_concrete(learning_rate) and not 0 < np.asarray(learning_rate) < np.inf:
                raise ValueError(f"the learning rate must be positive and finite; {learning_rate} was given.")
        _check_optimiser(optimiser)
        batch, replacement = None if batch is None else check_count("batch", batch), check_flag("replacement", replacement)
        if label_noise is not None:
            label_noise = as_leaf(label_noise, "label_noise")
            check_not_negative("label_noise", label_noise)
        if samples is None and batch is None and label_noise is not None:
            raise ValueError("the gradient of a population does not feel label_noise: give a batch.")
        if samples is not None and batch is not None:
            if batch > samples and not replacement:
                raise ValueError(f"batch={batch} is more than the {samples} samples: take batch=None for all, or replacement=True.")
            if not getattr(source.loss_function, "separable", False):
                raise ValueError(
                    "a batch needs a loss that is a sum or a mean over samples, and a plain function is not known to be: give it the "
                    "attribute separable = True, or take batch=None."
                )
        self.flow, self.learning_rate, self.optimiser = flow, learning_rate, optimiser
        self.label_noise, self.batch, self.replacement = label_noise, batch, replacement

    @property
    def wrapped(self) -> Any:
        """The flow that this one is made of."""
        return self.flow

    def __getattr__(self, name: str) -> Any:
        """What the flow offers besides."""
        if name.startswith("_") or name == "flow":
            raise AttributeError(name)
        return getattr(self.flow, name)

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return f"{self.flow.convention}; time is the sum of the learning rates of the steps"

    def init(self, key: PRNGKeyArray) -> Params:
        """A start of the flow."""
        return self.flow.init(key)

    def loss(self, y: Params) -> Float[Array, ""]:
        """The flow's loss, over all samples or the population."""
        return self.flow.loss(y)

    def vector_field(self, t: Float[Array, ""], y: Params, args: object = None) -> Params:
        """The flow's own field: minus the expected gradient, times the time scales."""
        return self.flow.vector_field(t, y, args)

    def stochastic_gradient(self, y: Params, key: PRNGKeyArray, step: Int[Array, ""]) -> Params:
        """The gradient that a step sees, without time scales.

        Args:
            y: the parameters.
            key: of the lane's samples.
            step: the number of the step; with the key it decides which samples.

        Returns:
            A pytree like `y`, zero where parameters are frozen.
        """
        source = _source(self.flow)
        if self.batch is None and self.label_noise is None:
            field = _without_time_scales(source).vector_field(jnp.zeros(()), y)
            return jax.tree.map(jnp.negative, field)
        trainable = getattr(source, "trainable", None)
        moving, still = eqx.partition(y, True if trainable is None else trainable(y))

        def loss(moving: Params) -> Array:
            params = eqx.combine(moving, still)
            if not has_samples(source):
                return loss_on_fresh(source, params, self.batch or 1, self.label_noise, jr.fold_in(key, step))
            key_draw, key_noise = jr.split(key)
            samples = source.data.num_samples
            which = None if self.batch is None else some_of(samples, self.batch, self.replacement, key_draw, step)
            return loss_on_some(source, params, which, self.label_noise, jr.fold_in(key_noise, step))

        return eqx.combine(jax.grad(loss)(moving), jax.tree.map(jnp.zeros_like, still))

    def begin(self, y: Params, key: PRNGKeyArray) -> DescentState:
        """What a lane remembers at its start.

        Args:
            y: the parameters.
            key: the lane's, from which its samples follow.

        Returns:
            The state.

        Raises:
            ValueError: the optimiser draws random numbers of its own, which would be the same in all lanes, or needs more than a gradient.
        """
        stream = jr.bits(jr.fold_in(check_key(key), STREAM), (2,), jnp.uint32)
        optimiser = self.optimiser(self._rate(jnp.asarray(0), y))
        state = optimiser.init(y)
        if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
            raise ValueError("this optimiser draws random numbers of its own, the same in all lanes: use batch and label_noise instead.")
        try:
            jax.eval_shape(optimiser.update, y, state, y)
        except TypeError as error:
            raise ValueError(f"this optimiser needs more than a gradient, which is all that a step has: {error}") from error
        return DescentState(jnp.asarray(0, jnp.result_type(int)), stream, as_strong(state))

    def rate(self, y: Params, state: DescentState) -> Float[Array, ""]:
        """The learning rate of the next step, in the precision of the parameters."""
        return self._rate(state.step, y)

    def update(self, y: Params, state: DescentState) -> tuple[Params, DescentState]:
        """One step.

        Args:
            y: the parameters.
            state: what is remembered.

        Returns:
            Both after it.
        """
        key = jr.wrap_key_data(state.stream, impl="threefry2x32")
        gradient = self.stochastic_gradient(y, key, state.step)
        updates, optimiser = self.optimiser(self.rate(y, state)).update(gradient, state.optimiser, y)
        mobility = getattr(self.flow, "mobility", None)
        if mobility is not None:
            updates = jax.tree.map(jnp.multiply, mobility(y), updates)
        moved = jax.tree.map(lambda leaf, update: leaf + jnp.asarray(update, leaf.dtype), y, updates)
        return moved, DescentState(state.step + 1, state.stream, as_strong(optimiser))

    def _rate(self, step: Int[Array, ""], y: Params) -> Float[Array, ""]:
        if not callable(self.learning_rate):
            return jnp.asarray(self.learning_rate, jnp.result_type(*jax.tree.leaves(y)))
        with explained("the schedule of the learning rate does not make a number of a step"):
            rate = jnp.asarray(self.learning_rate(step))
        if rate.shape != () or not jnp.issubdtype(rate.dtype, jnp.floating):
            raise ValueError(f"the schedule of the learning rate must return one real number, not {rate.dtype} of shape {rate.shape}.")
        return jnp.asarray(rate, jnp.result_type(*jax.tree.leaves(y)))


def _source(flow: Any) -> Any:
    """The flow whose samples, or whose teacher, a step sees: under wrappers whose state is that of the flow they wrap."""
    while isinstance(flow, LinearisedFlow) or (isinstance(flow, AbstractWrapper) and type(flow).weights is AbstractWrapper.weights):
        flow = flow.wrapped
    return flow


def _check_optimiser(optimiser: Any) -> None:
    if isinstance(optimiser, optax.GradientTransformation):
        raise ValueError(
            "the optimiser must be what makes an optax transformation of a learning rate, optax.adam and not optax.adam(0.1), so that time "
            "knows the rate."
        )
    try:
        made = optimiser(jnp.ones(()))
        said = f"made a {type(made).__name__}"
    except Exception as error:  # a user's function may raise anything
        made, said = None, f"raised {type(error).__name__}: {' '.join(str(error).split()):.100}"
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(f"the optimiser must make an optax transformation of a learning rate, as optax.sgd does, but {said}.")


def _without_time_scales(flow: Any) -> Any:
    if getattr(flow, "time_scales", None) is None:
        return flow
    return eqx.tree_at(lambda f: f.time_scales, flow, None)
