"""The surfaces w . x = 0 of samples, and the geometry of sliding on several of them."""

from functools import reduce
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
    group = jnp.min(jnp.where(parallel, jnp.arange(n, dtype=jnp.int32)[:, None], n), axis=0)
    known = jnp.minimum(group, n - 1)
    return jnp.where(group < n, group, -1), jnp.where(group < n, ratio[known, jnp.arange(n)], 0.0)


class Frame(NamedTuple):
    """The surfaces that each neuron slides on, in the metric of its mobility S.

    Attributes:
        normal: q, with q_k . S q_l = 1 for k = l and 0 otherwise; zero where a slot is free.
        dual: d, with x_k . S d_l likewise, in the span of the q.
    """

    normal: Float[Array, "slot input neuron"]
    dual: Float[Array, "slot input neuron"]


def preactivations(inputs: Float[Array, "sample input"], weights: Float[Array, "input neuron"]) -> Float[Array, "sample neuron"]:
    """The matrix product; for few inputs a sum, which costs half of it on a CPU."""
    if inputs.shape[1] > 3:
        return inputs @ weights
    columns, rows = (jnp.split(part, inputs.shape[1], axis) for part, axis in ((inputs, 1), (weights, 0)))
    return reduce(jnp.add, [column * row for column, row in zip(columns, rows, strict=True)])


def dot(a: Float[Array, "input neuron"], b: Float[Array, "input neuron"]) -> Float[Array, " neuron"]:
    """The scalar product of each neuron's vectors; a sum of few terms, written out."""
    return reduce(jnp.add, a * b) if a.shape[0] <= 4 else jnp.sum(a * b, axis=0)


def frame(rows: Float[Array, "slot input neuron"], metric: Float[Array, "input neuron"]) -> Frame:
    """Gram and Schmidt, twice for accuracy.

    Args:
        rows: the normals x, zeros where a slot is free.
        metric: S, the mobility of each weight.

    Returns:
        The frame.
    """
    normals, factors = [], []
    for row in rows:
        rest, against = row, [jnp.zeros_like(row[0]) for _ in normals]
        for _ in range(2 if normals else 0):
            shares = [dot(rest, metric * q) for q in normals]
            rest = reduce(jnp.subtract, [share[None, :] * q for share, q in zip(shares, normals, strict=True)], rest)
            against = [a + b for a, b in zip(against, shares, strict=True)]
        squared = dot(rest, metric * rest)
        good = squared > DEPENDENT * dot(row, metric * row)
        size = jnp.sqrt(jnp.where(good, squared, 1.0))
        normals.append(jnp.where(good, 1 / size, 0.0)[None, :] * rest)
        factors.append([*against, size])
    duals: list = [None] * len(normals)
    for k in reversed(range(len(normals))):
        terms = [factors[j][k][None, :] * duals[j] for j in range(k + 1, len(normals))]
        duals[k] = reduce(jnp.subtract, terms, normals[k]) / factors[k][k][None, :]
    return Frame(jnp.stack(normals), jnp.stack(duals))


def off_surfaces(
    row: Float[Array, "input neuron"], normal: Float[Array, "slot input neuron"], metric: Float[Array, "input neuron"]
) -> Float[Array, "input neuron"]:
    """A normal without its part along those of the surfaces that the neuron slides on."""
    for q in normal:
        row = row - dot(q, metric * row)[None] * q
    return row


def tangential(
    vector: Float[Array, "input neuron"], normal: Float[Array, "slot input neuron"], metric: Float[Array, "input neuron"]
) -> Float[Array, "input neuron"]:
    """A displacement without what leads off the surfaces."""
    for q in normal:
        vector = vector - dot(q, vector)[None, :] * (metric * q)
    return vector
