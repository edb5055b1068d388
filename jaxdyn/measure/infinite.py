"""Kernels of infinitely wide fully connected networks, in closed form."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import check_count, check_flag, check_not_negative, plainly, shown
from .._repr import fields_html, text_of


class InfiniteKernels(NamedTuple):
    """The two kernels of an infinitely wide network.

    Attributes:
        nngp: the covariance of the outputs at a random start (the neural network Gaussian process).
        ntk: the neural tangent kernel, which does not move; of all parameters, with time scales 1.
    """

    nngp: Float[Array, "sample other"]
    ntk: Float[Array, "sample other"]

    __repr__ = text_of
    _repr_html_ = fields_html


@plainly
def infinite_kernels(
    x: Float[Array, "sample dim"],
    other: Float[Array, "other dim"] | None = None,
    *,
    activation: str = "relu",
    depth: int = 1,
    weight_variance: float | Array = 1.0,
    bias_variance: float | tuple[float, ...] = 0.0,
    normalise_inputs: bool = False,
) -> InfiniteKernels:
    r"""NNGP and NTK of a fully connected network whose hidden layers are infinitely wide.

    The network is in NTK parametrisation, all weights and biases standard normal at the start:
    $z^1 = \sigma_w W^1 x + \sigma_b b^1$ (with `normalise_inputs` over $\sqrt{dim}$),
    $z^{l+1} = \sigma_w W^{l+1} \phi(z^l) / \sqrt{m_l} + \sigma_b b^{l+1}$, $f = z^{depth + 1}$. With depth 1, weight variance 1 and
    bias variance (1, 0) it is `TwoLayer(bias=True)` with the scaling "sqrt".

    Args:
        x: inputs, one row a sample.
        other: the inputs of the columns; None for x itself.
        activation: "relu", or "erf", which is $\phi(z) = \mathrm{erf}(z)$.
        depth: hidden layers.
        weight_variance: $\sigma_w^2$.
        bias_variance: $\sigma_b^2$, of all layers or one number a layer, the last for the output.
        normalise_inputs: see above.

    Returns:
        Both kernels.

    Raises:
        ValueError: an unknown activation, a depth below 1, or biases of another number of layers.

    Reference:
        Cho & Saul (2009), Kernel methods for deep learning, eq. 3 to 6; Williams (1996), Computing with infinite networks, eq. 11; Jacot,
        Gabriel & Hongler (2018), arXiv 1806.07572, theorem 1; Lee et al. (2019), arXiv 1902.06720, appendix C.
    """
    if activation not in ("relu", "erf"):
        raise ValueError(f"activation={shown(activation)} has no closed form here: take 'relu' or 'erf'.")
    depth = check_count("depth", depth)
    biases = bias_variance if isinstance(bias_variance, tuple) else (bias_variance,) * (depth + 1)
    if len(biases) != depth + 1:
        raise ValueError(f"bias_variance has {len(biases)} numbers, but {depth} hidden layers and the output need {depth + 1}.")
    check_not_negative("weight_variance", weight_variance)
    for bias in biases:
        check_not_negative("bias_variance", bias)
    normalise_inputs = check_flag("normalise_inputs", normalise_inputs)
    other = x if other is None else other
    unit = weight_variance / x.shape[1] if normalise_inputs else weight_variance
    rows, columns = (unit * jnp.sum(part**2, axis=1) + biases[0] for part in (x, other))
    cross = unit * (x @ other.T) + biases[0]
    tangent = cross
    moments = _relu_moments if activation == "relu" else _erf_moments
    for bias in biases[1:]:
        product, slope = moments(rows[:, None], columns[None, :], cross)
        cross = weight_variance * product + bias
        tangent = cross + weight_variance * slope * tangent
        rows, columns = (weight_variance * moments(k, k, k)[0] + bias for k in (rows, columns))
    return InfiniteKernels(cross, tangent)


def _relu_moments(k: Array, l: Array, q: Array) -> tuple[Array, Array]:  # noqa: E741
    """E[relu(u) relu(v)] and E[relu'(u) relu'(v)] of Gaussians with variances k and l and covariance q."""
    sine = jnp.sqrt(jnp.maximum(k * l - q**2, 0.0))
    left = jnp.pi - jnp.arctan2(sine, q)
    return (sine + left * q) / (2 * jnp.pi), jnp.where(k * l > 0, left / (2 * jnp.pi), 0.0)


def _erf_moments(k: Array, l: Array, q: Array) -> tuple[Array, Array]:  # noqa: E741
    """The same for erf."""
    size = (1 + 2 * k) * (1 + 2 * l)
    return 2 / jnp.pi * jnp.arcsin(2 * q / jnp.sqrt(size)), 4 / jnp.pi / jnp.sqrt(size - 4 * q**2)
