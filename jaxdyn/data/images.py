"""Images of handwritten digits."""

from os import PathLike
from typing import Any

import numpy as np

from .._checks import check_choice, check_count, shown
from ._idx import read_idx
from .base import Samples


def _check_digits(first: int, second: int) -> None:
    if check_count("first", first, 0, 9) == check_count("second", second, 0, 9):
        raise ValueError(f"first and second must be two different digits from 0 to 9; {first} and {second} were given.")


def _first_kept(labels: Any, first: int, second: int, n: int | None) -> np.ndarray:
    kept = np.flatnonzero((labels == first) | (labels == second))
    return kept if n is None else kept[: check_count("n", n, 2, kept.size)]


def _scaled(images: Any, labels: Any, second: int, name: str) -> Samples:
    x = images - images.mean(axis=0)
    x /= np.sqrt(np.mean(np.sum(x**2, axis=1)))
    return Samples(x, np.where(labels == second, 1.0, -1.0), name)


def digits(first: int = 0, second: int = 1, n: int | None = None) -> Samples:
    """Two of the ten classes of scikit-learn's bundled 8 x 8 digits, labelled -1 (first) and +1 (second).

    The images come in the order of the bundle as rows of 64 numbers; the mean image of those kept is subtracted, and
    all are divided by one number so that the mean over samples of |x|^2 is 1. The data are the test part of the UCI set
    "Optical recognition of handwritten digits" (Alpaydin & Kaynak 1998); nothing is downloaded.

    A `ValueError` is raised if the digits are equal or not among 0 to 9, or n does not fit.

    Args:
        first: the digit with label -1.
        second: the digit with label +1.
        n: how many images to keep, the first ones of the two classes; None keeps all (about 360).

    Returns:
        The data set.
    """
    _check_digits(first, second)
    from sklearn.datasets import load_digits  # Only this data set needs scikit-learn, which is slow to import.

    images, labels = load_digits(return_X_y=True)
    kept = _first_kept(labels, first, second, n)
    return _scaled(images[kept], labels[kept], second, f"digits_{first}_{second}")


def mnist(folder: str | PathLike[str], first: int = 0, second: int = 1, n: int | None = None, split: str = "train") -> Samples:
    """Two of the ten classes of MNIST, from its files on disk, labelled -1 (first) and +1 (second).

    The folder holds the files as they are distributed (LeCun, Cortes & Burges 1998): `train-images-idx3-ubyte` and
    `train-labels-idx1-ubyte`, and `t10k-...` for the test images; `.idx3-ubyte` for `-idx3-ubyte`, and `.gz` after it, do as well. Other
    sets of the same format, such as Fashion-MNIST, are read too. Nothing is downloaded.

    The images come in the order of the file, one row of pixels each, centred and scaled as those of `digits` are: by the mean and the norm
    of the images kept. Where a training and a test set must share them, part the training images with `train_test`.

    Args:
        folder: where the files are.
        first: the digit with label -1.
        second: the digit with label +1.
        n: how many images to keep, the first ones of the two classes; None keeps all (about 12 000).
        split: "train" or "test".

    Returns:
        The data set.

    Raises:
        ValueError: if the digits are equal or not among 0 to 9, n does not fit, or a file is missing or not what it should be.
    """
    _check_digits(first, second)
    check_choice("split", split, ("train", "test"))
    if not isinstance(folder, str | PathLike):
        raise ValueError(f"folder must be a path, not {shown(folder)}.")
    stem = "train" if split == "train" else "t10k"
    labels = read_idx(folder, f"{stem}-labels", 1)
    if missing := {first, second} - set(labels.tolist()):
        raise ValueError(f"the labels in {folder} hold no digit {missing.pop()}; choose two that are there.")
    kept = _first_kept(labels, first, second, n)
    images = read_idx(folder, f"{stem}-images", 3, labels.size, kept)
    return _scaled(images.reshape(kept.size, -1).astype(float), labels[kept], second, f"mnist_{first}_{second}")
