"""What a loss is: a scalar function of the outputs that says its convention."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractLoss(eqx.Module):
    """A loss of all samples at once, as one number.

    A loss with kinks offers two more methods, which the flows look for by name: `switches(f, y)`, one number a sample whose sign is its
    gate, and `gated(f, y, gates)`, the loss with its slopes taken from gates.

    A factor in the loss is a factor in time, so every loss states its normalisation in `convention`, which every
    data set of results carries along.

    Attributes:
        name: the name that `loss` finds it by.
        convention: one sentence with formula, normalisation and what it does to time.
    """

    name: eqx.AbstractClassVar[str]
    convention: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def __call__(self, f: Float[Array, " sample"], y: Float[Array, " sample"]) -> Float[Array, ""]:
        """The loss.

        Args:
            f: the network's outputs.
            y: the targets, or the labels -1 and +1.

        Returns:
            One number.
        """

    def __repr__(self) -> str:
        """The name with the convention.

        Returns:
            A line of text.
        """
        return f"<loss {self.name}: {self.convention}>"


def check_shapes(f: Float[Array, " sample"], y: Float[Array, " sample"]) -> None:
    """Refuse outputs and targets that would broadcast against each other.

    Args:
        f: the network's outputs.
        y: the targets.

    Raises:
        ValueError: if they are not vectors of one length.
    """
    if jnp.ndim(f) != 1 or jnp.shape(f) != jnp.shape(y):
        raise ValueError(
            f"A loss takes outputs and targets of one shape (sample,); {jnp.shape(f)} and {jnp.shape(y)} were given:"
            " reshape them, or vmap over what comes before."
        )
