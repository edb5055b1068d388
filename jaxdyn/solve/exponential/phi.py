r"""The functions $\varphi_k(-z)$ that exponential integrators are made of."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

SMALL = 1.0
"""Below this the recursion upwards would lose digits."""
TERMS = 18
"""Of the Taylor series below `SMALL`: the next is under 1e-18."""


def phis(z: Float[Array, "..."], order: int) -> Float[Array, "order ..."]:
    r"""$\varphi_1(-z), \dots, \varphi_{order}(-z)$, to some units of rounding relative to $1 / k!$.

    $\varphi_0(x) = e^x$ and $\varphi_k(x) = (\varphi_{k-1}(x) - 1/(k-1)!) / x$, so
    $\varphi_k(-z) = \frac{1}{(k-1)!} \int_0^1 e^{-(1-s) z} s^{k-1} \, ds$.

    Args:
        z: not negative.
        order: how many.

    Returns:
        One row a function.

    Reference:
        Hochbruck & Ostermann (2010), Exponential integrators, eq. 2.10 and 2.11.
    """
    small = z < SMALL
    safe, near = jnp.where(small, SMALL, z), jnp.where(small, z, 0.0)
    upwards = [-jnp.expm1(-safe) / safe]
    for k in range(2, order + 1):
        upwards.append((1 / math.factorial(k - 1) - upwards[-1]) / safe)
    top = jnp.zeros_like(z)
    for i in reversed(range(TERMS)):
        top = 1 / math.factorial(i + order) - near * top
    downwards = [top]
    for k in range(order - 1, 0, -1):
        downwards.append(1 / math.factorial(k) - near * downwards[-1])
    return jnp.where(small[None], jnp.stack(downwards[::-1]), jnp.stack(upwards))
