"""Two-layer ReLU networks with an identity link, f(x) = sum_j relu((e_j + w_j).x)."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..._checks import check_key, check_not_negative
from ..._types import as_leaf, scalar
from ...models import TwoLayer
from ..base import AbstractFlow
from .flow import PopulationFlow

Link = dict[str, Float[Array, "hidden dim"]]


class IdentityLinkFlow(AbstractFlow):
    r"""The population flow of $f(x) = \sum_j \mathrm{relu}((e_j + w_j) \cdot x)$ towards such a teacher with $w^*$.

    It is `PopulationFlow` in $u_j = e_j + w_j$, output weights 1, with the loss $L = E[(f - f^*)^2]$ and $x \sim N(0, I)$:

    $$-\partial_{w_j} L = \frac1\pi \sum_i \left\{
      \tfrac\pi2 (w_i^* - w_i) + (\tfrac\pi2 - \angle(v_i, u_j)) v_i - (\tfrac\pi2 - \angle(u_i, u_j)) u_i
      + (|v_i| \sin\angle(v_i, u_j) - |u_i| \sin\angle(u_i, u_j)) \frac{u_j}{|u_j|}\right\}, \quad v_i = e_i + w_i^*.$$

    Attributes:
        teacher: $w^*$, one row a neuron.
        init_scale: the start's entries are normal numbers of deviation `init_scale`/sqrt(dim), of spectral norm about twice `init_scale`.

    Reference:
        Li & Yuan (2017), arXiv 1705.09886, section 3.
    """

    teacher: Float[Array, "dim dim"]
    init_scale: Float[Array, ""]

    def __init__(self, teacher: Any, *, init_scale: ArrayLike = 0.3):
        """The flow towards a teacher.

        Args:
            teacher: see the class.
            init_scale: see the class.

        Raises:
            ValueError: the teacher is no square matrix, or one of its neurons is zero.
        """
        self.teacher, self.init_scale = as_leaf(teacher, "the teacher"), scalar("init_scale")(init_scale)
        check_not_negative("init_scale", self.init_scale)
        if self.teacher.ndim != 2 or self.teacher.shape[0] != self.teacher.shape[1] or self.teacher.size == 0:
            raise ValueError(f"the teacher must be a square matrix, one row a neuron of as many inputs, not of shape {self.teacher.shape}.")
        _ = self.linked  # refuses a neuron with e_j + w_j = 0

    @property
    def linked(self) -> PopulationFlow:
        """The flow in u = e + w."""
        dim = self.teacher.shape[0]
        model = TwoLayer(dim, dim, bias=False, activation="relu", scaling="one", trains=("a",))
        return PopulationFlow(model, jnp.eye(dim, dtype=self.teacher.dtype) + self.teacher, halved=False)

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return self.linked.convention

    def init(self, key: PRNGKeyArray) -> Link:
        """Normal weights of deviation init_scale/sqrt(dim)."""
        return {"w": self.init_scale * jr.normal(check_key(key), self.teacher.shape) / jnp.sqrt(self.teacher.shape[0])}

    def loss(self, y: Link) -> Float[Array, ""]:
        """The expected squared error."""
        return self.linked.loss(self._lifted(y))

    def vector_field(self, t: Float[Array, ""], y: Link, args: object = None) -> Link:
        """Minus the gradient.

        Args:
            t: time, unused.
            y: the parameters.
            args: unused.

        Returns:
            A dictionary like `y`.
        """
        return {"w": self.linked.vector_field(t, self._lifted(y))["a"]}

    def apply(self, params: Link, x: Float[Array, "sample dim"]) -> Float[Array, " sample"]:
        """The student's outputs, for a `GradientFlow(flow.apply, ...)` on samples.

        Args:
            params: the parameters.
            x: inputs, one row a sample.

        Returns:
            One number a sample.
        """
        return self.linked.model.apply(self._lifted(params), x)

    def target(self, x: Float[Array, "sample dim"]) -> Float[Array, " sample"]:
        """The teacher's outputs.

        Args:
            x: inputs, one row a sample.

        Returns:
            One number a sample.
        """
        return self.linked.target(x)

    def _lifted(self, y: Link) -> dict[str, Array]:
        w = y["w"]
        return {"a": jnp.eye(w.shape[0], dtype=w.dtype) + w, "c": jnp.ones(w.shape[0], w.dtype)}
