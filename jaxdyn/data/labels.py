"""Labels -1 and +1: their check, how the samples lie to each other, and what spoils them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_key, check_not_negative, check_number, is_concrete
from .base import Samples, check_samples

_ROWS = 256
"""How many rows of the matrix of cosines are held at once: it has 1.1 GB for two digits of MNIST."""


def check_labels(samples: Samples) -> None:
    """Refuse targets that are not labels -1 and +1, one a sample.

    Values are checked where they are concrete, shapes always.

    Args:
        samples: the data set.

    Raises:
        ValueError: if a label is neither -1 nor +1.
    """
    check_samples(samples)
    if samples.y.ndim != 1:
        raise ValueError(f"labels are one number a sample, -1 or +1; y of shape {samples.y.shape} was given: flatten it.")
    if is_concrete(samples.y) and not np.all(np.abs(np.asarray(samples.y)) == 1):
        raise ValueError("every label must be -1 or +1; give 2 y - 1 for labels 0 and 1, and two classes only.")


def check_signs(samples: Samples) -> None:
    """Refuse data that are not two classes of directions: labels -1 and +1, and no input that is zero.

    Values are checked where they are concrete, shapes always.

    Args:
        samples: the data set.

    Raises:
        ValueError: if a label is neither -1 nor +1, or all inputs of a sample are zero.
    """
    check_labels(samples)
    if is_concrete(samples.x):
        zero = np.flatnonzero(~np.any(np.asarray(samples.x), axis=1))
        if zero.size:
            raise ValueError(f"sample {zero[0]} is zero and has no direction; drop such samples, of which there are {zero.size}.")


def smallest_cosine(samples: Samples) -> Float[Array, ""]:
    """The smallest cosine of x_i y_i and x_j y_j over all pairs of samples.

    Data meet the assumption of Min, Mallada & Vidal 2023 (arXiv:2307.12851) if it is positive: it is their mu.

    Args:
        samples: at least two samples with labels -1 and +1, none of them zero.

    Returns:
        One number from -1 to 1, up to rounding.

    Raises:
        ValueError: if the data are no such samples.
    """
    check_signs(samples)
    if samples.num_samples < 2:
        raise ValueError("one sample makes no pair; give at least two.")
    # Divided twice, so that squares of tiny or huge inputs neither vanish nor overflow.
    signed = samples.y[:, None] * samples.x / jnp.max(jnp.abs(samples.x), axis=1, keepdims=True)
    unit = signed / jnp.linalg.norm(signed, axis=1, keepdims=True)
    index = jnp.arange(samples.num_samples)

    def smallest_of(row: tuple[Array, Array]) -> Array:
        return jnp.min(jnp.where(index == row[0], jnp.inf, unit @ row[1]))

    return jnp.min(jax.lax.map(smallest_of, (index, unit), batch_size=_ROWS))


def _check_share(share: float, key: PRNGKeyArray) -> None:
    check_number("share", share, "a number from 0 to 1", lambda share: 0 <= share <= 1)
    check_key(key)


def _chosen(n: int, share: float, key: PRNGKeyArray) -> Array:
    return jr.permutation(key, n) < jnp.round(share * n)


def flip_labels(samples: Samples, share: float, key: PRNGKeyArray) -> Samples:
    """The same inputs with the labels of some samples, chosen at random, negated.

    A `ValueError` is raised if a label is neither -1 nor +1, or the share is not between 0 and 1.

    Args:
        samples: a data set with labels -1 and +1.
        share: the share of samples whose labels are negated, rounded to whole samples.
        key: a JAX random key.

    Returns:
        The data set, under the same name.
    """
    check_labels(samples)
    _check_share(share, key)
    flipped = _chosen(samples.num_samples, share, key)
    return Samples(samples.x, jnp.where(flipped, -samples.y, samples.y), samples.name)


def with_outliers(samples: Samples, share: float, size: float, key: PRNGKeyArray) -> Samples:
    """The same targets with the inputs of some samples, chosen at random, moved far in random directions.

    A chosen x becomes x + size r u, with r the root mean square norm of the inputs given and u uniform on the unit sphere, drawn for each
    sample.

    A `ValueError` is raised if the share is not between 0 and 1, or the size negative or not finite.

    Args:
        samples: the data set, with any targets.
        share: the share of samples that are moved, rounded to whole samples.
        size: how far, in root mean square norms of the inputs.
        key: a JAX random key.

    Returns:
        The data set, under the same name.
    """
    check_samples(samples)
    _check_share(share, key)
    check_not_negative("size", size)
    key_choice, key_direction = jr.split(key)
    moved = _chosen(samples.num_samples, share, key_choice)
    direction = jr.normal(key_direction, samples.x.shape, samples.x.dtype)
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    distance = size * jnp.sqrt(jnp.mean(jnp.sum(samples.x**2, axis=1)))
    return Samples(jnp.where(moved[:, None], samples.x + distance * direction, samples.x), samples.y, samples.name)
