"""The surfaces w . x = 0 of samples, and the geometry of sliding on several of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

DEPENDENT = 1e-12
"""A surface whose normal has less than this of itself outside the span of the others is held by them already."""


def group_samples(inputs: Float[Array, "sample input"]) -> tuple[Int[Array, " sample"], Float[Array, " sample"]]:
    """Which samples have the same surface.

    Args:
        inputs: one row a sample.

    Returns:
        The first sample with parallel inputs (-1 for an input of zeros), and the sample's input over that one's.
    """
    n, eps = inputs.shape[0], jnp.finfo(inputs.dtype).eps
    size = jnp.max(jnp.abs(inputs), axis=1)

    def ratios_to(row: Array) -> tuple[Array, Array]:
        ratio = inputs @ row / jnp.maximum(row @ row, jnp.finfo(inputs.dtype).tiny)
        off = jnp.max(jnp.abs(inputs - ratio[:, None] * row[None, :]), axis=1)
        return off <= 16 * eps * size, ratio

    parallel, ratio = jax.lax.map(ratios_to, inputs)  # (first, sample)
    parallel &= (size > 0)[:, None] & (size > 0)[None, :]
    group = jnp.min(jnp.where(parallel, jnp.arange(n)[:, None], n), axis=0)
    known = jnp.minimum(group, n - 1)
    return jnp.where(group < n, group, -1), jnp.where(group < n, ratio[known, jnp.arange(n)], 0.0)


class Frame(NamedTuple):
    """The surfaces that each neuron slides on, in the metric of its mobility S.

    Attributes:
        normal: q, with q_k . S q_l = 1 for k = l and 0 otherwise; zero where a slot is free.
        dual: d, with x_k . S d_l likewise, in the span of the q.
    """

    normal: Float[Array, "slot hidden input"]
    dual: Float[Array, "slot hidden input"]


def dot(a: Float[Array, "... input"], b: Float[Array, "... input"]) -> Float[Array, "..."]:
    """The plain scalar product of rows; a sum of few terms, written out."""
    return sum(a[..., k] * b[..., k] for k in range(a.shape[-1])) if a.shape[-1] <= 4 else jnp.sum(a * b, axis=-1)


def frame(rows: Float[Array, "slot hidden input"], metric: Float[Array, "hidden input"]) -> Frame:
    """Gram and Schmidt, twice for accuracy.

    Args:
        rows: the normals x, zeros where a slot is free.
        metric: S, the mobility of each weight.

    Returns:
        The frame.
    """
    normals, factors = [], []
    for row in rows:
        rest, against = row, []
        for _ in range(2):
            shares = [dot(rest, metric * q) for q in normals]
            rest = rest - sum((share[:, None] * q for share, q in zip(shares, normals, strict=True)), jnp.zeros_like(rest))
            against = [a + b for a, b in zip(against, shares, strict=True)] if against else shares
        whole, squared = dot(row, metric * row), dot(rest, metric * rest)
        good = squared > DEPENDENT * whole
        size = jnp.sqrt(jnp.where(good, squared, 1.0))
        normals.append(jnp.where(good, 1 / size, 0.0)[:, None] * rest)
        factors.append([*against, size])
    duals: list = [None] * len(normals)
    for k in reversed(range(len(normals))):
        rest = normals[k] - sum((factors[j][k][:, None] * duals[j] for j in range(k + 1, len(normals))), jnp.zeros_like(normals[k]))
        duals[k] = rest / factors[k][k][:, None]
    return Frame(jnp.stack(normals), jnp.stack(duals))


def tangential(vector: Float[Array, "hidden input"], on: Frame, metric: Float[Array, "hidden input"]) -> Float[Array, "hidden input"]:
    """A displacement without what leads off the surfaces."""
    for q in on.normal:
        vector = vector - dot(q, vector)[:, None] * (metric * q)
    return vector
