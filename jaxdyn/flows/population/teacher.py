"""What a population flow is given, checked once when it comes in."""

from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ..._types import as_leaf
from ...models import TwoLayer
from ...models.two_layer import TwoLayerParams


def checked_teacher(teacher: Any, model: TwoLayer) -> TwoLayerParams:
    """A teacher's parameters as arrays, the output weights 1 where they are left out.

    Args:
        teacher: `{"a": (unit, dim), "b": (unit,), "c": (unit,)}`, without `"b"` or `"c"` too; or the array a.
        model: the student.

    Returns:
        A dictionary with `"a"`, `"c"`, and `"b"` where it was given.

    Raises:
        ValueError: the shapes do not fit each other or the student, or a neuron does nothing.
    """
    parts = teacher if isinstance(teacher, dict) else {"a": teacher}
    if "a" not in parts or not set(parts) <= {"a", "b", "c"}:
        raise ValueError(f'the teacher must be {{"a": (unit, dim)}}, with "b" and "c" of shape (unit,) if wanted, not {sorted(parts)}.')
    parts = {name: as_leaf(part, f"the teacher's {name}") for name, part in parts.items()}
    a = parts["a"]
    if a.ndim != 2 or a.shape[0] == 0:
        raise ValueError(f'the teacher\'s "a" must have one row a neuron and at least one row, but its shape is {a.shape}.')
    if a.shape[1] != model.dim:
        raise ValueError(f"the teacher has {a.shape[1]} inputs and the student {model.dim}: give them the same dim.")
    parts.setdefault("c", as_leaf(np.ones(a.shape[0], a.dtype)))
    for name in set(parts) - {"a"}:
        if parts[name].shape != a.shape[:1]:
            raise ValueError(f'the teacher\'s "{name}" must have the shape {a.shape[:1]}, one number a neuron, not {parts[name].shape}.')
    if not any(isinstance(part, Tracer) for part in parts.values()):
        if not all(np.isfinite(part).all() for part in parts.values()):
            raise ValueError("the teacher holds values that are not finite: give it finite weights.")
        idle = (np.asarray(a) == 0).all(axis=1) & (np.asarray(parts["b"]) == 0 if "b" in parts else True)
        if model.activation.degree is not None and idle.any():
            raise ValueError(f"neuron {int(np.argmax(idle))} of the teacher is zero and outputs nothing: leave it out.")
    return parts


def checked_covariance(covariance: Any, dim: int) -> Array | None:
    """A covariance matrix as an array.

    Args:
        covariance: the matrix; None for the identity.
        dim: the number of inputs.

    Returns:
        The matrix, or None.

    Raises:
        ValueError: it is not symmetric, not positive definite or of another shape.
    """
    if covariance is None:
        return None
    covariance = as_leaf(covariance, "covariance")
    if covariance.shape != (dim, dim):
        raise ValueError(f"the covariance must have the shape ({dim}, {dim}) of the inputs, not {covariance.shape}.")
    if not isinstance(covariance, Tracer):
        matrix = np.asarray(covariance)
        if not np.isfinite(matrix).all():
            raise ValueError("the covariance must be finite.")
        if not np.allclose(matrix, matrix.T, rtol=1e-6 if matrix.dtype == np.float32 else 1e-12, atol=0):
            raise ValueError("the covariance must be symmetric: give (C + C.T)/2.")
        if not np.linalg.eigvalsh(matrix)[0] > 0:
            raise ValueError("the covariance must be positive definite: leave out the inputs that depend on others.")
    return covariance
