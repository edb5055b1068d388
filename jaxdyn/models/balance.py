"""The split of a neuron's strength into its outer and inner weights, for one neuron and for a whole deep network."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .._checks import check_count
from .._types import as_leaf

_MOST_PASSES = 10_000
"""Equal widths take about 80 passes at 5 layers, 320 at 10 and 1200 at 20: never this many below 50 layers."""


def balanced_split(
    product: Float[ArrayLike, "..."], delta: ArrayLike = 0.0, degree: int = 1
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The sizes |c| and |w| of a neuron with a given product |c| |w| and a given conserved quantity.

    Solves p c^2 - |w|^2 = delta, the quantity that gradient flow conserves for an activation of degree p (p = 1:
    Williams et al. 2019, arXiv:1906.07842, section 2; Kumar & Haupt 2024, arXiv:2403.08121). With
    s = sqrt(delta^2 + 4 p r^2) and r the product, the larger of p c^2 and |w|^2 is (s + |delta|)/2 and the smaller one
    p r^2 over it: no difference of near numbers for either sign of delta. Differentiable in `delta` (at 0 too) and
    in `product` (except where both are zero, where the derivative returned is 0).

    Args:
        product: r = c |w| of each neuron; its sign is ignored.
        delta: the conserved quantity, one number or one a neuron.
        degree: p, the activation's degree of homogeneity.

    Returns:
        |c| and |w|, each of the product's shape.

    Raises:
        ValueError: a number is not real, delta does not fit the product, or the degree is no positive integer.
    """
    check_count("degree", degree)
    product, delta = as_leaf(product, "product"), as_leaf(delta, "delta")
    if delta.shape not in ((), product.shape):
        raise ValueError(f"delta must be one number or of the product's shape {product.shape}, not {delta.shape}.")
    delta = jnp.broadcast_to(delta, product.shape).astype(product.dtype)
    twice = 2 * math.sqrt(degree) * jnp.abs(product)
    outer_is_larger = delta >= 0
    # Not jnp.abs: its derivative at zero is 0, and delta = 0 is the case that is differentiated most.
    modulus = jnp.where(outer_is_larger, delta, -delta)
    positive = (modulus > 0) | (twice > 0)
    larger = jnp.where(positive, (jnp.hypot(jnp.where(positive, modulus, 1.0), twice) + modulus) / 2, 1.0)
    large = jnp.where(positive, jnp.sqrt(larger), 0.0)
    small = jnp.where(positive, twice / (2 * jnp.sqrt(larger)), 0.0)
    outer = jnp.where(outer_is_larger, large, small) / math.sqrt(degree)
    return outer, jnp.where(outer_is_larger, small, large)


def balanced_layers(params: list[dict[str, Array]], degree: int = 1) -> list[dict[str, Array]]:
    """The params of an `MLP` with every hidden neuron rescaled so that p |out|^2 = |in|^2, which leaves the function as it is.

    Multiplying the weights that enter a neuron, its bias among them, by s and those that leave it by s^-p leaves the function as it is
    for an activation of degree p. Of all such rescalings the balanced one has the least sum of squared weights, which is convex in the
    log s. Passes through the layers solve for one layer's s after the other until nothing changes by more than rounding (Stock et al. 2019,
    Equi-normalization of Neural Networks, ICLR, arXiv:1902.10416, here for any degree). Each shrinks the error by about cos(pi/L)^2 for L
    layers of equal width and p = 1, and by more for larger p. Forward-mode derivatives pass through, reverse-mode ones do not.

    Args:
        params: one dict a layer, from the input to the output: {"w": (out, in), "b": (out,)}, or without "b".
        degree: p, the activation's degree of homogeneity.

    Returns:
        Params of the same shapes. `MLP.conserved` of them is 0 up to rounding.

    Raises:
        ValueError: if all weights that enter, or all that leave, a neuron are zero.
    """
    check_count("degree", degree)
    if not (isinstance(params, list | tuple) and params and all(isinstance(layer, dict) and "w" in layer for layer in params)):
        raise ValueError('params must be those of an MLP, a list of one dictionary {"w": (out, in)} a layer.')
    squares = [layer["w"] ** 2 for layer in params]
    biases = [layer["b"] ** 2 if "b" in layer else jnp.zeros_like(layer["w"][:, 0]) for layer in params]
    ones = [jnp.ones_like(bias) for bias in biases[:-1]]
    if not ones:
        return params
    for k in range(len(ones)):
        if any(not isinstance(side, Tracer) and np.any(np.asarray(side) == 0) for side in _sides(squares, biases, ones, k, degree)):
            raise ValueError(f"hidden layer {k + 1} has a neuron without weights in or out, which cannot be balanced; take it out first.")
    balanced = [dict(layer) for layer in params]
    for k, scale in enumerate(_balancing(squares, biases, ones, degree)):
        balanced[k] = {name: leaf * (scale[:, None] if name == "w" else scale) for name, leaf in balanced[k].items()}
        balanced[k + 1]["w"] = balanced[k + 1]["w"] / scale[None, :] ** degree
    return balanced


def _sides(squares: list[Array], biases: list[Array], scales: list[Array], k: int, degree: int) -> tuple[Array, Array]:
    # The squares that enter and leave the neurons of hidden layer k, with every scale but their own.
    before = scales[k - 1] ** (-2 * degree) if k else jnp.ones_like(squares[0][0])
    after = scales[k + 1] ** 2 if k + 1 < len(scales) else jnp.ones_like(biases[-1])
    return squares[k] @ before + biases[k], after @ squares[k + 1]


@partial(jax.jit, static_argnames="degree")  # The loop would be compiled at every call otherwise.
def _balancing(squares: list[Array], biases: list[Array], ones: list[Array], degree: int) -> list[Array]:
    def one_pass(carry):
        scales, largest, passes = list(carry[0]), jnp.zeros_like(carry[1]), carry[2]
        for k, old in enumerate(carry[0]):
            inner, outer = _sides(squares, biases, scales, k, degree)
            scales[k] = (degree * outer / inner) ** (0.5 / (degree + 1))
            largest = jnp.maximum(largest, jnp.max(jnp.abs(scales[k] / old - 1)))
        return scales, largest, passes + 1

    precision = 16 * jnp.finfo(ones[0].dtype).eps
    start = (ones, jnp.full_like(ones[0][0], jnp.inf), 0)
    return jax.lax.while_loop(lambda carry: (carry[1] > precision) & (carry[2] < _MOST_PASSES), one_pass, start)[0]
