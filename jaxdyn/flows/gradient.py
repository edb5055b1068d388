"""Gradient flow of an empirical loss, for any network given as a pure function."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._checks import check_flag, check_key, explained
from .._types import Params
from ..data import Samples, check_labels
from ..data.base import check_samples
from ..models import Neurons, trainable
from ._arguments import check_initial, check_loss, check_model, check_outputs, names_of, penalty_of, scaled, scales_of
from .base import AbstractFlow
from .gates import Gates, gated_loss, has_loss_kinks


class GradientFlow(AbstractFlow):
    r"""The flow $\dot\theta_k = -s_k \, \partial_k \ell(\theta)$ of a network on samples.

    $\ell$ is `loss_function(f(X), y)` plus the penalties that are switched on: weight decay
    $\frac{\lambda}{2} \|\theta\|^2$ and the norm barrier
    $\frac13 \max(0, \tfrac12\|\theta\|^2 - \tfrac12 R^2)^3$, which is twice differentiable and zero inside the ball of
    radius $R$ (it keeps runs bounded whose minimum is at infinity). Penalties act on the parameters that move.

    One unit of time is what the loss says it is: see `convention`.

    Attributes:
        model: an object with `apply(params, x)` and, for seeds, `init(key)`; or just such a function `apply`.
        loss_function: `loss_function(f, y) -> scalar`, f and y of shape (sample,).
        data: the samples.
        time_scales: s, a pytree prefix of the parameters (one number a leaf, say `{"a": 1.0, "b": 1.0, "c": 0.1}`), zero or positive:
            a negative one would ascend the loss; None is 1.
        weight_decay: $\lambda$, zero or positive: below zero the loss would have no minimum; None is none.
        norm_barrier: $R$, zero or positive; None is none.
        frozen: names of parameters that do not move, as paths from the root (`"a"`, `"0.w"`); a whole subtree by its head.
        initial: `init(key)` for a model that is just a function.
        mixes_samples: whether an output depends on other samples than its own (batch normalisation); Jacobians then cost sample times the
            work. `solve`, `sweep` and the measures of the kernel refuse a network that mixes samples and does not say so.

    Reference:
        Simsek, Brea, et al. (MLPGradientFlow, 2023) for the barrier's purpose; theory of gradient flow in the papers of each lab.
    """

    model: Any
    loss_function: Callable[[Array, Array], Array]
    data: Samples
    time_scales: PyTree | None = None
    weight_decay: Float[Array, ""] | None = None
    norm_barrier: Float[Array, ""] | None = None
    frozen: tuple[str, ...] = eqx.field(static=True, default=())
    initial: Callable[[PRNGKeyArray], Params] | None = eqx.field(static=True, default=None)
    mixes_samples: bool = eqx.field(static=True, default=False)

    def __init__(
        self,
        model: Any,
        loss_function: Callable[[Array, Array], Array],
        data: Samples,
        *,
        time_scales: PyTree | None = None,
        weight_decay: float | Array | None = None,
        norm_barrier: float | Array | None = None,
        frozen: tuple[str, ...] = (),
        initial: Callable[[PRNGKeyArray], Params] | None = None,
        mixes_samples: bool = False,
    ):
        """A flow of `model` under `loss_function` on `data`.

        A `ValueError` is raised where the model is neither a function nor has `apply`, the loss cannot be called, data are no
        samples, their targets are not -1 and +1 where the loss asks for such labels, or a penalty or a time scale is negative.

        Args:
            model: see the class.
            loss_function: see the class.
            data: see the class.
            time_scales: see the class.
            weight_decay: see the class.
            norm_barrier: see the class.
            frozen: see the class.
            initial: see the class.
            mixes_samples: see the class.
        """
        check_model(model)
        check_loss(loss_function)
        check_samples(data, "the data")
        check_initial(initial)
        if getattr(loss_function, "signs", False):
            check_labels(data)
        self.model, self.loss_function, self.data = model, loss_function, data
        self.time_scales = scales_of(time_scales)
        self.weight_decay, self.norm_barrier = penalty_of("weight_decay", weight_decay), penalty_of("norm_barrier", norm_barrier)
        self.frozen, self.initial, self.mixes_samples = names_of(frozen), initial, check_flag("mixes_samples", mixes_samples)

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return getattr(self.loss_function, "convention", getattr(self.loss_function, "__name__", "user's own loss"))

    def init(self, key: PRNGKeyArray) -> Params:
        """A start by the model's own initialisation, or by `initial`.

        Args:
            key: the seed's key.

        Returns:
            The parameters.

        Raises:
            ValueError: neither the model nor the flow knows how to start.
        """
        init = self.initial or getattr(self.model, "init", None)
        if init is None:
            raise ValueError("this model has no init(key): give the flow one, GradientFlow(..., initial=lambda key: params).")
        check_key(key)
        with explained("the start init(key) fails"):
            return init(key)

    def outputs(self, y: Params, gates: PyTree | None = None) -> Float[Array, "sample ..."]:
        """The network on the samples, with gates held fixed where they are given.

        Args:
            y: the parameters.
            gates: one number in [0, 1] a (sample, neuron), for gated models; None takes them from the signs.

        Returns:
            One output a sample.

        Raises:
            ValueError: the model returns another shape than one number per sample, or no real floats.
        """
        f = self._apply(y, self.data.x) if gates is None else self._apply(y, self.data.x, gates)
        check_outputs(f)
        if getattr(self.loss_function, "many_outputs", False):
            if jnp.ndim(f) != 2 or jnp.shape(f)[0] != self.data.num_samples:
                raise ValueError(
                    f"this loss takes several outputs a sample, but apply(params, x) returns shape {jnp.shape(f)}: it must be "
                    f"({self.data.num_samples}, outputs)."
                )
        elif jnp.shape(f) != self.data.y.shape:
            raise ValueError(
                f"apply(params, x) must return outputs like the targets, shape {self.data.y.shape}, but returns {jnp.shape(f)}: "
                "vmap a network that takes one sample, and squeeze its output."
            )
        return f

    def jacobian(self, y: Params, gates: PyTree | None = None) -> PyTree:
        """The outputs' derivatives by the parameters: one backward pass for all samples where these do not depend on each other.

        Args:
            y: the parameters.
            gates: as in `outputs`.

        Returns:
            A pytree like `y`, each leaf with a leading axis `sample`.
        """
        if self.needs_all_outputs:
            return jax.jacrev(self.outputs)(y, gates)

        def row(x: Array, own: PyTree | None) -> PyTree:
            held = () if own is None else (jax.tree.map(lambda g: g[None], own),)
            return jax.jacrev(lambda y: self._apply(y, x[None], *held)[0])(y)

        return jax.vmap(row)(self.data.x, gates)

    @property
    def has_own_outputs(self) -> bool:
        """Whether a subclass makes the outputs, so that they may be more than the network at each sample."""
        return type(self).outputs is not GradientFlow.outputs

    @property
    def needs_all_outputs(self) -> bool:
        """Whether an output may depend on other samples than its own, so that derivatives are taken of all outputs at once."""
        return self.mixes_samples or self.has_own_outputs

    def loss_of_outputs(self, f: Float[Array, " sample"], gates: Float[Array, " sample"] | None = None) -> Float[Array, ""]:
        """The data's part of the loss as a function of the outputs; its own gates held where they are given."""
        return gated_loss(self.loss_function, f, self.data.y, gates)

    def residual(self, y: Params, f: Float[Array, " sample"], gates: Float[Array, " sample"] | None = None) -> Float[Array, " sample"]:
        """The derivative of the data's part of the loss by the outputs, at parameters y, on which it does not depend."""
        return jax.grad(self.loss_of_outputs)(f, gates)

    def trainable(self, y: Params) -> PyTree:
        """Which leaves move.

        Args:
            y: the parameters.

        Returns:
            A pytree of Python bools like `y`.

        Raises:
            ValueError: a name in `frozen` is no path of the parameters.
        """
        moves = trainable(self.model, y)
        paths = [jtu.keystr(path, simple=True, separator=".") for path, _ in jtu.tree_leaves_with_path(y)]
        for name in self.frozen:
            if not any(path == name or path.startswith(name + ".") for path in paths):
                raise ValueError(f"frozen names {name!r}, but the parameters are {', '.join(paths)}.")
        leaves, treedef = jax.tree.flatten(moves)
        still = [any(path == name or path.startswith(name + ".") for name in self.frozen) for path in paths]
        return jax.tree.unflatten(treedef, [bool(moving) and not frozen for moving, frozen in zip(leaves, still, strict=True)])

    def penalty(self, y: Params) -> Float[Array, ""]:
        """The penalties that are switched on: the part of the loss that is not the data's."""
        moving, _ = eqx.partition(y, self.trainable(y))
        return jnp.asarray(self._penalties(moving), jnp.result_type(*jax.tree.leaves(y)))

    def _penalties(self, moving: PyTree) -> Float[Array, ""] | float:
        if self.weight_decay is None and self.norm_barrier is None:
            return 0.0
        half_norm = 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(moving))
        total = jnp.zeros_like(half_norm)
        if self.weight_decay is not None:
            total += self.weight_decay * half_norm
        if self.norm_barrier is not None:
            total += jnp.maximum(half_norm - 0.5 * self.norm_barrier**2, 0.0) ** 3 / 3
        return total

    def loss(self, y: Params) -> Float[Array, ""]:
        """The loss on the samples plus the penalties: what the flow descends."""
        moving, _ = eqx.partition(y, self.trainable(y))
        return self.loss_of_outputs(self.outputs(y)) + self._penalties(moving)

    def vector_field(self, t: Float[Array, ""], y: Params, args: PyTree | None = None) -> Params:
        """Minus the gradient of the loss, times the time scales; zero where parameters are frozen.

        Args:
            t: time, unused.
            y: the parameters.
            args: gates held fixed, those of the model or all `Gates`; or None.

        Returns:
            The velocity, a pytree like `y`.
        """
        return self.descent(y, args)[0]

    def descent(self, y: Params, gates: PyTree | None = None) -> tuple[Params, Float[Array, " sample"]]:
        """The velocity, and what it is made of: the derivative of the data's loss by the outputs.

        Args:
            y: the parameters.
            gates: held fixed, those of the model or all `Gates`; or None.

        Returns:
            A pytree like `y`, and one number a sample.
        """
        held = gates if isinstance(gates, Gates) else Gates(gates, None)
        moving, still = eqx.partition(y, self.trainable(y))
        f, pull = jax.vjp(lambda moving: self.outputs(eqx.combine(moving, still), held.model), moving)
        residual = self.residual(y, f, held.loss)
        gradient = pull(residual)[0]
        if self.weight_decay is not None or self.norm_barrier is not None:
            gradient = jax.tree.map(jnp.add, gradient, jax.grad(self._penalties)(moving))
        return self._scaled(eqx.combine(jax.tree.map(jnp.negative, gradient), jax.tree.map(jnp.zeros_like, still))), residual

    @property
    def separable(self) -> bool:
        """Whether the loss is a sum over samples; a plain function is not known to be."""
        return getattr(self.loss_function, "separable", False)

    @property
    def has_limit(self) -> bool:
        """Whether the flow can be expected to come to rest: the loss has a minimum, or a penalty gives it one."""
        return getattr(self.loss_function, "attained", True) or self.weight_decay is not None or self.norm_barrier is not None

    @property
    def _apply(self) -> Callable[..., Array]:
        return getattr(self.model, "apply", self.model)

    @property
    def _gated(self) -> bool:
        return getattr(self.model, "slopes", None) is not None

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The slopes (below zero, above zero) of a gated model; None for a model without kinks."""
        return self.model.slopes if self._gated else None

    def preactivations(self, y: Params, gates: PyTree | None = None) -> PyTree | None:
        """The pre-activations at the samples whose signs are the gates; None for a model without kinks.

        Args:
            y: the parameters.
            gates: as in `outputs`; with them the deeper layers' pre-activations are smooth in the parameters.

        Returns:
            What the model returns.
        """
        return self.model.preactivations(y, self.data.x, gates) if self._gated else None

    def switches(self, y: Params, gates: Gates | None = None) -> Gates | None:
        """What changes its sign at a kink, of the model and of the loss.

        Args:
            y: the parameters.
            gates: held fixed; None takes them from the signs.

        Returns:
            `Gates` of numbers whose signs are the gates; None for a flow without kinks.
        """
        kinked: Any = self.loss_function if has_loss_kinks(self.loss_function) else None
        if not self._gated and kinked is None:
            return None
        held = None if gates is None else gates.model
        return Gates(self.preactivations(y, held), None if kinked is None else kinked.switches(self.outputs(y, held), self.data.y))

    def neurons(self, y: Params) -> Neurons | None:
        """The model's only hidden layer on the samples; None for a flow without kinks, of another shape, or with kinks in its loss.

        Args:
            y: the parameters.

        Returns:
            What the model returns.
        """
        own = getattr(self.model, "neurons", None)
        smooth = not has_loss_kinks(self.loss_function)
        return own(y, self.data.x) if self._gated and smooth and own is not None else None

    def mobility(self, y: Params) -> Params:
        """What multiplies minus the gradient: the time scales, 0 where parameters are frozen.

        Args:
            y: the parameters.

        Returns:
            A pytree like `y`.
        """
        moving = jax.tree.map(lambda leaf, moves: jnp.full_like(leaf, 1.0 if moves else 0.0), y, self.trainable(y))
        return self._scaled(moving)

    def _scaled(self, velocity: Params) -> Params:
        return scaled(self.time_scales, velocity)

    def conserved(self, y: Params) -> Float[Array, " quantity"] | None:
        """What the exact flow keeps constant (balancedness); None where nothing is known to be.

        Time scales, frozen parameters and penalties break the model's conservation law, so with any of them it is None.

        Args:
            y: the parameters.

        Returns:
            What the model declares, or None.
        """
        return self._if_plain("conserved", y)

    def conserved_terms(self, y: Params) -> Any:
        """The terms of which each conserved quantity is a sum or a difference; None where nothing is known to be conserved.

        Args:
            y: the parameters.

        Returns:
            What the model declares, or None.
        """
        return self._if_plain("conserved_terms", y)

    def _if_plain(self, name: str, y: Params) -> Any:
        own = getattr(self.model, name, None)
        plain = self.time_scales is None and self.weight_decay is None and self.norm_barrier is None and not self.frozen
        return own(y) if own is not None and plain else None
