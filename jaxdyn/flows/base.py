"""What a flow is: a vector field, the loss that it descends, and a start."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._repr import Readable
from .._types import Params


class AbstractFlow(Readable, eqx.Module):
    """A vector field on parameters, as a pure function.

    Hyper-parameters are array leaves, so a flow can be vmapped over and differentiated with respect to them.
    The solvers need `vector_field` and `loss`, sweeps `init` too, and nothing else. What a flow offers besides is found by name:
    `outputs(y)` and `loss_of_outputs(f)` (the functions on the samples, for kernels), `trainable(y)` (which leaves
    move), `switches(y, gates)` and `mobility(y)` (the kinks), `stiffness(y, gates)` (minus the field's derivative, for the
    exponential solver), `conserved(y)` and `conserved_terms(y)` (the certificate; the terms of which each quantity is a sum or a
    difference: a sequence of arrays shaped like it), `weights(y)` (what the model is evaluated at, for measures of flows in
    other coordinates) and `convention` (what a unit of time means).
    """

    has_unit_scale: ClassVar[bool] = False
    """Whether the coordinates have a size of their own, such as directions of norm 1, which absolute tolerances are for: they do not follow
    the start then."""

    @abstractmethod
    def vector_field(self, t: Float[Array, ""], y: Params, args: object = None) -> Params:
        """The velocity dy/dt; the function of a `diffrax.ODETerm`.

        Args:
            t: time (gradient flows do not depend on it).
            y: the parameters.
            args: gates held fixed, for flows that take them; None otherwise.

        Returns:
            A pytree like `y`.
        """

    @abstractmethod
    def loss(self, y: Params) -> Float[Array, ""]:
        """The function that never increases along the exact flow, penalties included."""

    def init(self, key: PRNGKeyArray) -> Params:
        """A random start.

        Args:
            key: of the random numbers.

        Raises:
            ValueError: the class has none of its own.
        """
        raise ValueError(f"{type(self).__name__} has no init(key): give it one, or call solve with parameters of yours.")
