"""Random data: Gaussian clusters for classification, Gaussian inputs with a teacher's labels."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count, check_function, check_key, check_not_negative, check_positive, explained, is_concrete
from .._types import as_leaf
from .base import Samples


def clusters(n: int, dim: int, separation: float = 1.0, spread: float = 1.0, *, key: PRNGKeyArray) -> Samples:
    """Two Gaussian clusters with labels -1 and +1 that a hyperplane through the origin separates, always.

    x = y (separation/2 + spread |g|) u + spread g', with u a uniform unit vector, g a standard normal number and g' a
    standard normal vector orthogonal to u. Along u the Gaussian is folded away from the origin, so that y (u.x) is at
    least separation/2 for every sample. The labels alternate, +1 first.

    A `ValueError` is raised if n is below 2, dim below 1, the separation not positive or the spread negative.

    Args:
        n: the number of samples.
        dim: the number of inputs.
        separation: the least gap between the two clusters along u.
        spread: the standard deviation of the normal numbers.
        key: a JAX random key.

    Returns:
        The data set.
    """
    n, dim = check_count("n", n, 2), check_count("dim", dim)
    check_positive("separation", separation)
    check_not_negative("spread", spread)
    check_key(key)
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
    n, dim = check_count("n", n), check_count("dim", dim)
    check_function("teacher", teacher, ("x",))
    check_not_negative("noise", noise)
    check_key(key)
    key_inputs, key_noise = jr.split(key)
    x = jr.normal(key_inputs, (n, dim))
    if covariance is not None:
        covariance = as_leaf(covariance, "covariance")
        if covariance.shape != (dim, dim):
            raise ValueError(f"the covariance must have the shape ({dim}, {dim}) of the inputs, not {covariance.shape}.")
        root = jnp.linalg.cholesky(covariance)
        concrete = is_concrete(covariance)
        if concrete and not (np.allclose(covariance, covariance.T, rtol=1e-6) and np.isfinite(root).all()):
            raise ValueError(
                "the covariance must be symmetric and positive definite: give (C + C.T)/2, without inputs that depend on others."
            )
        x = x @ root.T
    with explained("the teacher does not take inputs of shape (n, dim)"):
        y = teacher(x)
    if jnp.shape(y)[:1] != (n,):
        raise ValueError(f"the teacher must return one number or one row an input, {n} in all, but returns shape {jnp.shape(y)}.")
    return Samples(x, y + noise * jr.normal(key_noise, jnp.shape(y)), "gaussian_teacher")
