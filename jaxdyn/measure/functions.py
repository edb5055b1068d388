"""What the network does: its loss, its outputs, its function elsewhere."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from .._checks import plainly
from .._repr import Readable
from .._types import Params
from ..data import Samples
from ..data.base import check_samples
from ._checked import checked
from ._network import as_rows, dtype_of, innermost, network_at


@checked
def loss(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The flow's loss, penalties included, in the loss's own convention.

    Args:
        flow: any flow.
        t: time, unused.
        params: the parameters.

    Returns:
        One number.
    """
    return jnp.asarray(flow.loss(params), dtype_of(params))


@checked
def outputs(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, "sample ..."]:
    """The network's outputs on the flow's samples.

    Args:
        flow: a flow with `outputs(params)`.
        t: time, unused.
        params: the parameters.

    Returns:
        One number, or one row of outputs, a sample, in the units of the targets.

    Raises:
        ValueError: the flow has no outputs.
    """
    if not callable(getattr(flow, "outputs", None)):
        raise ValueError(
            f"{type(flow).__name__} offers no outputs(params) to be recorded: give its class that method, or use a GradientFlow."
        )
    return jnp.asarray(flow.outputs(params), dtype_of(params))


@checked
def gradient_norm(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The Euclidean norm of dy/dt, the number that `jaxdyn.solve.GradientNormBelow` looks at.

    For a gradient flow it is the norm of the loss's gradient over the parameters that train, times their time scales.

    Args:
        flow: any flow.
        t: time.
        params: the parameters.

    Returns:
        One number, parameters a unit of time.
    """
    return jnp.linalg.norm(ravel_pytree(flow.vector_field(t, params, None))[0])


class HeldOutLoss(Readable, eqx.Module):
    """An observable: the flow's loss function on other samples, without penalties.

    Its samples are leaves, so two of them with samples of one shape share a compiled program.

    Attributes:
        samples: what the network was not trained on.
    """

    samples: Samples

    def __check_init__(self):
        """Refuse what is no data set."""
        check_samples(self.samples)

    @checked
    def __call__(self, flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
        """The loss on the held-out samples.

        Args:
            flow: a flow with a `model` and a `loss_function`.
            t: time, unused.
            params: the parameters.

        Returns:
            One number, in the convention of the flow's loss: a sum over these samples where that is a sum.

        Raises:
            ValueError: the flow has no loss function.
        """
        f = network_at(flow, params, self.samples.x)
        loss_function = getattr(innermost(flow), "loss_function", None)
        if loss_function is None:
            raise ValueError(f"{type(flow).__name__} has no loss_function(f, y): a held-out loss needs a flow of an empirical loss.")
        return loss_function(f, self.samples.y.astype(f.dtype))


@plainly
def held_out_loss(samples: Samples) -> HeldOutLoss:
    """An observable: the test loss.

    Args:
        samples: the test set.

    Returns:
        An observable `(flow, t, params) -> scalar`.
    """
    return HeldOutLoss(samples)


class FunctionOn(Readable, eqx.Module):
    """An observable: the network's function on a grid of inputs.

    Attributes:
        grid: inputs, one row a point; a vector is taken as one column.
    """

    grid: Float[Array, "point dim"] = eqx.field(converter=as_rows)

    def __check_init__(self):
        """Refuse what is no list of inputs.

        Raises:
            ValueError: the grid has no point, or more than two axes.
        """
        if self.grid.ndim != 2 or self.grid.size == 0:
            raise ValueError(f"function_on takes points of shape (point,) or (point, dim), but the grid has shape {self.grid.shape}.")

    @checked
    def __call__(self, flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, "point ..."]:
        """The function on the grid.

        Args:
            flow: a flow with a `model`.
            t: time, unused.
            params: the parameters.

        Returns:
            One output, or one row of outputs, a point, in the dtype of the parameters.
        """
        return network_at(flow, params, self.grid)


@plainly
def function_on(grid: ArrayLike) -> FunctionOn:
    """An observable: the network's function on a grid.

    Args:
        grid: inputs of shape (point, dim), or (point,) for univariate networks.

    Returns:
        An observable `(flow, t, params) -> (point,)`.
    """
    return FunctionOn(grid)
