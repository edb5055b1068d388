"""What the lab runs: data sets and starts, cell by cell."""

from typing import NamedTuple

import jax.random as jr
import numpy as np

from ... import data, flows, losses, models
from .settings import Settings

PLANE_NORMS = (0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4)
"""Norms of the start at which the equation of the early directions is compared, besides the small one."""
SPOILT = 1000
"""What parts the keys of flips and outliers from those of the cones."""


class Cell(NamedTuple):
    """One data set and one kind of start.

    Attributes:
        kind: what is varied: "grid" (n and mu), "norm", "delta", "flip", "outlier", "plane", "digits" or "mnist".
        samples: the data.
        mu: the smallest cosine that was asked for; of images, NaN.
        draw: which data set of its kind.
        norm: of the start.
        delta: its imbalance.
        share: of the samples that are spoilt.
    """

    kind: str
    samples: data.Samples
    mu: float
    draw: int
    norm: float
    delta: float = 0.0
    share: float = 0.0


def make_flow(s: Settings, samples: data.Samples) -> flows.DirectionClock:
    """The network on samples, from balanced starts, in the clock of its direction.

    Args:
        s: the settings.
        samples: the data.

    Returns:
        The flow.
    """
    model = models.TwoLayer(s.neurons, samples.dim, False, "relu", "one", balanced=True)
    return flows.DirectionClock(flows.GradientFlow(model, losses.exponential, samples), order=2, log_norm=float(np.log(s.small)))


def cone_cells(s: Settings, n: int) -> list[Cell]:
    """The cells of n samples: all separations, and at the studied n what is varied there.

    Args:
        s: the settings.
        n: how many samples.

    Returns:
        The cells.
    """
    draws = range(s.draws)
    cones = {(mu, k): data.cone(n, mu, s.dim, key=jr.key(k)) for mu in s.separations for k in draws}
    cells = [Cell("grid", samples, mu, k, s.small) for (mu, k), samples in cones.items()]
    if n == s.studied:
        mu = s.separation
        plain = [(cones[mu, k], mu, k) for k in draws]
        keys = [jr.key(SPOILT + k) for k in draws]
        cells += [Cell("norm", *one, norm) for norm in s.norms for one in plain]
        cells += [Cell("delta", *one, s.small, delta) for delta in s.imbalances for one in plain]
        cells += [
            Cell("flip", data.flip_labels(one, share, keys[k]), mu, k, s.small, 0.0, share) for share in s.flips for one, _, k in plain
        ]
        cells += [
            Cell("outlier", data.with_outliers(one, share, s.outlier_size, keys[k]), mu, k, s.small, 0.0, share)
            for share in s.outliers
            for one, _, k in plain
        ]
    return cells


def plane_cells(s: Settings) -> list[Cell]:
    """Cones in the plane, from starts of several norms, the small one last.

    Args:
        s: the settings.

    Returns:
        The cells.
    """
    cones = [data.cone(s.studied, s.separation, 2, key=jr.key(k)) for k in range(s.draws)]
    return [Cell("plane", one, s.separation, k, norm) for norm in (*PLANE_NORMS, s.small) for k, one in enumerate(cones)]


def image_cells(s: Settings, kind: str) -> list[Cell]:
    """Pairs of digits.

    Args:
        s: the settings.
        kind: "digits" or "mnist".

    Returns:
        The cells.
    """
    make = (lambda a, b: data.mnist(s.mnist, a, b, s.images)) if kind == "mnist" else (lambda a, b: data.digits(a, b, s.images))
    found = [make(a, b) for a, b in s.pairs]
    return [Cell(kind, data.points(one.x, one.y), np.nan, k, s.small) for k, one in enumerate(found)]


def cells_of(s: Settings, name: str) -> list[Cell]:
    """The cells of a run by its name, "n=16", "plane", "digits" or "mnist".

    Args:
        s: the settings.
        name: the run.

    Returns:
        The cells.
    """
    if name == "plane":
        return plane_cells(s)
    return cone_cells(s, int(name[2:])) if name.startswith("n=") else image_cells(s, name)
