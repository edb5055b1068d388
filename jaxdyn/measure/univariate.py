"""Knots of univariate two-layer networks with bias."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import Params
from ._checked import checked
from ._network import innermost


def _neurons(params: Params) -> tuple[Float[Array, " hidden"], Float[Array, " hidden"], Bool[Array, " hidden"]]:
    # knots, weights |c| |w| with w = (a, b), and whether w = 0
    if isinstance(params, dict) and set(params) == {"now", "start"}:
        params = params["now"]
    if isinstance(params, dict) and {"r", "theta"} <= set(params):
        return jnp.tan(params["theta"]), jnp.abs(params["r"]), params["r"] == 0
    fits = isinstance(params, dict) and {"a", "b", "c"} <= set(params) and jnp.ndim(params["a"]) == 2 and params["a"].shape[1] == 1
    if not fits:
        raise ValueError("knots need a univariate two-layer network with bias: take jaxdyn.models.TwoLayer(width, dim=1, bias=True).")
    a, b, c = params["a"][:, 0], params["b"], params["c"]
    return b / a, jnp.abs(c) * jnp.hypot(a, b), (a == 0) & (b == 0)


def _inputs(flow: Any) -> Float[Array, " sample"]:
    data = getattr(innermost(flow), "data", None)
    if data is None or jnp.ndim(data.x) != 2 or data.x.shape[1] != 1:
        raise ValueError("this measure compares knots with samples: the flow needs data with inputs of dimension 1.")
    return data.x[:, 0]


@checked
def knots(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, " hidden"]:
    """Where each neuron of act(a_i x - b_i) switches: b_i / a_i.

    A neuron with a = 0 has no knot: it gives inf with the sign of b / a (zeros have signs), and NaN where b = 0 too. In reduced
    coordinates it is tan(theta).

    Args:
        flow: unused.
        t: time, unused.
        params: `{"a": (hidden, 1), "b", "c"}`, or `{"r", "theta", "delta"}` of `ReducedFlow`, or `{"now", "start"}` of a centred or
            linearised model, of which `"now"` counts.

    Returns:
        One number a neuron, in the units of x.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, section 3.
    """
    return _neurons(params)[0]


@checked
def knot_movement(flow: Any, t: Float[Array, ""], params: Params, start: Params) -> Float[Array, ""]:
    """The median distance that knots have moved, over the neurons whose knot started within the samples.

    Within means in [min x, max x], where a knot can be seen; of an even number of neurons the two middle ones are averaged. Neurons that
    have died (a = b = 0) have no knot and are left out.

    Args:
        flow: a flow with `data` of dimension 1.
        t: time, unused.
        params: as in `knots`.
        start: the lane's start.

    Returns:
        One number, in the units of x; NaN if no knot started within the samples, or if one of them is NaN now.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, the experiments.
    """
    x, (now, _, dead), first = _inputs(flow), _neurons(params), _neurons(start)[0]
    inside = (first >= jnp.min(x)) & (first <= jnp.max(x))
    inside &= ~dead
    movement = jnp.abs(now - first)
    lost = jnp.any(inside & jnp.isnan(movement))
    return jnp.where(lost, jnp.nan, jnp.nanmedian(jnp.where(inside, movement, jnp.nan)))


@checked
def weight_near_samples(
    flow: Any,
    t: Float[Array, ""],
    params: Params,
    *,
    radius: float | Float[Array, ""] = 0.02,
) -> Float[Array, ""]:
    r"""The share of $\sum_i |c_i| |w_i|$, $w_i = (a_i, b_i)$, in neurons with their knot within `radius` of a sample.

    Near 1 in the adaptive regime at long times, where the function is a linear spline.

    Args:
        flow: a flow with `data` of dimension 1.
        t: time, unused.
        params: as in `knots`.
        radius: in the units of x; the boundary counts.

    Returns:
        A number in [0, 1]; NaN if all weights are 0.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, the experiments.
    """
    x = _inputs(flow)
    knot, weight, _ = _neurons(params)
    near = jnp.min(jnp.abs(knot[:, None] - x[None, :]), axis=1) <= radius
    return jnp.sum(jnp.where(near, weight, jnp.zeros_like(weight))) / jnp.sum(weight)
