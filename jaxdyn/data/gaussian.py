"""Random data: Gaussian clusters for classification, Gaussian inputs with a teacher's labels."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import as_leaf
from .base import Samples


def clusters(n: int, dim: int, separation: float = 1.0, spread: float = 1.0, *, key: PRNGKeyArray) -> Samples:
    """Two Gaussian clusters with labels -1 and +1 that a hyperplane through the origin separates, always.

    x = y (separation/2 + spread |g|) u + spread g', with u a uniform unit vector, g a standard normal number and g' a
    standard normal vector orthogonal to u. Along u the Gaussian is folded away from the origin, so that y (u.x) is at
    least separation/2 for every sample. The labels alternate, +1 first.

    Args:
        n: the number of samples.
        dim: the number of inputs.
        separation: the least gap between the two clusters along u.
        spread: the standard deviation of the normal numbers.
        key: a JAX random key.

    Returns:
        The data set.

    Raises:
        ValueError: if n is below 2, dim below 1, the separation not positive or the spread negative.
    """
    if n < 2 or dim < 1:
        raise ValueError(f"clusters needs n >= 2, one sample a class, and dim >= 1; {n} and {dim} were given.")
    if not (separation > 0 and spread >= 0):
        raise ValueError(f"separation must be positive and spread not negative; {separation} and {spread} were given.")
    key_direction, key_noise = jr.split(key)
    direction = jr.normal(key_direction, (dim,))
    direction = direction / jnp.linalg.norm(direction)
    y = jnp.where(jnp.arange(n) % 2 == 0, 1.0, -1.0)
    noise = spread * jr.normal(key_noise, (n, dim))
    along = noise @ direction
    outward = y * (separation / 2 + jnp.abs(along)) - along
    return Samples(noise + outward[:, None] * direction[None, :], y, "clusters")


def gaussian_teacher(
    n: int,
    teacher: Callable[[Float[Array, "sample dim"]], Float[Array, " sample"]],
    dim: int,
    covariance: Any = None,
    noise: float = 0.0,
    *,
    key: PRNGKeyArray,
) -> Samples:
    """Inputs x ~ N(0, covariance) with the targets teacher(x), plus noise if wanted.

    Args:
        n: the number of samples.
        teacher: a function of all inputs, one row a sample; for the samples of a population flow its `flow.target`.
        dim: the number of inputs.
        covariance: a positive definite matrix; None is the identity.
        noise: the standard deviation of normal numbers added to the targets.
        key: a JAX random key.

    Returns:
        The data set.

    Raises:
        ValueError: if n or dim is below 1, the noise negative, or the covariance of another shape, not symmetric or not positive definite.
    """
    if n < 1 or dim < 1:
        raise ValueError(f"gaussian_teacher needs n >= 1 and dim >= 1; {n} and {dim} were given.")
    if not isinstance(noise, Tracer) and noise < 0:
        raise ValueError(f"noise is a standard deviation and must not be negative; {noise} was given.")
    key_inputs, key_noise = jr.split(key)
    x = jr.normal(key_inputs, (n, dim))
    if covariance is not None:
        covariance = as_leaf(covariance)
        if covariance.shape != (dim, dim):
            raise ValueError(f"the covariance must have the shape ({dim}, {dim}) of the inputs, not {covariance.shape}.")
        root = jnp.linalg.cholesky(covariance)
        concrete = not isinstance(covariance, Tracer)
        if concrete and not (np.allclose(covariance, covariance.T, rtol=1e-6) and np.isfinite(root).all()):
            raise ValueError(
                "the covariance must be symmetric and positive definite: give (C + C.T)/2, without inputs that depend on others."
            )
        x = x @ root.T
    return Samples(x, teacher(x) + noise * jr.normal(key_noise, (n,)), "gaussian_teacher")
