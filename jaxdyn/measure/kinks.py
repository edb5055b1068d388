"""Who slides: pre-activations that stay at zero, with Filippov's gates, and how the pattern of gates has changed."""

from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from .._types import Params
from ..solve import NeuronKinks, neurons_of
from ._checked import checked


@checked
def sliding_gates(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, "sample hidden"]:
    """Filippov's gate of each pair of a sample and a neuron that slides on its surface; NaN where none does.

    A pair slides if its pre-activation is zero up to rounding, which a solution that locates its kinks keeps so, and the gate that keeps it
    there lies in [0, 1] on a surface that attracts. Repeated samples have one gate.

    Args:
        flow: a gradient flow of a (leaky) ReLU network with one hidden layer.
        t: time, unused.
        params: its parameters.

    Returns:
        Shape (sample, hidden).

    Raises:
        ValueError: the flow has no kinks, or more than one hidden layer.

    Reference:
        Filippov (1988), Differential equations with discontinuous righthand sides, section 4; docs/kinks.md.
    """
    if neurons_of(flow, params) is None:
        raise ValueError("sliding is measured for (leaky) ReLU networks with one hidden layer and a smooth loss; see solution.state.kinks.")
    flat, unravel = ravel_pytree(params)
    state = NeuronKinks(flow, unravel, jnp.zeros_like(flat)).at_rest(flat)
    gates = jnp.full(state.gates.shape, jnp.nan, flat.dtype)
    for slide, multiplier, jump in zip(state.slides, state.multiplier, state.jump, strict=True):
        good = (slide >= 0) & (jump > 0) & (multiplier >= 0) & (multiplier <= jump)
        gate = jnp.where(good, multiplier / jnp.where(good, jump, 1.0), jnp.nan)
        mine = (state.group[:, None] == slide[None, :]) & good[None, :]
        ahead = jnp.broadcast_to((state.ratio > 0)[:, None], mine.shape)
        gates = jnp.where(mine, jnp.where(ahead, gate[None, :], 1 - gate[None, :]), gates)
    return gates


@checked
def slides(flow: Any, t: Float[Array, ""], params: Params) -> Bool[Array, " hidden"]:
    """Which neurons slide on the surface of some sample.

    Args:
        flow: as in `sliding_gates`.
        t: time, unused.
        params: its parameters.

    Returns:
        One truth value a neuron.
    """
    return jnp.any(jnp.isfinite(sliding_gates(flow, t, params)), axis=0)


@checked
def sliding_weight(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    r"""The share of $\sum_i |c_i| |w_i|$, $w_i$ with the bias in it, in neurons that slide.

    Args:
        flow: as in `sliding_gates`.
        t: time, unused.
        params: its parameters.

    Returns:
        A number in [0, 1]; NaN if all weights are 0.
    """
    sliding = slides(flow, t, params)
    neurons = flow.neurons(params)
    weight = jnp.abs(neurons.outer) * jnp.linalg.norm(neurons.inner, axis=0)
    return jnp.sum(jnp.where(sliding, weight, 0.0)) / jnp.sum(weight)


@checked
def pattern_changes(flow: Any, t: Float[Array, ""], params: Params, start: Params) -> Int[Array, " hidden"]:
    """For each neuron the number of samples at which its gate differs from that at the start.

    A neuron that slides at a sample differs there. Kinks that were passed there and back do not count: `solution.state.kinks.passed` does.

    Args:
        flow: as in `sliding_gates`.
        t: time, unused.
        params: its parameters.
        start: the lane's start.

    Returns:
        One number a neuron.
    """
    on_surface = jnp.isfinite(sliding_gates(flow, t, params))
    now, then = (flow.preactivations(p) > 0 for p in (params, start))
    return jnp.sum(on_surface | (now != then), axis=0)
