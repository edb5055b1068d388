"""The ReLU flow of one neuron towards one teacher, and of K towards K orthonormal teachers, in two coordinates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..._checks import check_count, check_key, check_not_negative, check_positive
from ..._types import as_leaf
from ..base import AbstractFlow
from .angles import norms
from .flow import CONVENTIONS

Pair = dict[str, Float[Array, ""]]


def _kernel(theta: Array) -> Array:
    """E[relu(u.x) relu(v.x)] of unit vectors at an angle (Cho & Saul 2009, eq. 6)."""
    return (jnp.sin(theta) + (jnp.pi - theta) * jnp.cos(theta)) / (2 * jnp.pi)


def _length(*parts: ArrayLike) -> Array:
    return norms(jnp.stack(jnp.broadcast_arrays(*map(jnp.asarray, parts)), axis=-1))


class PolarTeacherFlow(AbstractFlow):
    r"""One ReLU neuron and one teacher $w^*$, in the neuron's length r and its angle $\theta$ to the teacher.

    $$\dot r = -\frac r2 + |w^*| \frac{(\pi - \theta)\cos\theta + \sin\theta}{2\pi}, \qquad
      \dot\theta = -|w^*| \frac{(\pi - \theta)\sin\theta}{2\pi r},$$

    the flow of $J = \frac12 E[(f - f^*)^2]$ for $x \sim N(0, I)$, output weights 1. The angle never grows. At r = 0 the neuron rests.

    Attributes:
        dim: the number of inputs, for the start.
        teacher_norm: $|w^*|$.
        init_scale: the start's vector has independent normal entries of this deviation.

    Reference:
        Tian (2017), arXiv 1703.00560, theorem 1 for one teacher.
    """

    dim: int = eqx.field(static=True)
    teacher_norm: Float[Array, ""]
    init_scale: Float[Array, ""]

    def __init__(self, dim: int, *, teacher_norm: ArrayLike = 1.0, init_scale: ArrayLike = 1.0):
        """The flow in polar coordinates.

        Args:
            dim: see the class.
            teacher_norm: see the class.
            init_scale: see the class.

        Raises:
            ValueError: the dimension is below 2 or the teacher is zero.
        """
        self.dim = check_count("dim", dim)
        if self.dim < 2:
            raise ValueError("an angle needs dim of at least 2; in one dimension use PopulationFlow.")
        self.teacher_norm, self.init_scale = as_leaf(teacher_norm, "teacher_norm"), as_leaf(init_scale, "init_scale")
        check_positive("teacher_norm", self.teacher_norm)
        check_not_negative("init_scale", self.init_scale)

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return CONVENTIONS[True].format("x ~ N(0, I)")

    def init(self, key: PRNGKeyArray) -> Pair:
        """The polar coordinates of a normal vector."""
        w = self.init_scale * jr.normal(check_key(key), (self.dim,))
        return {"r": norms(w), "theta": jnp.arctan2(norms(w[1:]), w[0])}

    def loss(self, y: Pair) -> Float[Array, ""]:
        """Half the expected squared error."""
        r, size = y["r"], self.teacher_norm.astype(y["r"].dtype)
        return 0.5 * (r**2 / 2 - 2 * r * size * _kernel(y["theta"]) + size**2 / 2)

    def vector_field(self, t: Float[Array, ""], y: Pair, args: object = None) -> Pair:
        """The velocities of r and theta.

        Args:
            t: time, unused.
            y: the coordinates.
            args: unused.

        Returns:
            A dictionary like `y`.
        """
        r, theta, size = y["r"], y["theta"], self.teacher_norm.astype(y["r"].dtype)
        moves = r > 0
        turn = -size * (jnp.pi - theta) * jnp.sin(theta) / (2 * jnp.pi * jnp.where(moves, r, 1.0))
        return {"r": jnp.where(moves, -r / 2 + size * _kernel(theta), 0.0), "theta": jnp.where(moves, turn, 0.0)}


class SymmetricTeacherFlow(AbstractFlow):
    r"""K ReLU neurons and K orthonormal teachers $w_j^*$, in an invariant plane of the population flow.

    The neurons are $w_j = x w_j^* + y \sum_{i \ne j} w_i^*$. With $\alpha = (x^2 + (K-1) y^2)^{-1/2}$, $\cos\theta = \alpha x$,
    $\cos\psi = \alpha y$, $\cos\phi = \alpha^2 (2xy + (K-2) y^2)$ (the angles of $w_j$ to its teacher, to another teacher, to another
    neuron) and $S = (K-1)(\alpha \sin\psi - \sin\phi) + \alpha\sin\theta$:

    $$2\pi\dot x = -[(\pi - \phi)(x - 1 + (K-1) y) + \theta + \phi (x - 1)] + S x,$$
    $$2\pi\dot y = -[(\pi - \phi)(x - 1 + (K-1) y) + \psi - \phi + \phi y] + S y.$$

    It is the flow of $J = \frac12 E[(f - f^*)^2]$ for $x \sim N(0, I)$, output weights 1. From x = y, which is kept to the last bit, it
    ends at the saddle $x = y = (\sqrt{K-1} - \arccos(1/\sqrt K) + \pi)/(\pi K)$, from x > y > 0 at (1, 0). At (0, 0) the neurons rest.

    Attributes:
        number: K, at least 2; a leaf, so that flows of several K can be batched.
        init_scale: the start's x and y are independent normal numbers of this deviation.

    Reference:
        Tian (2017), arXiv 1703.00560, the section on several ReLU neurons.
    """

    number: Float[Array, ""]
    init_scale: Float[Array, ""]

    def __init__(self, number: ArrayLike, *, init_scale: ArrayLike = 1e-3):
        """The flow in the plane.

        Args:
            number: see the class.
            init_scale: see the class.

        Raises:
            ValueError: K is no integer of at least 2.
        """
        self.number, self.init_scale = as_leaf(number, "the number of teachers"), as_leaf(init_scale, "init_scale")
        check_not_negative("init_scale", self.init_scale)
        if not isinstance(self.number, Tracer) and not (
            self.number.size and ((self.number >= 2) & (self.number == jnp.round(self.number))).all()
        ):
            raise ValueError(f"the number of teachers must be an integer of at least 2, not {number}: for one use PolarTeacherFlow.")

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return CONVENTIONS[True].format("x ~ N(0, I)")

    def init(self, key: PRNGKeyArray) -> Pair:
        """Normal numbers x and y."""
        x, y = self.init_scale * jr.normal(check_key(key), (2,))
        return {"x": x, "y": y}

    def _geometry(self, y: Pair) -> tuple[Array, Array, Array, Array, Array]:
        """K, the length of a neuron, and the angles theta, psi and phi, by arc tangents of lengths."""
        x, y_, number = y["x"], y["y"], self.number.astype(y["x"].dtype)
        others, rest = jnp.sqrt(number - 1), jnp.sqrt(number - 2)
        theta = jnp.arctan2(others * jnp.abs(y_), x)
        psi = jnp.arctan2(_length(x, rest * y_), y_)
        # the same bits on x = y, lest rounding breaks the symmetry there; the derivatives stay psi's own
        psi += jax.lax.stop_gradient(jnp.where(x == y_, theta - psi, 0.0))
        phi = 2 * jnp.arctan2(jnp.abs(x - y_), _length(x + y_, jnp.sqrt(2.0).astype(x.dtype) * rest * y_))
        return number, _length(x, others * y_), theta, psi, phi

    def loss(self, y: Pair) -> Float[Array, ""]:
        """Half the expected squared error of all K neurons."""
        number, size, theta, psi, phi = self._geometry(y)
        own = size**2 * (0.5 + (number - 1) * _kernel(phi))
        cross = size * (_kernel(theta) + (number - 1) * _kernel(psi))
        return 0.5 * number * (own - 2 * cross + 0.5 + (number - 1) / (2 * jnp.pi))

    def vector_field(self, t: Float[Array, ""], y: Pair, args: object = None) -> Pair:
        """The velocities of x and y.

        Args:
            t: time, unused.
            y: the coordinates.
            args: unused.

        Returns:
            A dictionary like `y`.
        """
        number, size, theta, psi, phi = self._geometry(y)
        x, y_, moves = y["x"], y["y"], size > 0
        alpha = 1 / jnp.where(moves, size, 1.0)
        S = (number - 1) * (alpha * jnp.sin(psi) - jnp.sin(phi)) + alpha * jnp.sin(theta)
        shared = (jnp.pi - phi) * (x - 1 + (number - 1) * y_)
        by_x, by_y = S * x - shared - theta - phi * (x - 1), S * y_ - shared - psi + phi - phi * y_
        return {"x": jnp.where(moves, by_x, 0.0) / (2 * jnp.pi), "y": jnp.where(moves, by_y, 0.0) / (2 * jnp.pi)}
