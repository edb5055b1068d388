"""Images of handwritten digits."""

import numpy as np

from .base import Samples


def digits(first: int = 0, second: int = 1, n: int | None = None) -> Samples:
    """Two of the ten classes of scikit-learn's bundled 8 x 8 digits, labelled -1 (first) and +1 (second).

    The images come in the order of the bundle as rows of 64 numbers; the mean image of those kept is subtracted, and
    all are divided by one number so that the mean over samples of |x|^2 is 1. The data are the test part of the UCI set
    "Optical recognition of handwritten digits" (Alpaydin & Kaynak 1998); nothing is downloaded.

    Args:
        first: the digit with label -1.
        second: the digit with label +1.
        n: how many images to keep, the first ones of the two classes; None keeps all (about 360).

    Returns:
        The data set.

    Raises:
        ValueError: if the digits are equal or not among 0 to 9, or n does not fit.
    """
    if first == second or not {first, second} <= set(range(10)):
        raise ValueError(f"first and second must be two different digits from 0 to 9; {first} and {second} were given.")
    from sklearn.datasets import load_digits  # Only this data set needs scikit-learn, which is slow to import.

    images, labels = load_digits(return_X_y=True)
    kept = np.flatnonzero((labels == first) | (labels == second))
    if n is not None and not 2 <= n <= kept.size:
        raise ValueError(f"n must be from 2 to {kept.size}, the images of these two digits; {n} was given.")
    kept = kept[:n]
    x = images[kept] - images[kept].mean(axis=0)
    x = x / np.sqrt(np.mean(np.sum(x**2, axis=1)))
    return Samples(x, np.where(labels[kept] == second, 1.0, -1.0), f"digits_{first}_{second}")
