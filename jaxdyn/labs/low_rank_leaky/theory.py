r"""What theory says of the limit: a convex problem of two vectors, and what follows where all its constraints are active.

Neurons of a same output sign end equal, those that count positively at v, the others at u. With half of the m neurons of each kind and the
gates that the theorem finds (v positive on its class and negative on the other, u the other way round) the network is linear in the rows
$V = \sqrt{m/2}\, v$ and $U = \sqrt{m/2}\, u$, and the max-margin problem is that of a linear classifier.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ... import data, measure
from .settings import Settings

DATA_KEY = 7
PAPER = 3.0
"""The constant of Frei et al.'s assumption."""


class Limit(NamedTuple):
    """The solution of the convex problem, or what follows from it.

    Attributes:
        margin: the largest normalised margin.
        positive: V of the unit-norm solution.
        negative: U.
        duals: of the solution scaled to margin 1; all positive where all samples have the same margin.
        own_gates: whether the solution has the gates that it was found with, so that it is a network.
        stable_rank: of W.
        boundary: z = sum_j a_j w_j of the solution scaled to margin 1, the normal of its linear decision boundary.
    """

    margin: float
    positive: np.ndarray
    negative: np.ndarray
    duals: np.ndarray
    own_gates: bool
    stable_rank: float
    boundary: np.ndarray

    def at(self, log_time: np.ndarray) -> np.ndarray:
        r"""The y f of the samples at late times where all are active: $\log t - \log \lambda_i$ with the duals $\lambda$.

        As $\dot\alpha_i = e^{-y_i f_i}$ with $y f = G \alpha$, G the Gram matrix of the samples' gradients, and $\lambda = G^{-1} 1$.

        Args:
            log_time: the logarithms of the times, in units of the exponential or logistic loss summed over samples.

        Returns:
            With a further axis, of the samples.
        """
        return np.asarray(log_time)[..., None] - np.log(self.duals)

    @property
    def all_active(self) -> bool:
        """Whether all samples lie on the margin, and the network is the one that the theorem speaks of."""
        return self.own_gates and bool(np.all(self.duals > 1e-9 * self.duals.max()))


def samples_of(s: Settings, slope: float) -> dict[str, data.Samples]:
    """The data sets by name, in coordinates of the samples' span.

    Neurons move only within it, and a normal start there is one of the whole space but for what rests: a part of the start's size.

    Args:
        s: the settings.
        slope: gamma; only the largest one and ReLU are run where inputs are less orthogonal, and only the former where they hardly are.

    Returns:
        `orthonormal`, and `d=400000` and so on: directions drawn at random.
    """
    return dict(_drawn(s, slope, jnp.result_type(float)))


@lru_cache(maxsize=16)
def _drawn(s: Settings, slope: float, dtype: jnp.dtype) -> dict[str, data.Samples]:
    """`samples_of`, drawn once: there are up to 400 000 dimensions."""
    del dtype  # that they are drawn in
    keys = jr.split(jr.key(DATA_KEY), len(s.dims) + 2)
    dims = (*s.dims, s.hard) if slope == s.slopes[-1] else s.dims if slope == 0 else s.dims[:1]
    found = {"orthonormal": data.orthonormal(s.samples, s.samples, key=keys[0])}
    for dim, key in zip(dims, keys[1:], strict=False):
        drawn = data.nearly_orthogonal(s.samples, dim, key=key, norm=1.0, balanced=True)
        found[f"d={dim}"] = data.points(jnp.linalg.qr(drawn.x.T)[1].T, drawn.y)
    return found


def orthogonality(samples: Any, slope: float) -> float:
    r"""How many times over the assumption $R_{min}^2 \ge 3 \gamma^{-3} R^2 n \max_{i \ne j} |x_i \cdot x_j|$ is met.

    Args:
        samples: the data.
        slope: gamma; 1 for the data's part alone.

    Returns:
        1 or more where it is; infinite for orthogonal inputs. R is the ratio of the largest to the smallest norm.

    Reference:
        Frei et al. (2022), arXiv:2210.07082, the assumption of the theorem on gradient flow.
    """
    x = np.asarray(samples.x)
    gram = x @ x.T
    squares = np.diag(gram)
    across = float(np.max(np.abs(gram - np.diag(squares))))
    across = across if across > 1e-12 * squares.max() else 0.0
    with np.errstate(divide="ignore"):
        return float(squares.min() / np.float64(PAPER * slope**-3 * squares.max() / squares.min() * len(x) * across))


def limit_of(samples: Any, slope: float) -> Limit:
    """The limit that the theorem gives, of any width.

    Args:
        samples: the data, of labels -1 and +1.
        slope: gamma.

    Returns:
        The solution.

    Reference:
        Frei et al. (2022), arXiv:2210.07082, the theorem on gradient flow; the convex form is derived.
    """
    x, y = np.asarray(samples.x, float), np.asarray(samples.y, float)
    found = measure.max_margin(_rows(samples, slope))
    positive, negative = np.split(found.direction, 2)
    gates = bool(np.all(y * (x @ positive) > 0) and np.all(y * (x @ negative) < 0))
    values = np.linalg.svd(np.stack([positive, negative]), compute_uv=False)
    boundary = (positive - negative) / np.sqrt(2) / found.margin
    duals = found.duals / found.margin**2
    return Limit(found.margin, positive, negative, duals, gates, float(np.sum(values**2) / values[0] ** 2), boundary)


def late_rows(samples: Any, slope: float, limit: Limit, log_time: np.ndarray) -> np.ndarray:
    """V and U of the network at late times, with the first correction to the limit: those whose y f are `Limit.at`.

    Args:
        samples: the data.
        slope: gamma.
        limit: of both, with all samples active.
        log_time: the logarithms of the times.

    Returns:
        With two further axes: V or U, and input.
    """
    rows = _rows(samples, slope)
    multiples = np.linalg.solve(rows @ rows.T, limit.at(log_time)[..., None])[..., 0]
    return (multiples @ rows).reshape(*np.shape(log_time), 2, rows.shape[1] // 2)


def _rows(samples: Any, slope: float) -> np.ndarray:
    """What multiplies (V, U) in each sample's y f."""
    x, y = np.asarray(samples.x, float), np.asarray(samples.y, float)
    own, other = np.where(y > 0, 1.0, slope), np.where(y > 0, slope, 1.0)
    return np.concatenate([(y * own)[:, None] * x, -(y * other)[:, None] * x], axis=1) / np.sqrt(2)


def orthonormal_rank(slope: float) -> float:
    """The stable rank 2 (1 + g^2) / (1 + g)^2 of W on orthonormal data with balanced classes (derived)."""
    return 2 * (1 + slope**2) / (1 + slope) ** 2


def relu_end(start: np.ndarray, signs: np.ndarray, samples: Any, log_time: float) -> np.ndarray:
    r"""The inner weights of a ReLU network at a late time, on orthonormal data, from a small start.

    Each $w_j \cdot x_i$ moves by itself. Where the neuron counts for the sample's class and is positive at the start it stays so and grows
    to $\sqrt m \log(n_i t / m) / n_i$ with $n_i$ the number of such neurons; where it counts against the class it falls to 0, and where it
    is negative it rests.

    Args:
        start: the inner weights, shape (neuron, input).
        signs: of the output weights.
        samples: orthonormal ones.
        log_time: the logarithm of the time, in units of the exponential loss summed over samples.

    Returns:
        Inner weights; a sample without such a neuron is lost and adds nothing.
    """
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    alive = (start @ x.T > 0) & (signs[:, None] == y[None, :])
    number = alive.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.sqrt(len(signs)) * (log_time + np.log(number / len(signs))) / number
    return np.where(alive, sizes[None, :], 0.0) @ x


def stable_rank(rows: np.ndarray) -> float:
    """|W|_F^2 / |W|_2^2; NaN where W is 0 or not finite."""
    if not (np.isfinite(rows).all() and rows.any()):
        return np.nan
    values = np.linalg.svd(rows / np.abs(rows).max(), compute_uv=False)
    return float(np.sum(values**2) / values[0] ** 2)


def first_gradient(start: np.ndarray, signs: np.ndarray, x: np.ndarray, y: np.ndarray, slope: float) -> np.ndarray:
    """Minus twice the logistic loss's gradient at the start's gates and outputs 0: what one step from a small start leaves.

    Args:
        start: the inner weights, shape (neuron, input).
        signs: of the output weights.
        x: inputs.
        y: labels.
        slope: gamma.

    Returns:
        A matrix like the inner weights.
    """
    gates = np.where(start @ x.T > 0, 1.0, slope)
    return signs[:, None] * ((gates * y[None, :]) @ x) / np.sqrt(len(signs))
