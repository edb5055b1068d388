"""Fits that the claims of several labs rest on."""

import numpy as np


def slope(x: np.ndarray, y: np.ndarray, errors: np.ndarray | None = None) -> tuple[float, float]:
    """The slope of a line and its standard error.

    Args:
        x: shape (point,).
        y: shape (point,).
        errors: those of y, if known; otherwise the residuals say how large they are.

    Returns:
        Both; NaN with fewer than three finite points.
    """
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < 3:
        return np.nan, np.nan
    x, y = x[good], y[good]
    weights = np.ones(len(x)) if errors is None else 1 / errors[good] ** 2
    middle = np.average(x, weights=weights)
    spread = np.sum(weights * (x - middle) ** 2)
    found = np.sum(weights * (x - middle) * y) / spread
    rest = y - np.average(y, weights=weights) - found * (x - middle)
    scale = 1.0 if errors is not None else rest @ rest / (len(x) - 2)
    return float(found), float(np.sqrt(scale / spread))
