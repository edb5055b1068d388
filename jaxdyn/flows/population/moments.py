"""What a flow on Gaussian inputs needs of an activation: the expectations that make up the loss and its gradient."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Units(NamedTuple):
    """Neurons act(u_i.x + mu_i) on standard normal x.

    Attributes:
        inner: the vectors u.
        mean: the numbers mu; None where no neuron has a bias.
    """

    inner: Float[Array, "unit dim"]
    mean: Float[Array, " unit"] | None


class Moments(NamedTuple):
    r"""Expectations over x ~ N(0, I) of pairs of pre-activations $X = u_i \cdot x + \mu_i$ and $Y = v_j \cdot x + \nu_j$.

    By Stein's lemma $\partial_{u_i} E[\sigma(X) \sigma(Y)]$ is `along` times $u_i$ plus `across` times $v_j$.

    Attributes:
        value: $E[\sigma(X) \sigma(Y)]$.
        along: $E[\sigma''(X) \sigma(Y)]$.
        across: $E[\sigma'(X) \sigma'(Y)]$.
        by_mean: $E[\sigma'(X) \sigma(Y)]$, the derivative by $\mu_i$; None without biases.
    """

    value: Float[Array, "row column"]
    along: Float[Array, "row column"]
    across: Float[Array, "row column"]
    by_mean: Float[Array, "row column"] | None


class Family(Protocol):
    """The moments of one activation."""

    def __call__(self, rows: Units, columns: Units) -> Moments:
        """The moments of all pairs.

        Args:
            rows: the neurons whose derivatives are meant.
            columns: the others.
        """
        ...


class Overlaps(NamedTuple):
    r"""All that the joint law of the pre-activations X and Y depends on.

    Attributes:
        row: $u_i \cdot u_i$.
        cross: $u_i \cdot v_j$.
        column: $v_j \cdot v_j$.
        row_mean: $\mu_i$; None without biases.
        column_mean: $\nu_j$; None without biases.
    """

    row: Float[Array, " row"]
    cross: Float[Array, "row column"]
    column: Float[Array, " column"]
    row_mean: Float[Array, " row"] | None = None
    column_mean: Float[Array, " column"] | None = None


def overlaps(rows: Units, columns: Units) -> Overlaps:
    """The overlaps of all pairs.

    Args:
        rows: neurons.
        columns: neurons.

    Returns:
        The overlaps.
    """
    u, v = rows.inner, columns.inner
    cross = jnp.matmul(u, v.T, precision=jax.lax.Precision.HIGHEST)
    return Overlaps(jnp.sum(u**2, axis=1), cross, jnp.sum(v**2, axis=1), rows.mean, columns.mean)


def energy(family: Family, units: Units, weights: Float[Array, " unit"]) -> Float[Array, ""]:
    r"""$\frac12 E[(\sum_p m_p \sigma(X_p))^2]$, with derivatives made of moments.

    So its second derivatives are as accurate at parallel vectors and at 0 as the moments' first ones are.

    Args:
        family: the activation's moments.
        units: neurons.
        weights: m, one number a neuron.

    Returns:
        One number.
    """

    @jax.custom_jvp
    def value(units: Units, weights: Array) -> Array:
        return 0.5 * weights @ family(units, units).value @ weights

    @value.defjvp
    def _(primals: tuple[Units, Array], tangents: tuple[Units, Array]) -> tuple[Array, Array]:
        (units, weights), (dunits, dweights) = primals, tangents
        moments = family(units, units)
        by_units, by_weights = slopes(moments, units, units, weights)
        change = by_weights @ dweights + jnp.sum(weights[:, None] * by_units.inner * dunits.inner)
        if by_units.mean is not None and dunits.mean is not None:
            change += jnp.sum(weights * by_units.mean * dunits.mean)
        return 0.5 * weights @ moments.value @ weights, change

    return value(units, weights)


def slopes(moments: Moments, rows: Units, columns: Units, weights: Float[Array, " column"]) -> tuple[Units, Float[Array, " row"]]:
    r"""Derivatives of the energy: by the rows' vectors and means, over the rows' own weights, and by these weights.

    Args:
        moments: of rows and columns.
        rows: some of the columns.
        columns: all neurons.
        weights: the columns'.

    Returns:
        $\sum_q m_q \partial_{u_i} E[\sigma(X_i) \sigma(X_q)]$ and the like, as `Units`, and $\sum_q m_q E[\sigma(X_i) \sigma(X_q)]$.
    """
    inner = (moments.along @ weights)[:, None] * rows.inner + (moments.across * weights[None, :]) @ columns.inner
    return Units(inner, None if moments.by_mean is None else moments.by_mean @ weights), moments.value @ weights
