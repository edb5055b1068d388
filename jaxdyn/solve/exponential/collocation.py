r"""Exponential collocation: a step that is exact for the linear part, and in which the rest is a polynomial in time.

With the linear part L frozen, the flow is $\dot\theta = F(\theta_0) + L (\theta - \theta_0) + R(\theta)$ with $R(\theta_0) = 0$. If R
were the polynomial $\sum_j m_j s^j$ of the step's fraction s, the solution would be

$$\theta(s) = \theta_0 + h s \, \varphi_1(h s L) F(\theta_0) + h \sum_j j! \, s^{j+1} \varphi_{j+1}(h s L) \, m_j .$$

So R is evaluated where the last polynomial leads, and interpolated anew: level k does so at k fractions and gives a polynomial of degree
k, one order more than the level before. The last but one gives the error estimate. It is a Picard iteration,
whose error contracts by how much the kernel changes in the step, however stiff it is.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .linear import LinearPart
from .phi import phis

LEVELS: tuple[tuple[float, ...], ...] = ((1.0,), (0.5, 1.0), (0.25, 0.75, 1.0), (0.25, 0.5, 0.75, 1.0))
"""The fractions of each level; the last is 1, where a level gives a solution of its own order."""
DEGREE = len(LEVELS)
FRACTIONS = sorted({c for level in LEVELS for c in level})
EVALUATIONS = sum(len(level) for level in LEVELS) + 1
"""Of the field, a step."""


class Path(NamedTuple):
    r"""What the solution in a step is made of: $F(\theta_0)$ and the $m_j$, first and then the others along axis 0, all divided by S.

    Attributes:
        whole: them, but for what L takes from them.
        along: their scalar products with U.
        inside: what they are in the directions of U.
    """

    whole: Float[Array, "term param"]
    along: Float[Array, "term mode"]
    inside: Float[Array, "term mode"]


def _interpolation(nodes: tuple[float, ...]) -> np.ndarray:
    """Values at the nodes to coefficients of s, s^2, ...; at 0 the polynomial is 0."""
    return np.linalg.inv(np.asarray([[c**j for j in range(1, len(nodes) + 1)] for c in nodes]))


def weights(z: Float[Array, " direction"], s: Float[Array, ""] | float, terms: int) -> Float[Array, "term direction"]:
    r"""$s \varphi_1(-s z)$ and $j! \, s^{j+1} \varphi_{j+1}(-s z)$: what the terms of a path become after a fraction s of the step.

    Args:
        z: minus L's eigenvalues times the step.
        s: the fraction.
        terms: how many.

    Returns:
        One row a term.
    """
    return jnp.stack([math.factorial(j) * s ** (j + 1) * phi for j, phi in enumerate(phis(s * z, terms))])


def displaced(
    part: LinearPart, path: Path, weight: Float[Array, "... term direction"]
) -> tuple[Float[Array, "... param"], Float[Array, "... mode"]]:
    """The displacement, divided by S, to which weights lead; and the same along U.

    Args:
        part: the linear part.
        path: the terms.
        weight: one a term and direction, times the step; the last direction stands for all outside U.

    Returns:
        Both.
    """
    outside = weight[..., -1]
    inside = jnp.einsum("...td,td->...d", weight[..., :-1], path.inside)
    return outside @ path.whole + (inside - outside @ path.along) @ part.vectors.T, inside


def collocate(
    part: LinearPart, field: Float[Array, " param"], h: Float[Array, ""], evaluate: Callable[[Array], Array]
) -> tuple[Float[Array, " param"], Float[Array, " param"], Path]:
    """One step.

    Args:
        part: the linear part.
        field: F at the start, divided by S.
        h: the step.
        evaluate: displacements, divided by S, along axis 0, to fields, likewise.

    Returns:
        The displacement and its error estimate, divided by S; and the path. The estimate includes the rounding of the terms, which is
        multiplied by up to the step's length in directions outside U, where nothing decays; where the field is so large that this exceeds
        the solution's change, the levels may agree by their rounding alone.
    """
    z = h * part.decays()
    tables = {c: h * weights(z, c, DEGREE + 1) for c in FRACTIONS}
    along = field @ part.vectors
    first = path = Path(field[None], along[None], along[None])
    before = jnp.zeros_like(field)
    for nodes in LEVELS:
        terms = path.whole.shape[0]
        moved, inside = displaced(part, path, jnp.stack([tables[c][:terms] for c in nodes]))
        before = moved[-1]
        change = evaluate(moved) - field[None]
        whole = change + part.decay * moved
        rest = change @ part.vectors
        fit = jnp.asarray(_interpolation(nodes), z.dtype)
        values = (whole, rest + part.decay * inside, rest + (part.values + part.decay)[None] * inside)
        path = Path(*(jnp.concatenate([begin, fit @ value]) for begin, value in zip(first, values, strict=True)))
    end = displaced(part, path, tables[1.0])[0]
    rounding = jnp.finfo(end.dtype).eps * jnp.abs(tables[1.0][:, -1]) @ jnp.abs(path.whole)
    return end, jnp.abs(end - before) + rounding, path
