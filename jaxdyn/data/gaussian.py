"""Random data for classification."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

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
