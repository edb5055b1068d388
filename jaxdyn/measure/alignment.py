"""Early alignment: in which cone the neurons of a two-layer network lie, and since when."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .._checks import plainly
from .._repr import fields_html, text_of
from .._types import Params
from ..models import Neurons
from ._checked import checked
from ._direction import all_reach, signs_of
from ._gates import neurons_of_model
from ._network import innermost, network_params

DEAD, POSITIVE, NEGATIVE, NEITHER = 0, 1, -1, 2


def _neurons(flow: Any, params: Params) -> Neurons:
    base = innermost(flow)
    if getattr(base, "data", None) is None or not callable(getattr(getattr(base, "model", None), "neurons", None)):
        raise ValueError("alignment is that of two-layer networks on samples: give a GradientFlow of a jaxdyn.models.TwoLayer.")
    all_reach(base.data.x)
    params = network_params(flow, params)
    neurons = neurons_of_model(base.model, params, base.data.x)
    if neurons is None:
        raise ValueError("alignment is that of two-layer networks on samples: the model that is wrapped here has other layers.")
    return neurons


@checked
def alignment_sets(flow: Any, t: Float[Array, ""], params: Params, *, zero: float | Float[Array, ""] = 0.0) -> Int[Array, " hidden"]:
    """The cone that each neuron's inner vector z lies in, as a code.

    S_+ = {z: x_i.z > 0 exactly where y_i = +1} has the code 1, S_- = {z: x_i.z > 0 exactly where y_i = -1} the code -1,
    S_dead = {z: x_i.z <= 0 for all i} the code 0, and the rest the code 2. Biases are part of z, with inputs -1.

    Args:
        flow: a gradient flow of a two-layer network on labels -1 and +1, or one that wraps it.
        t: time, unused.
        params: of any norm.
        zero: x_i.z counts as positive above this times |x_i| |z|.

    Returns:
        One code a neuron.

    Reference:
        Min, Mallada & Vidal (2023), arXiv:2307.12851, section 3.
    """
    neurons, y = _neurons(flow, params), signs_of(flow)
    lengths = jnp.max(jnp.abs(neurons.inner), axis=0)  # the norm of 1e-200 is 0
    inner = neurons.inner / jnp.where(lengths > 0, lengths, 1.0)[None, :]
    least = zero * jnp.linalg.norm(neurons.inputs, axis=1)[:, None] * jnp.linalg.norm(inner, axis=0)[None, :]
    active = neurons.inputs @ inner > least
    codes = jnp.full(lengths.shape, NEITHER)
    codes = jnp.where(jnp.all(active == (y > 0)[:, None], axis=0), POSITIVE, codes)
    codes = jnp.where(jnp.all(active == (y < 0)[:, None], axis=0), NEGATIVE, codes)
    return jnp.where(~jnp.any(active, axis=0), DEAD, codes)


@checked
def aligned(flow: Any, t: Float[Array, ""], params: Params, *, zero: float | Float[Array, ""] = 0.0) -> Bool[Array, ""]:
    """Whether each neuron with a positive output weight is in S_+ or dead, and each with a negative one in S_- or dead.

    Args:
        flow: as in `alignment_sets`.
        t: time, unused.
        params: of any norm.
        zero: as in `alignment_sets`.

    Returns:
        One truth value.

    Reference:
        Min, Mallada & Vidal (2023), arXiv:2307.12851, theorem 1 (i).
    """
    codes, outer = alignment_sets(flow, t, params, zero=zero), _neurons(flow, params).outer
    wanted = jnp.where(outer > 0, POSITIVE, NEGATIVE)
    return jnp.all((codes == wanted) | (codes == DEAD) | (outer == 0))


class AlignedTimes(NamedTuple):
    """When recorded flags held; with the axes of the flags but time.

    Attributes:
        first: the first recorded time at which all held; NaN if never.
        last: the recorded time since which they held until the end; NaN if not at the end.
        left: whether one did not hold at some time after the first.
    """

    first: Float[np.ndarray, "..."]
    last: Float[np.ndarray, "..."]
    left: Bool[np.ndarray, "..."]

    __repr__ = text_of
    _repr_html_ = fields_html


@plainly
def first_aligned_time(ts: ArrayLike, flags: ArrayLike) -> AlignedTimes:
    """Since when recorded flags hold; on the host.

    Args:
        ts: recorded times, ascending, the last axis being time; those that are not finite, of lanes that ended before, are left out.
        flags: recorded truth values of the same shape, `aligned` or, for lanes, one row each.

    Returns:
        The times.

    Raises:
        ValueError: the shapes do not fit.
    """
    ts, flags = np.asarray(ts, float), np.asarray(flags, bool)
    if ts.ndim == 0 or (ts.shape != flags.shape and flags.shape[-1:] != ts.shape) or ts.shape[-1] == 0:
        raise ValueError(f"flags must be recorded at the times, along the last axis, but have the shapes {flags.shape} and {ts.shape}.")
    ts = np.broadcast_to(ts, flags.shape)
    seen = np.isfinite(ts)
    holds, fails = flags & seen, ~flags & seen
    index = np.arange(ts.shape[-1])
    begin = np.where(holds.any(-1), holds.argmax(-1), -1)
    after = np.where(fails, index, -1).max(-1)  # the last failure
    later = holds & (index > after[..., None])
    since = np.where(later.any(-1), later.argmax(-1), -1)

    def at(which: np.ndarray) -> np.ndarray:
        return np.where(which >= 0, np.take_along_axis(ts, np.maximum(which, 0)[..., None], -1)[..., 0], np.nan)

    return AlignedTimes(at(begin), at(since), (begin >= 0) & (after > begin))
