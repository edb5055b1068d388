"""The lab's data and networks, and what is known exactly of one neuron in the plane."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.optimize as so

from ... import data, flows, losses, models
from .settings import Settings

ANGLES = 1.35
"""Inputs of two-layer networks lie within this angle of an axis: a neuron that points away from them all is dead."""
GRID = 20000
"""Angles at which the correlation of one neuron is tabulated."""


def samples_in_plane(s: Settings) -> data.Samples:
    """Inputs of the plane on one side of a line, with targets of both signs.

    Args:
        s: the settings.

    Returns:
        The samples.
    """
    rng = np.random.default_rng(s.data_seed)
    angle, radius = rng.uniform(-ANGLES, ANGLES, s.samples), rng.uniform(0.7, 1.3, s.samples)
    sign = np.where(np.arange(s.samples) % 2 == 0, 1.0, -1.0)
    y = sign * rng.uniform(0.5, 1.5, s.samples)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return data.points(jnp.asarray(x), jnp.asarray(y))


def samples_in_space(s: Settings) -> data.Samples:
    """Inputs uniform on the sphere, which high powers keep of one size, and Gaussian targets.

    Args:
        s: the settings.

    Returns:
        The samples.
    """
    rng = np.random.default_rng(s.data_seed + 1)
    x, y = rng.normal(size=(s.samples, s.dim)), rng.normal(size=s.samples)
    return data.points(jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True)), jnp.asarray(y))


def activation(s: Settings, power: int) -> str:
    """The name of (leaky) relu^p."""
    return ("relu" if s.slope == 0 else f"leaky_relu:{s.slope:g}") + (f"^{power}" if power > 1 else "")


def make_model(s: Settings, depth: int, power: int, width: int | None = None, balanced: bool = False) -> Any:
    """A network; the outputs of deep ones are scaled so that a rank-one network of norm 1 has the outputs of one neuron of norm 1.

    Deep ones with p > 1 start balanced: otherwise their correlation begins at 1e-12 of what it will be, and rounding has the last word.

    Args:
        s: the settings.
        depth: its layers.
        power: of its activation.
        width: of its layers, instead of that of the settings.
        balanced: whether a two-layer network starts balanced.

    Returns:
        The model.
    """
    if depth == 2:
        return models.TwoLayer(width or s.width, 2, False, activation(s, power), "one", balanced=balanced)
    widths = (width or s.deep_width,) * (depth - 1)
    scale = 1 / ray_share(s.degrees(depth, power))
    return models.MLP(widths, s.dim, False, activation(s, power), output_multiplier=scale, balanced=power > 1)


def ray_share(degrees: np.ndarray) -> float:
    """The largest product of |w_l|^(d_l) over layers of squared norms of sum 1, which have them in the ratio d_l.

    Args:
        degrees: d_l.

    Returns:
        The product.
    """
    return float(np.prod((degrees / degrees.sum()) ** (degrees / 2)))


def make_flow(s: Settings, depth: int, power: int, width: int | None = None, balanced: bool = False) -> flows.DirectionClock:
    """The network's gradient flow of the square loss, in the coordinates direction and log-norm.

    Args:
        s: the settings.
        depth: as in `make_model`.
        power: as there.
        width: as there.
        balanced: as there.

    Returns:
        The flow.
    """
    samples = samples_in_plane(s) if depth == 2 else samples_in_space(s)
    inner = flows.GradientFlow(make_model(s, depth, power, width, balanced), losses.square, samples)
    return flows.DirectionClock(inner, order=s.order(depth, power), log_norm=float(np.log(s.sizes[0])))


class OneNeuron(NamedTuple):
    """What a neuron of norm 1 in the plane, with output weight 1, can do; see `one_neuron`.

    Attributes:
        angles: the grid.
        values: of the correlation g on it.
        peaks: the positive maxima of g and of -g, falling.
        directions: their angles.
        signs: which of the two.
        collapse: the share of starts, of uniform angle and sign, that climb to no positive maximum.
    """

    angles: np.ndarray
    values: np.ndarray
    peaks: np.ndarray
    directions: np.ndarray
    signs: np.ndarray
    collapse: float


def one_neuron(s: Settings, power: int) -> OneNeuron:
    r"""The correlation $g(u) = \sum_i y_i \sigma(x_i \cdot u)^p$ on the circle: its peaks, and which starts reach none.

    A balanced neuron with output weight of sign c climbs c g and never changes the sign. A network that ends as such a neuron has
    $N = |g| p^{p/2} / (p+1)^{(p+1)/2}$.

    Args:
        s: the settings.
        power: p.

    Returns:
        The tables.
    """
    samples = samples_in_plane(s)
    x, y = np.asarray(samples.x), np.asarray(samples.y)

    def g(angle: Any) -> np.ndarray:
        z = np.stack([np.cos(angle), np.sin(angle)], axis=-1) @ x.T
        return np.where(z > 0, z, s.slope * z) ** power @ y

    angles = 2 * np.pi * np.arange(GRID) / GRID
    values, found, lost = g(angles), [], 0
    for sign in (1.0, -1.0):
        v = sign * values
        tops = np.flatnonzero((v > np.roll(v, 1)) & (v >= np.roll(v, -1)) & (v > 0))
        for top in tops:
            step = 2 * np.pi / GRID
            best: Any = so.minimize_scalar(
                lambda a, sign=sign: -sign * g(a),
                bounds=(angles[top] - step, angles[top] + step),
                method="bounded",
                options={"xatol": 1e-13},
            )
            found.append((-float(best.fun), float(best.x) % (2 * np.pi), sign))
        lost += GRID - int(_climbers(v, tops).sum())
    found.sort(reverse=True)
    peaks, directions, signs = np.asarray(found).T
    return OneNeuron(angles, values, peaks, directions, signs, lost / (2 * GRID))


def _climbers(v: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """Which places of a circular table reach one of the tops by rising steps."""
    reached = np.zeros(len(v), bool)
    for top in tops:
        for way in (1, -1):
            place = top
            reached[place] = True
            while v[(place + way) % len(v)] < v[place] and not reached[(place + way) % len(v)]:
                place = (place + way) % len(v)
                reached[place] = True
    return reached
