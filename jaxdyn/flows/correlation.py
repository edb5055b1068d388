"""The neural correlation function and its flow: what networks with small weights do first."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._checks import check_flag
from .._types import Params
from ..data import Samples
from ..losses import correlation
from ..models import Neurons
from ._sphere import onto_sphere, push, size
from .gates import Gates
from .gradient import GradientFlow
from .protocol import AbstractWrapper


class CorrelationFlow(AbstractWrapper):
    r"""The flow up the neural correlation function $N(w) = \sum_i \bar y_i f_i(w)$, with $\bar y = -\partial \ell / \partial f$ at f = 0.

    On the sphere it is $\dot v = (I - v v^\top) \nabla N(v)$ for $v = w / |w|$, and ends at a KKT point, $\nabla N(v) = \lambda v$, where
    $\lambda = L N(v)$ for a network homogeneous of order L. Otherwise it is $\dot w = \nabla N(w)$, which blows up in finite time for
    L > 2. What starts balanced stays so in both. The loss is -N.

    Attributes:
        inner: the flow of the correlation loss with the targets $\bar y$.
        sphere: which of the two.

    Reference:
        Kumar & Haupt (2024), arXiv 2402.09226, section 3, and 2403.08121, section 3.
    """

    inner: GradientFlow
    sphere: bool = eqx.field(static=True)

    def __init__(self, model: Any, loss_function: Any, data: Samples, *, sphere: bool = True, **options: Any):
        """The flow of a network's correlation with what it is to learn.

        Args:
            model: as in `GradientFlow`.
            loss_function: as there; its derivative by outputs that are zero is minus the targets of the correlation.
            data: as there.
            sphere: see the class.
            **options: `initial` and `frozen` of `GradientFlow`.
        """
        plain = GradientFlow(model, loss_function, data, **options)
        targets = -jax.grad(plain.loss_of_outputs)(jnp.zeros_like(data.y))
        self.inner = GradientFlow(model, correlation, Samples(data.x, targets, data.name), **options)
        self.sphere = check_flag("sphere", sphere)

    @property
    def wrapped(self) -> GradientFlow:
        """The flow that this one is made of."""
        return self.inner

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return f"{self.inner.convention}; parameters on the unit sphere" if self.sphere else self.inner.convention

    def init(self, key: PRNGKeyArray) -> Params:
        """The model's start; on the sphere it is scaled to norm 1."""
        start = self.inner.init(key)
        return onto_sphere(self.inner, start) if self.sphere else start

    def weights(self, y: Params) -> Params:
        """The network's parameters, on the sphere scaled to norm 1."""
        return onto_sphere(self.inner, y) if self.sphere else y

    def outputs(self, y: Params, gates: PyTree | None = None) -> Float[Array, " sample"]:
        """The network on the samples."""
        return self.inner.outputs(self.weights(y), gates)

    def residual(self, y: Params, f: Float[Array, " sample"], gates: Float[Array, " sample"] | None = None) -> Float[Array, " sample"]:
        """Minus the targets, whatever the outputs are."""
        return self.inner.residual(y, f, gates)

    def loss_of_outputs(self, f: Float[Array, " sample"], gates: Float[Array, " sample"] | None = None) -> Float[Array, ""]:
        """Minus the correlation as a function of the outputs."""
        return self.inner.loss_of_outputs(f, gates)

    def loss(self, y: Params) -> Float[Array, ""]:
        """Minus the correlation."""
        return self.inner.loss(self.weights(y))

    def vector_field(self, t: Float[Array, ""], y: Params, args: PyTree | None = None) -> Params:
        """The gradient of the correlation, on the sphere without its radial part.

        Args:
            t: time, unused.
            y: the parameters.
            args: gates held fixed, or None.

        Returns:
            The velocity.
        """
        return self.descent(y, args)[0]

    def descent(self, y: Params, gates: PyTree | None = None) -> tuple[Params, Float[Array, " sample"]]:
        """The velocity, and the derivative of the loss by the outputs.

        Args:
            y: the parameters.
            gates: held fixed, or None.

        Returns:
            A pytree like `y`, and one number a sample.
        """
        if not self.sphere:
            return self.inner.descent(y, gates)
        held = gates.model if isinstance(gates, Gates) else gates
        found, length = push(self.inner, self.weights(y), held, lambda f: self.residual(y, f)), size(self.inner, y)
        return jax.tree.map(lambda leaf: leaf / length, found.turning), found.residual

    def stiffness(self, y: Params, gates: PyTree | None = None) -> Any:
        """Minus the field's derivative, which is symmetric.

        Args:
            y: where.
            gates: held fixed, or None.

        Returns:
            A linear map of parameters.
        """
        field = lambda y: self.vector_field(jnp.zeros(()), y, gates)  # noqa: E731
        return lambda change: jax.tree.map(jnp.negative, jax.jvp(field, (y,), (change,))[1])

    @property
    def has_limit(self) -> bool:
        """Whether the flow comes to rest: on the sphere."""
        return self.sphere

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The slopes (below zero, above zero) of a gated network; None for one without kinks."""
        return self.inner.slopes

    def trainable(self, y: Params) -> PyTree:
        """Which leaves move."""
        return self.inner.trainable(y)

    def mobility(self, y: Params) -> Params:
        """1, and 0 where parameters are frozen."""
        return self.inner.mobility(y)

    def penalty(self, y: Params) -> Float[Array, ""]:
        """None: 0."""
        return self.inner.penalty(y)

    def switches(self, y: Params, gates: Gates | None = None) -> Gates | None:
        """What changes its sign at a kink."""
        return self.inner.switches(y, gates)

    def neurons(self, y: Params) -> Neurons | None:
        """The network's only hidden layer; None for other networks."""
        return self.inner.neurons(y)

    def conserved(self, y: Params) -> Float[Array, " quantity"] | None:
        """What the flow keeps constant; on the sphere None, where only a balanced start stays what it was."""
        return None if self.sphere else self.inner.conserved(y)

    def conserved_terms(self, y: Params) -> Any:
        """The terms of these quantities; None where there are none."""
        return None if self.sphere else self.inner.conserved_terms(y)
