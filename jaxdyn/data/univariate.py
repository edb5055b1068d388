"""Functions of one variable, sampled on [-1, 1]."""

import numpy as np

from .._checks import check_count, check_number
from .base import Samples


def _grid(n: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, check_count("n", n))


def square_wave(n: int = 10, low: float = -1.0, high: float = 1.0, periods: float = 2.5) -> Samples:
    """A square wave, which starts high, at n points equally spaced from -1 to 1, both ends included.

    The points are parted, in order, into 2 * periods runs as equal as can be; the values of the runs are high, low,
    high, ... The default has five runs of two points (+ + - - + + - - + +), so four jumps: our
    layout for the ten points of a square wave of Williams et al. 2019 (arXiv:1906.07842).

    Args:
        n: the number of samples.
        low: the lower value.
        high: the upper value.
        periods: the number of periods, a multiple of 1/2.

    Returns:
        The data set.

    Raises:
        ValueError: if n is below 1, or the number of half periods is no integer from 1 to n.
    """
    x = _grid(n)
    for name, value in (("low", low), ("high", high), ("periods", periods)):
        check_number(name, value, "one finite number")
    if not 1 <= 2 * periods <= n or round(2 * periods) != 2 * periods:
        raise ValueError(
            f"periods must be a multiple of 1/2 from 1/2 to n/2 = {n / 2:g}, so that every half period has a sample; {periods} was given."
        )
    runs = round(2 * periods)
    return Samples(x, np.where(np.arange(n) * runs // n % 2 == 0, high, low).astype(float), "square_wave")


def sinusoid(n: int = 10, periods: float = 1.0, amplitude: float = 1.0, phase: float = 0.0) -> Samples:
    """A sinusoid, amplitude sin(pi periods x + phase), at n points equally spaced from -1 to 1, both ends included.

    A `ValueError` is raised if n is below 1 or a number is not finite.

    Args:
        n: the number of samples.
        periods: how many periods [-1, 1] holds.
        amplitude: the largest value.
        phase: in radians.

    Returns:
        The data set.
    """
    x = _grid(n)
    for name, value in (("periods", periods), ("amplitude", amplitude), ("phase", phase)):
        check_number(name, value, "one finite number")
    return Samples(x, amplitude * np.sin(np.pi * periods * x + phase), "sinusoid")
