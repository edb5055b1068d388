"""Whether the gradient points towards a known solution: one-point convexity."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import check_flag, plainly
from .._repr import Readable
from .._types import Params
from ._checked import checked
from ._network import dtype_of


class OnePointConvexity(Readable, eqx.Module):
    r"""An observable: $\langle -\nabla L, \theta^* - \theta \rangle$ for a target $\theta^*$, or its ratio to $|\theta - \theta^*|^2$.

    Half of minus the first is the rate at which $|\theta - \theta^*|^2$ grows along the gradient flow: while it is negative the flow goes
    away from the target. Where the ratio is at least c > 0 the loss is one-point c-strongly convex, and the distance falls at least like
    $e^{-ct}$. The target is a leaf, so those of one shape share a compiled program.

    Attributes:
        target: $\theta^*$, a pytree like the parameters.
        relative: whether to divide by $|\theta - \theta^*|^2$, the sum of squares over all leaves.

    Reference:
        Li & Yuan (2017), arXiv 1705.09886, the second phase.
    """

    target: Params
    relative: bool = eqx.field(static=True, converter=partial(check_flag, "relative"), default=False)

    @checked
    def __call__(self, flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
        """The inner product, or the ratio.

        Args:
            flow: any flow; its velocity is taken as minus the gradient, so with time scales it is that of the flow's own metric.
            t: time.
            params: the parameters.

        Returns:
            One number: parameters squared a unit of time; one over time if `relative`, 0 at the target itself.

        Raises:
            ValueError: the target is no pytree like the parameters.
        """
        if jax.tree.map(jnp.shape, self.target) != jax.tree.map(jnp.shape, params):
            raise ValueError(
                f"the target must be a pytree like the parameters, of shapes {jax.tree.map(jnp.shape, params)}, "
                f"not {jax.tree.map(jnp.shape, self.target)}."
            )
        dtype = dtype_of(params)
        way = jax.tree.map(lambda goal, leaf: jnp.asarray(goal, leaf.dtype) - leaf, self.target, params)
        velocity = flow.vector_field(t, params, None)
        inner = sum(jnp.vdot(a, b).astype(dtype) for a, b in zip(jax.tree.leaves(velocity), jax.tree.leaves(way), strict=True))
        if not self.relative:
            return jnp.asarray(inner, dtype)
        square = sum(jnp.vdot(leaf, leaf).astype(dtype) for leaf in jax.tree.leaves(way))
        return jnp.asarray(inner / jnp.where(square == 0, 1.0, square), dtype)


@plainly
def one_point_convexity(target: Params, *, relative: bool = False) -> OnePointConvexity:
    r"""An observable: $\langle -\nabla L, \theta^* - \theta \rangle$, or its ratio to $|\theta - \theta^*|^2$.

    Args:
        target: $\theta^*$, a pytree like the parameters.
        relative: whether to divide.

    Returns:
        An observable `(flow, t, params) -> scalar`.
    """
    return OnePointConvexity(target, relative)
