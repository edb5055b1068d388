"""The distance of a univariate network's function from the splines through its data."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._checks import check_count, plainly
from .._repr import Readable
from .._types import Params, as_leaf
from ..data import Samples
from ._checked import checked
from ._network import network_at
from .splines import natural_cubic_spline, sorted_points


class SplineDistance(Readable, eqx.Module):
    r"""An observable: $\sqrt{\mathrm{mean}_k (f(g_k) - s(g_k))^2}$ over the points $g_k$ of a grid.

    Grid and values are leaves, so another spline on as many points does not recompile.

    Attributes:
        grid: inputs, as one column.
        values: the spline s there.
    """

    grid: Float[Array, "point 1"] = eqx.field(converter=as_leaf)
    values: Float[Array, " point"] = eqx.field(converter=as_leaf)

    def __check_init__(self):
        """Refuse a grid that does not fit its values.

        Raises:
            ValueError: the shapes are not (point, 1) and (point,).
        """
        if self.values.ndim != 1 or self.grid.shape != (*self.values.shape, 1):
            raise ValueError(
                f"grid and values must have the shapes (point, 1) and (point,), not {self.grid.shape} and {self.values.shape}."
            )

    @checked
    def __call__(self, flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
        """The distance.

        Args:
            flow: a flow with a `model` of one input.
            t: time, unused.
            params: the parameters.

        Returns:
            One number, in the units of the targets.

        Raises:
            ValueError: the network has several outputs.
        """
        f = network_at(flow, params, self.grid)
        if f.ndim != 1:
            raise ValueError(f"a spline is a function of one output, but the network returns outputs of shape {f.shape}.")
        return jnp.sqrt(jnp.mean((f - self.values.astype(f.dtype)) ** 2))


def _grid(x: ArrayLike, points: int) -> np.ndarray:
    return np.linspace(np.min(x), np.max(x), check_count("points", points, 2))


@plainly
def linear_spline_distance(samples: Samples, *, points: int = 200) -> SplineDistance:
    """An observable: the root mean square distance to the linear interpolant of the data, where the adaptive regime ends.

    Args:
        samples: the data, with inputs of dimension 1, none twice.
        points: of the uniform grid on [min x, max x], both ends included.

    Returns:
        An observable `(flow, t, params) -> scalar`, in the units of the targets.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, the experiments.
    """
    x, y = sorted_points(samples.x, samples.y)
    grid = _grid(x, points)
    return SplineDistance(grid[:, None], np.interp(grid, x, y))


@plainly
def cubic_spline_distance(samples: Samples, *, points: int = 200) -> SplineDistance:
    """An observable: the root mean square distance to the natural cubic spline of the data, the kernel regime's kin.

    Args:
        samples: the data, with inputs of dimension 1, none twice.
        points: of the uniform grid on [min x, max x], both ends included.

    Returns:
        An observable `(flow, t, params) -> scalar`, in the units of the targets.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, the experiments.
    """
    grid = _grid(sorted_points(samples.x, samples.y)[0], points)
    return SplineDistance(grid[:, None], natural_cubic_spline(samples.x, samples.y)(grid))
