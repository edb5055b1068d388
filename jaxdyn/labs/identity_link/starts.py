"""Where the lab's runs start."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..._types import as_leaf
from ...flows import AbstractWrapper, IdentityLinkFlow
from ...flows.population.identity_link import Link

TURN = np.linspace(0.0, 0.04, 41)
"""Times at which the turn of the gradient is looked for."""


class Started(AbstractWrapper):
    """The flow of an identity link from another start: w = base - gap I + scale N / sqrt(dim), the entries of N standard normal.

    The network without the link, f(x) = sum_j relu(u_j.x), is the same function of u_j = e_j + w_j with the same gradient; only its start
    differs. So gap = 0 is the identity link and gap = 1 the vanilla one.

    Attributes:
        inner: the flow.
        base: what starts have in common.
        gap: how much of the identity is taken away.
        scale: of the noise.
    """

    inner: IdentityLinkFlow
    base: Float[Array, "dim dim"]
    gap: Float[Array, ""]
    scale: Float[Array, ""]

    def __init__(self, teacher: ArrayLike, base: ArrayLike | None = None, gap: ArrayLike = 0.0, scale: ArrayLike = 0.0):
        """A flow towards a teacher.

        Args:
            teacher: W*.
            base: see the class; 0 by default.
            gap: see the class.
            scale: see the class.
        """
        self.inner = IdentityLinkFlow(teacher)
        self.base = jnp.zeros_like(self.inner.teacher) if base is None else as_leaf(base)
        self.gap, self.scale = as_leaf(gap), as_leaf(scale)

    @property
    def wrapped(self) -> IdentityLinkFlow:
        """The flow, whose parameters these are."""
        return self.inner

    @property
    def convention(self) -> str:
        """That of the flow."""
        return self.inner.convention

    @property
    def teacher(self) -> Float[Array, "dim dim"]:
        """W*."""
        return self.inner.teacher

    def init(self, key: PRNGKeyArray) -> Link:
        """The start."""
        dim = self.base.shape[0]
        return {"w": self.base - self.gap * jnp.eye(dim) + self.scale * jr.normal(key, (dim, dim)) / jnp.sqrt(dim)}

    def loss(self, y: Link) -> Float[Array, ""]:
        """The expected squared error, without 1/2."""
        return self.inner.loss(y)

    def vector_field(self, t: Float[Array, ""], y: Link, args: object = None) -> Link:
        """Minus its gradient.

        Args:
            t: time, unused.
            y: the parameters.
            args: unused.

        Returns:
            A dictionary like `y`.
        """
        return self.inner.vector_field(t, y)


def two_phase_pair(dim: int, norm: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A start and a teacher between which the gradient points the wrong way at first, if dim is large.

    Args:
        dim: inputs.
        norm: the start's spectral norm.
        seed: which.

    Returns:
        W0, Gaussian with sum_i w_i = 0, and W* = tau I with tau = .75 |W0|_F^2 / dim.
    """
    w = np.random.default_rng([dim, seed]).standard_normal((dim, dim))
    w -= w.mean(axis=0)
    w *= norm / np.linalg.norm(w, 2)
    return w, 0.75 * np.sum(w**2) / dim * np.eye(dim)


def random_pair(dim: int, norm: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A start and a teacher that are both Gaussian.

    Args:
        dim: inputs.
        norm: the spectral norm of both.
        seed: which.

    Returns:
        W0 and W*.
    """
    pair = np.random.default_rng([dim, seed, 1]).standard_normal((2, dim, dim))
    first, second = (norm * w / np.linalg.norm(w, 2) for w in pair)
    return first, second
