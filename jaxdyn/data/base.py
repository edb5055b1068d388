"""A data set: inputs and targets, checked once when they come in."""

from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count, check_key, check_number, is_concrete, shown
from .._repr import Readable
from .._types import as_leaf, leaf


def _column(x: Any) -> Array:
    x = as_leaf(x, "x")
    return x[:, None] if x.ndim == 1 else x


class Samples(Readable, eqx.Module):
    """Inputs with a target each.

    Shapes are checked on construction, and values where they are concrete; a rebuild by JAX checks nothing, so that a
    batch of data sets is one `Samples` with longer arrays.

    Attributes:
        x: inputs, one row a sample; a vector is taken as one column.
        y: targets, one number or one row a sample; or labels, -1 and +1, or 0, 1, ... where there are more.
        name: what the data set is called in tables and stores.
    """

    x: Float[Array, "sample dim"] = eqx.field(converter=_column)
    y: Float[Array, "sample ..."] = eqx.field(converter=leaf("y"))
    name: str = eqx.field(static=True, default="samples")

    def __check_init__(self):
        """Refuse data that no flow can use.

        Raises:
            ValueError: if the shapes do not fit, there is no sample, or a value is not finite.
        """
        if not isinstance(self.name, str):
            raise ValueError(f"the name of a data set must be text, not {shown(self.name)}.")
        if self.x.ndim != 2 or self.y.ndim not in (1, 2) or self.x.shape[0] != self.y.shape[0]:
            raise ValueError(
                f"Samples takes x of shape (sample, dim) and y of shape (sample,) or (sample, output); {self.x.shape} and {self.y.shape}"
                " were given: flatten each input, and each target, to one row."
            )
        if self.x.size == 0 or self.y.size == 0:
            raise ValueError("Samples needs at least one sample, one input and one target; give non-empty x and y.")
        for letter, array in (("x", self.x), ("y", self.y)):
            if is_concrete(array) and not np.all(np.isfinite(array)):
                raise ValueError(f"{letter} holds values that are not finite; drop or repair those samples first.")

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return self.x.shape[-2]

    @property
    def dim(self) -> int:
        """The number of inputs of a sample."""
        return self.x.shape[-1]

    def split(self, n: int) -> tuple["Samples", "Samples"]:
        """The first n samples, and the others.

        Args:
            n: how many samples the first part has; both parts need one at least.

        Returns:
            Two data sets of the same name.

        Raises:
            ValueError: if a part would be empty.
        """
        n = check_count("n", n)
        if n >= self.num_samples:
            raise ValueError(
                f"n must be below the number of samples, which is {self.num_samples}, so that no part is empty; {n} was given."
            )
        return Samples(self.x[:n], self.y[:n], self.name), Samples(self.x[n:], self.y[n:], self.name)


def check_samples(samples: Any, name: str = "the samples") -> None:
    """Refuses what is no data set.

    Args:
        samples: any object.
        name: what the caller calls it.

    Raises:
        ValueError: it has no fields x and y.
    """
    if isinstance(samples, type) or not (hasattr(samples, "x") and hasattr(samples, "y")):
        raise ValueError(f"{name} must have fields x and y, and {shown(samples)} has not: make them with jaxdyn.data.points(x, y).")


def points(x: Float[Array, "sample dim"], y: Float[Array, " sample"], name: str = "points") -> Samples:
    """A data set of one's own numbers.

    Args:
        x: inputs, one row a sample; a vector is taken as one column.
        y: targets.
        name: what the data set is called.

    Returns:
        The data set.
    """
    return Samples(x, y, name)


def train_test(samples: Samples, fraction: float, key: PRNGKeyArray) -> tuple[Samples, Samples]:
    """Part a data set at random.

    Args:
        samples: the data set.
        fraction: the share of samples in the training set, rounded to whole samples; both parts get one at least.
        key: a JAX random key.

    Returns:
        The training set and the test set.

    Raises:
        ValueError: if the fraction is not between 0 and 1, or there are fewer than two samples.
    """
    check_samples(samples)
    check_number("fraction", fraction, "a number strictly between 0 and 1", lambda fraction: 0 < fraction < 1)
    check_key(key)
    n = samples.num_samples
    if n < 2:
        raise ValueError("A data set of one sample cannot be parted; give at least two.")
    order = jr.permutation(key, n)
    shuffled = Samples(samples.x[order], samples.y[order], samples.name)
    return shuffled.split(min(max(round(fraction * n), 1), n - 1))
