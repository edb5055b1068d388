"""The empirical neural tangent kernel."""

import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Params
from ..flows import GradientFlow, ReducedFlow, expand_reduced
from ._network import dtype_of, innermost, network_at, relative, which_train

JACOBIAN_BYTES = 256 * 2**20
"""What a chunk of the Jacobian may take."""


def ntk(
    flow: Any,
    t: Float[Array, ""],
    params: Params,
    *,
    chunk: int | None = None,
    mixes_samples: bool = False,
) -> Float[Array, "sample sample"]:
    r"""The neural tangent kernel that drives the flow, $K_{ij} = \sum_k s_k \, \partial_k f_i \, \partial_k f_j$.

    The sum runs over the parameters that train, $s_k$ are the flow's time scales (1 without), and $f_i$ is the output at sample i,
    output scaling included; so $\dot f = -K \, \nabla_f \ell$ where there are no penalties. A `ReducedFlow` has the kernel of
    the network that it reduces.

    Memory: K itself, and two chunks of the Jacobian, `chunk` rows of one number a trained parameter each (once more that while a chunk is
    being differentiated). By default a chunk takes at most 256 MB, or one row. Under `vmap` all of it is needed for every lane, and a solve
    evaluates up to 16 recorded states at once: there, name a smaller chunk. The work is that of the product J J^T plus
    sample / chunk Jacobians.

    Args:
        flow: a flow with `outputs(params)`.
        t: time, unused.
        params: the parameters.
        chunk: rows of the Jacobian at once; None for as many as fit into 256 MB. It changes rounding only.
        mixes_samples: whether the model's output at one sample depends on the others (batch normalisation). Without it each sample goes
            through the network by itself; with it, and for flows of one's own class, every row differentiates the outputs on all samples,
            sample times the work.

    Returns:
        A symmetric positive semi-definite matrix, in the dtype of the parameters, not divided by the number of samples.

    Raises:
        ValueError: the flow has no outputs, or the chunk is no positive integer.

    Reference:
        Jacot, Gabriel & Hongler (2018), arXiv 1806.07572, section 4.
    """
    base = innermost(flow)
    if isinstance(base, ReducedFlow):
        flow = base = GradientFlow(base.model, base.loss_function, base.data)
        params = expand_reduced(params)
    trains = which_train(flow, params)
    moving, still = eqx.partition(params, trains)
    size = sum(leaf.size for leaf in jax.tree.leaves(moving))
    dtype = dtype_of(params)
    by_sample = isinstance(base, GradientFlow) and not mixes_samples  # another flow's outputs may be more than its model on its data
    if not by_sample and not callable(getattr(flow, "outputs", None)):
        raise ValueError(f"{type(flow).__name__} offers no outputs(params): the kernel is that of flows of an empirical loss.")
    n, row = _gradients_by_sample(flow, base.data.x, moving, still) if by_sample else _gradients_of_all(flow, moving, still)
    if size == 0:
        return jnp.zeros((n, n), dtype)
    scales = _time_scales(base, params, trains, dtype)
    chunk = _rows_at_once(chunk, n, size * dtype.itemsize)
    num_chunks = -(-n // chunk)
    chunk = -(-n // num_chunks)
    # the last chunk repeats the last sample, and its rows are cut off below
    indices = jnp.minimum(jnp.arange(num_chunks * chunk), n - 1).reshape(num_chunks, chunk)

    def block_row(rows: Array) -> Array:
        left = jax.vmap(row)(rows)
        weighted = left if scales is None else left * scales[None, :]
        if num_chunks == 1:
            return _product(weighted, left)[None]
        return jax.lax.map(lambda columns: _product(weighted, jax.vmap(row)(columns)), indices)

    blocks = jax.lax.map(block_row, indices)
    return blocks.transpose(0, 2, 1, 3).reshape(num_chunks * chunk, num_chunks * chunk)[:n, :n]


def _product(left: Array, right: Array) -> Array:
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)


def _rows_at_once(chunk: int | None, n: int, row_bytes: int) -> int:
    if chunk is None:
        return min(n, max(1, JACOBIAN_BYTES // row_bytes))
    try:
        rows = operator.index(chunk)
    except TypeError:
        rows = 0
    if rows < 1:
        raise ValueError(f"chunk={chunk!r} must be an integer of at least 1, the rows of the Jacobian at once; leave it out for a default.")
    return min(n, rows)


def _gradients_by_sample(flow: Any, x: Array, moving: Params, still: Params) -> tuple[int, Callable]:
    def one(moving: Params, index: Array) -> Array:
        return network_at(flow, eqx.combine(moving, still), x[index][None])[0]

    return x.shape[0], lambda index: ravel_pytree(jax.grad(one)(moving, index))[0]


def _gradients_of_all(flow: Any, moving: Params, still: Params) -> tuple[int, Callable]:
    f, pull_back = jax.vjp(lambda moving: flow.outputs(eqx.combine(moving, still)), moving)
    return f.shape[0], lambda index: ravel_pytree(pull_back(jnp.zeros_like(f).at[index].set(1.0))[0])[0]


def _time_scales(base: Any, params: Params, trains: Params, dtype: jnp.dtype) -> Float[Array, " param"] | None:
    scales = getattr(base, "time_scales", None)
    if scales is None:
        return None
    full = jax.tree.map(lambda scale, part: jax.tree.map(lambda leaf: jnp.broadcast_to(scale, leaf.shape), part), scales, params)
    return ravel_pytree(eqx.filter(full, trains))[0].astype(dtype)


def ntk_change(
    flow: Any,
    t: Float[Array, ""],
    params: Params,
    start: Params,
    *,
    chunk: int | None = None,
    mixes_samples: bool = False,
) -> Float[Array, ""]:
    r"""How far the neural tangent kernel has moved, $\|K - K_0\|_F / \|K_0\|_F$.

    Small throughout in the kernel regime (Jacot, Gabriel & Hongler 2018, arXiv:1806.07572, theorem 2). The start's kernel is
    computed anew at each call.

    Args:
        flow: as in `ntk`.
        t: time, unused.
        params: the parameters.
        start: the lane's start.
        chunk: as in `ntk`.
        mixes_samples: as in `ntk`.

    Returns:
        A number without unit; the change itself where the start's kernel is 0.
    """
    first = ntk(flow, t, start, chunk=chunk, mixes_samples=mixes_samples)
    now = ntk(flow, t, params, chunk=chunk, mixes_samples=mixes_samples)
    return relative(jnp.linalg.norm(now - first), jnp.linalg.norm(first))
