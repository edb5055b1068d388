"""What a loss is: a scalar function of the outputs that says its convention."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._repr import Words


class AbstractLoss(eqx.Module):
    """A loss of all samples at once, as one number.

    A loss with kinks offers two more methods, which the flows look for by name: `switches(f, y)`, one number a sample whose sign is its
    gate, and `gated(f, y, gates)`, the loss with its slopes taken from gates.

    A factor in the loss is a factor in time, so every loss states its normalisation in `convention`, which every
    data set of results carries along.

    Attributes:
        name: the name that `loss` finds it by.
        convention: one sentence with formula, normalisation and what it does to time.
        separable: whether it is a sum over samples, so that its second derivative couples no two of them.
        attained: whether finite outputs reach its infimum; otherwise a network that fits grows without end.
        many_outputs: whether it takes one row of outputs a sample, f of shape (sample, output), with one label each; otherwise outputs
            are shaped like the targets.
        signs: whether the targets are labels, -1 and +1, which flows check where they are concrete.
    """

    name: eqx.AbstractClassVar[str]
    convention: eqx.AbstractClassVar[str]
    separable: ClassVar[bool] = True
    attained: ClassVar[bool] = True
    many_outputs: ClassVar[bool] = False
    signs: ClassVar[bool] = False

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

    def _in_words(self) -> Words:
        return Words(repr(self))


def check_shapes(f: Float[Array, "sample ..."], y: Float[Array, "sample ..."], axes: int = 1) -> None:
    """Refuse outputs and targets that would broadcast against each other.

    Args:
        f: the network's outputs.
        y: the targets.
        axes: how many axes they may have.

    Raises:
        ValueError: if they are not of one shape.
    """
    if not 1 <= jnp.ndim(f) <= axes or jnp.shape(f) != jnp.shape(y):
        shapes = "(sample,)" if axes == 1 else "(sample,) or (sample, output)"
        raise ValueError(
            f"A loss takes outputs and targets of one shape {shapes}; {jnp.shape(f)} and {jnp.shape(y)} were given:"
            " reshape them, or vmap over what comes before."
        )
