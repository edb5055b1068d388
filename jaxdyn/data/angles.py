"""Two classes, labels -1 and +1, whose inputs lie at given angles to each other: a cone, orthonormal, nearly orthogonal."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count, check_flag, check_key, check_number, check_positive, is_concrete
from .base import Samples


def _labels(key: PRNGKeyArray, n: int, balanced: bool) -> Float[Array, " sample"]:
    if balanced:
        return jnp.where(jnp.arange(n) % 2 == 0, 1.0, -1.0)
    return jr.rademacher(key, (n,), jnp.result_type(float))


def _unit_rows(key: PRNGKeyArray, n: int, dim: int) -> Float[Array, "row dim"]:
    rows = jr.normal(key, (n, dim))
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def _frame(key: PRNGKeyArray, n: int, dim: int) -> Float[Array, "row dim"]:
    # The signs make the frame uniform among all frames.
    q, r = jnp.linalg.qr(jr.normal(key, (dim, n)))
    return (q * jnp.sign(jnp.diagonal(r))[None, :]).T


def cone(n: int, mu: float, dim: int, *, key: PRNGKeyArray, norm: float = 1.0, equal: bool = False, balanced: bool = True) -> Samples:
    """Samples whose x_i y_i lie in a narrow cone: the smallest cosine of two of them is mu, up to rounding.

    This is the assumption of Min, Mallada & Vidal 2023 (arXiv:2307.12851) for mu > 0; for mu <= 0 the data are still linearly separable.

    The directions z_i = y_i x_i fill the circular cone about a random axis e whose opening is arccos(mu): z_i = cos(a_i) e + sin(a_i) u_i
    with u_i uniform on the unit sphere across e. The first two samples lie on its edge opposite each other, a_i = arccos(mu)/2 and
    u_2 = -u_1, so that their cosine is mu; the others have a_i = arccos(mu)/2 U^(1/(dim-1)) with U uniform on [0, 1], about uniform in the
    cone. No two directions of the cone are further apart than its opening, whatever n and dim are. With `equal` all pairs
    have the cosine mu instead, a turned simplex: this needs n <= dim and mu >= -1/(n-1), below which no n directions can be.

    Args:
        n: the number of samples.
        mu: the smallest cosine.
        dim: the number of inputs.
        key: a JAX random key.
        norm: the norm of every input.
        equal: whether all pairs have the cosine mu.
        balanced: whether the labels alternate, +1 first; otherwise each is a fair coin.

    Returns:
        The data set.

    Raises:
        ValueError: if there is no such data set.
    """
    n, dim = check_count("n", n, 2), check_count("dim", dim, 2)
    check_positive("norm", norm)
    check_number("mu", mu, "a cosine strictly between -1 and 1", lambda mu: -1 < mu < 1)
    equal, balanced, concrete = check_flag("equal", equal), check_flag("balanced", balanced), is_concrete(mu)
    check_key(key)
    if equal and n > dim:
        raise ValueError(f"{n} directions at equal cosines need as many inputs, and dim is {dim}; raise dim or leave equal out.")
    if equal and concrete and mu < -1 / (n - 1):
        raise ValueError(f"{n} directions cannot all be at cosines below -1/(n-1) = {-1 / (n - 1):g}; raise mu or leave equal out.")
    key_axis, key_around, key_angle, key_labels = jr.split(key, 4)
    if equal:
        # The symmetric root of the Gram matrix (1 - mu) I + mu J, in a random frame.
        frame = _frame(key_axis, n, dim)
        mean = jnp.mean(frame, axis=0, keepdims=True)
        root, root_mean = jnp.sqrt(1.0 - mu), jnp.sqrt(jnp.maximum(1.0 + (n - 1) * mu, 0.0))
        z = root * (frame - mean) + root_mean * mean
    else:
        around = _unit_rows(key_around, n, dim - 1)
        around = around.at[1].set(-around[0])
        inward = jr.uniform(key_angle, (n,)).at[:2].set(1.0) ** (1 / (dim - 1))
        angle = inward * jnp.arctan2(jnp.sqrt(1.0 - mu), jnp.sqrt(1.0 + mu))
        z = jnp.concatenate([jnp.cos(angle)[:, None], jnp.sin(angle)[:, None] * around], axis=1)
        # A reflection, turned about, takes the first coordinate's axis to a random one, without cancellation.
        axis = _unit_rows(key_axis, 1, dim)[0]
        side = jnp.where(axis[0] < 0, -1.0, 1.0)
        mirror = axis.at[0].add(side)
        z = side * (2 / jnp.sum(mirror**2) * (z @ mirror)[:, None] * mirror[None, :] - z)
    y = _labels(key_labels, n, balanced)
    return Samples(norm * y[:, None] * z, y, "cone")


def orthonormal(n: int, dim: int, *, key: PRNGKeyArray, norm: float = 1.0, balanced: bool = True) -> Samples:
    """Inputs that are orthogonal to each other, in a uniformly random frame.

    Args:
        n: the number of samples.
        dim: the number of inputs, at least n.
        key: a JAX random key.
        norm: the norm of every input.
        balanced: whether the labels alternate, +1 first; otherwise each is a fair coin.

    Returns:
        The data set.

    Raises:
        ValueError: if n is below 1 or above dim, or the norm not positive.
    """
    n, dim, balanced = check_count("n", n), check_count("dim", dim), check_flag("balanced", balanced)
    check_key(key)
    if n > dim:
        raise ValueError(f"orthonormal needs 1 <= n <= dim, as no more inputs are orthogonal to each other; {n} and {dim} were given.")
    check_positive("norm", norm)
    key_frame, key_labels = jr.split(key)
    return Samples(norm * _frame(key_frame, n, dim), _labels(key_labels, n, balanced), "orthonormal")


def nearly_orthogonal(n: int, dim: int, *, key: PRNGKeyArray, norm: float | None = None, balanced: bool = False) -> Samples:
    """Standard normal inputs with labels that do not depend on them; nearly orthogonal where dim is much larger than n.

    Cosines are of order 1/sqrt(dim): the largest of all pairs is about sqrt(4 log(n)/dim). Frei et al. 2022 (arXiv:2210.07082) ask
    that the least |x_i|^2 be a large multiple of n times the largest |x_i.x_j|, up to ratios of norms; this needs dim of order n^2 log(n).

    A `ValueError` is raised if n or dim is below 1, or the norm not positive.

    Args:
        n: the number of samples.
        dim: the number of inputs.
        key: a JAX random key.
        norm: the norm that every input is brought to; None leaves the norms, which are about sqrt(dim).
        balanced: whether the labels alternate, +1 first; otherwise each is a fair coin.

    Returns:
        The data set.
    """
    n, dim, balanced = check_count("n", n), check_count("dim", dim), check_flag("balanced", balanced)
    if norm is not None:
        check_positive("norm", norm)
    check_key(key)
    key_inputs, key_labels = jr.split(key)
    x = jr.normal(key_inputs, (n, dim)) if norm is None else norm * _unit_rows(key_inputs, n, dim)
    return Samples(x, _labels(key_labels, n, balanced), "nearly_orthogonal")
