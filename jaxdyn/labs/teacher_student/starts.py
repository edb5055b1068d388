"""The lab's flows: those of the package, each with the starts of an experiment as settings that a sweep can vary."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ... import flows, models
from ..._types import Params, as_leaf


class _From(flows.AbstractFlow):
    """A flow whose start is said by a subclass."""

    flow: eqx.AbstractVar[Any]

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return flows.PolarTeacherFlow(2).convention

    def loss(self, y: Params) -> Float[Array, ""]:
        """Half the expected squared error."""
        return self.flow.loss(y)

    def vector_field(self, t: Float[Array, ""], y: Params, args: object = None) -> Params:
        """The flow's own velocity.

        Args:
            t: time, unused.
            y: the parameters.
            args: unused.

        Returns:
            A pytree like `y`.
        """
        return self.flow.vector_field(t, y, args)


class BallStart(_From):
    r"""One neuron and one teacher of length 1 in polar coordinates, from starts uniform in a ball around 0.

    Attributes:
        flow: the flow in r and theta, which is the same for all dimensions.
        dim: d, the number of inputs.
        radius: of the ball.
    """

    flow: flows.AbstractFlow
    dim: Float[Array, ""]
    radius: Float[Array, ""]

    def __init__(self, dim: ArrayLike = 2, radius: ArrayLike = 1.0, flow: flows.AbstractFlow | None = None):
        """See the class."""
        self.flow, self.dim, self.radius = flow or flows.PolarTeacherFlow(2), as_leaf(dim), as_leaf(radius)

    def init(self, key: PRNGKeyArray) -> Params:
        """Length and angle of a uniform point; that of the angle by the length of a normal vector's other d - 1 entries."""
        length, along, others = jr.split(key, 3)
        r = self.radius * jr.uniform(length) ** (1 / self.dim)
        return {"r": r, "theta": jnp.arctan2(jnp.sqrt(2 * jr.gamma(others, (self.dim - 1) / 2)), jr.normal(along))}


class PlaneStart(_From):
    """K students in the invariant plane, from (x, y).

    Attributes:
        flow: in the coordinates x and y.
        x: of the start.
        y: of the start.
    """

    flow: flows.AbstractFlow
    x: Float[Array, ""]
    y: Float[Array, ""]

    def __init__(self, number: ArrayLike = 2, x: ArrayLike = 1e-3, y: ArrayLike = 0.0, flow: flows.AbstractFlow | None = None):
        """See the class; `number` is K, and unused with a flow."""
        self.flow, self.x, self.y = flow or flows.SymmetricTeacherFlow(number), as_leaf(x), as_leaf(y)

    def init(self, key: PRNGKeyArray) -> Params:
        """The point (x, y)."""
        return {"x": self.x, "y": self.y}


class NoisyStart(_From):
    """As many students as teachers, from a small part of the teachers' vectors and noise; output weights that stay, the same for both.

    Attributes:
        flow: of K students towards K teachers whose output weights are 1.
        part: of the teacher's inner vectors that each student starts with.
        noise: standard deviation of each entry's.
        ratio: the last output weight over the first; they are a geometric row, its middle at 1.
    """

    flow: flows.PopulationFlow
    part: Float[Array, ""]
    noise: Float[Array, ""]
    ratio: Float[Array, ""]

    def __init__(self, flow: flows.PopulationFlow, part: ArrayLike = 1e-3, noise: ArrayLike = 0.0, ratio: ArrayLike = 1.0):
        """See the class."""
        self.flow, self.part, self.noise, self.ratio = flow, as_leaf(part), as_leaf(noise), as_leaf(ratio)

    @property
    def weighted(self) -> flows.PopulationFlow:
        """The flow with the output weights of both."""
        return eqx.tree_at(lambda flow: flow.teacher["c"], self.flow, self._weights())

    def _weights(self) -> Array:
        k = self.flow.model.width
        return self.ratio ** (jnp.arange(k) / (k - 1) - 0.5)

    def init(self, key: PRNGKeyArray) -> Params:
        """Each student near its teacher's direction, with its output weight."""
        inner = self.flow.teacher["a"]
        return {"a": self.part * inner + self.noise * jr.normal(key, inner.shape), "c": self._weights()}

    def loss(self, y: Params) -> Float[Array, ""]:
        """Half the expected squared error."""
        return self.weighted.loss(y)

    def vector_field(self, t: Float[Array, ""], y: Params, args: object = None) -> Params:
        """The velocity of the students' inner vectors.

        Args:
            t: time, unused.
            y: the parameters.
            args: unused.

        Returns:
            A dictionary like `y`.
        """
        return self.weighted.vector_field(t, y, args)


def make_flow(students: int, teachers: int, dim: int) -> flows.PopulationFlow:
    """Students whose output weights stay, towards orthonormal teachers.

    Args:
        students: how many.
        teachers: how many, at most `dim`.
        dim: the number of inputs.

    Returns:
        The flow; its own starts have entries of variance 1/dim and output weights 1.
    """
    model = models.TwoLayer(students, dim, False, "relu", "one", "a", committee=True, init_scale=1 / np.sqrt(dim))
    return flows.PopulationFlow(model, np.eye(dim)[:teachers])


def on_plane(number: int, x: ArrayLike, y: ArrayLike) -> Params:
    """The students of a point of the invariant plane, w_j = x w_j* + y sum_{i != j} w_i*.

    Args:
        number: K.
        x: a number.
        y: a number.

    Returns:
        Parameters of `make_flow(number, number, number)`.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    return {"a": y + (x - y) * jnp.eye(number), "c": jnp.ones(number)}


def saddle_of(number: ArrayLike) -> np.ndarray:
    """Where the diagonal's flow ends: x = y = (sqrt(K - 1) - arccos(1/sqrt K) + pi)/(pi K).

    Args:
        number: K.

    Returns:
        The common value of x and y.

    Reference:
        Tian (2017), arXiv 1703.00560, the theorem on several ReLU neurons.
    """
    k = np.asarray(number, float)
    return (np.sqrt(k - 1) - np.arccos(1 / np.sqrt(k)) + np.pi) / (np.pi * k)
