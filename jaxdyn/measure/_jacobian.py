"""The rows of a flow's Jacobian, one for each output of each sample, computed when they are wanted."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..flows import GradientFlow
from ._network import innermost, network_at


@dataclasses.dataclass(frozen=True)
class Rows:
    """The derivatives of outputs by the parameters that train.

    Attributes:
        shape: that of the outputs, (sample,) or (sample, output).
        row: `row(index)`, a list of arrays, the derivatives of one output by each leaf; outputs are counted through, samples first.
    """

    shape: tuple[int, ...]
    row: Callable[[Array], list[Array]]

    @property
    def count(self) -> int:
        """The number of rows."""
        return math.prod(self.shape)

    @property
    def num_outputs(self) -> int:
        """The number of outputs of a sample."""
        return math.prod(self.shape[1:])

    def of_output(self, output: Array) -> "Rows":
        """The rows of one output.

        Args:
            output: which.

        Returns:
            One row a sample.
        """
        return Rows(self.shape[:1], lambda index: self.row(index * self.num_outputs + output))

    def among(self, start: Array, size: int) -> list[Array]:
        """Rows next to each other.

        Args:
            start: the first.
            size: how many.

        Returns:
            A list of arrays like a row's, each with a leading axis.
        """
        return jax.vmap(self.row)(start + jnp.arange(size))


def rows_of(flow: Any, moving: Params, still: Params, x: Float[Array, "sample dim"] | None, mixes_samples: bool) -> Rows:
    """The rows at inputs.

    Args:
        flow: a flow with `outputs(params)`, or one of a network.
        moving: the parameters that train, None in place of the others.
        still: the others.
        x: inputs; None for the flow's samples.
        mixes_samples: whether an output depends on other samples than its own.

    Returns:
        The rows.

    Raises:
        ValueError: the flow has no outputs, or is no `GradientFlow` and inputs are given.
    """
    base = innermost(flow)
    # whose outputs may be more than its model on its data
    own_class = not isinstance(base, GradientFlow) or base.has_own_outputs
    if own_class and x is not None:
        raise ValueError(f"{type(flow).__name__} is known on its own samples only: leave x and other out, or wrap a GradientFlow.")
    if own_class and not callable(getattr(flow, "outputs", None)):
        raise ValueError(
            f"{type(flow).__name__} offers no outputs(params), whose kernel it would be: give its class that method, or use a GradientFlow."
        )

    def network(moving: Params, x: Array) -> Array:
        return network_at(flow, eqx.combine(moving, still), x)

    if own_class or mixes_samples:
        f, pull_back = jax.vjp(lambda moving: flow.outputs(eqx.combine(moving, still)) if x is None else network(moving, x), moving)

        def pulled(index: Array) -> list[Array]:
            return jax.tree.leaves(pull_back(jnp.zeros(f.size, f.dtype).at[index].set(1.0).reshape(f.shape))[0])

        return Rows(f.shape, pulled)
    inputs = base.data.x if x is None else x
    each = jax.eval_shape(network, moving, inputs[:1]).shape[1:]

    def one(moving: Params, index: Array) -> Array:
        return network(moving, inputs[index // math.prod(each)][None]).ravel()[index % math.prod(each)]

    return Rows((inputs.shape[0], *each), lambda index: jax.tree.leaves(jax.grad(one)(moving, index)))
