"""The empirical neural tangent kernel."""

from typing import Any, Literal, TypedDict, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._checks import check_flag, check_number, shown
from .._types import Params
from ..flows import GradientFlow, ReducedFlow, check_independent, expand_reduced
from ._checked import checked
from ._gram import gram
from ._jacobian import rows_of
from ._network import as_rows, dtype_of, innermost, relative, which_train

MEMORY = 2**30
"""What rows of the Jacobian may take, in bytes, unless told otherwise."""


class KernelOptions(TypedDict, total=False):
    """Keywords of `ntk` that every measure of the kernel takes.

    Attributes:
        outputs: "trace" or "full".
        memory: bytes for rows of the Jacobian.
        mixes_samples: whether an output depends on other samples than its own.
    """

    outputs: Literal["trace", "full"]
    memory: int
    mixes_samples: bool | None


@checked
def ntk(
    flow: Any,
    t: Float[Array, ""],
    params: Params,
    *,
    x: Float[ArrayLike, "sample dim"] | None = None,
    other: Float[ArrayLike, "other dim"] | None = None,
    outputs: Literal["trace", "full"] = "trace",
    memory: int = MEMORY,
    mixes_samples: bool | None = None,
) -> Float[Array, "sample ..."]:
    r"""The neural tangent kernel that drives the flow, $K_{io,jp} = \sum_k s_k \, \partial_k f_{io} \, \partial_k f_{jp}$.

    The sum runs over the parameters that train, $s_k$ are the flow's time scales (1 without), and $f_{io}$ is output o at sample i,
    output scaling included; so $\dot f = -K \, \nabla_f \ell$ where there are no penalties. Networks of several outputs have by default
    the trace $K_{ij} = \sum_o K_{io,jo}$, a sum over outputs and not their mean; the outputs move by the full kernel. A `ReducedFlow` has
    the kernel of the network that it reduces.

    Memory: `memory` bytes of the Jacobian, a row for each output of each sample with one number a trained parameter, and besides them the
    kernel itself. Under `vmap` all of it is needed for every lane, and a solve evaluates up to 16 recorded states at once: there, name
    less. The work is half the product J J^T, and the Jacobian anew for half of its chunks.

    Args:
        flow: a flow with `outputs(params)`.
        t: time, unused.
        params: the parameters.
        x: inputs of the rows, a vector being one column; None for the flow's samples.
        other: inputs of the columns, None for those of the rows; K(x, X) on the flow's samples X is `other=flow.data.x`.
        outputs: "trace" or "full"; the same where there is one output a sample.
        memory: bytes for rows of the Jacobian, of which at least two are held. It changes rounding only.
        mixes_samples: whether the model's output at one sample depends on the others (batch normalisation); None asks the flow. Without
            it each sample goes through the network by itself; with it, and for flows of one's own class, every row differentiates the
            outputs on all samples, sample times the work, and `x` and `other` are a batch each.

    Returns:
        Shape (sample, sample), or (sample, output, sample, output) in full, in the dtype of the parameters, not divided by the number of
        samples; symmetric positive semi-definite without `other`.

    Raises:
        ValueError: the flow has no outputs or no network at other inputs, or an option is none of the above.

    Reference:
        Jacot, Gabriel & Hongler (2018), arXiv 1806.07572, section 4, the full kernel.
    """
    if outputs not in ("trace", "full"):
        raise ValueError(f"outputs={shown(outputs)} must be 'trace', the sum over a sample's outputs, or 'full'.")
    check_number("memory", memory, "a positive number of bytes, or left out", lambda memory: memory > 0)
    if mixes_samples is not None:
        check_flag("mixes_samples", mixes_samples)
    base = innermost(flow)
    if isinstance(base, ReducedFlow):
        flow = base = GradientFlow(base.model, base.loss_function, base.data)
        params = expand_reduced(params)
    trains = which_train(flow, params)
    moving, still = eqx.partition(params, trains)
    dtype = dtype_of(params)
    mixes = getattr(base, "mixes_samples", False) if mixes_samples is None else mixes_samples
    if isinstance(base, GradientFlow) and not mixes:
        check_independent(flow, params)
    left = rows_of(flow, moving, still, None if x is None else as_rows(x), mixes)
    right = None if other is None else rows_of(flow, moving, still, as_rows(other), mixes)
    shapes = left.shape, (left if right is None else right).shape
    row_bytes = sum(leaf.size for leaf in jax.tree.leaves(moving)) * dtype.itemsize
    if row_bytes == 0:
        return jnp.zeros((shapes[0][0], shapes[1][0]) if outputs == "trace" else (*shapes[0], *shapes[1]), dtype)
    scales = _time_scales(flow, params, trains)
    chunk = max(1, int(memory // ((2 if scales is None else 3) * row_bytes)))  # the rows on the left with and without scales
    if outputs == "full" or left.num_outputs == 1:
        kernel = gram(left, right, scales, chunk, dtype)
        return kernel.reshape(*shapes[0], *shapes[1]) if outputs == "full" else kernel

    def add(kernel: Array, output: Array) -> tuple[Array, None]:
        columns = None if right is None else right.of_output(output)
        return kernel + gram(left.of_output(output), columns, scales, chunk, dtype), None

    return jax.lax.scan(add, jnp.zeros((shapes[0][0], shapes[1][0]), dtype), jnp.arange(left.num_outputs))[0]


def _time_scales(flow: Any, params: Params, trains: Params) -> list[Array] | None:
    """What multiplies minus the gradient, as the flow says by `mobility`; None for 1."""
    base = innermost(flow)
    own = getattr(flow, "mobility", None)
    if not callable(own) or (isinstance(base, GradientFlow) and base.time_scales is None):
        return None
    return jax.tree.leaves(eqx.filter(own(params), trains))


@checked
def ntk_change(flow: Any, t: Float[Array, ""], params: Params, start: Params, **options: Unpack[KernelOptions]) -> Float[Array, ""]:
    r"""How far the neural tangent kernel has moved, $\|K - K_0\|_F / \|K_0\|_F$.

    Small throughout in the kernel regime (Jacot, Gabriel & Hongler 2018, arXiv:1806.07572, theorem 2). The start's kernel is
    computed anew at each call.

    Args:
        flow: as in `ntk`.
        t: time, unused.
        params: the parameters.
        start: the lane's start.
        **options: `outputs`, `memory` and `mixes_samples`, as in `ntk`.

    Returns:
        A number without unit; the change itself where the start's kernel is 0.
    """
    first, now = (ntk(flow, t, at, **options) for at in (start, params))
    return relative(jnp.linalg.norm(jnp.ravel(now - first)), jnp.linalg.norm(jnp.ravel(first)))
