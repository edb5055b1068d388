"""Which student neuron stands for which teacher neuron; on the host, by scipy, not to be traced."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from .._checks import plainly, shown
from .._repr import fields_html, text_of
from .._types import Params


class NeuronMatch(NamedTuple):
    """Students in the order of the teachers.

    Attributes:
        permutation: indices of the students: those matched, teacher by teacher, and then the others.
        angles: between the inner vectors of each teacher and its student, in radians; NaN where one is zero.
        norms: of the students in the order of the permutation, |c| times the inner vector's length.
    """

    permutation: Int[np.ndarray, " student"]
    angles: Float[np.ndarray, " teacher"]
    norms: Float[np.ndarray, " student"]

    __repr__ = text_of
    _repr_html_ = fields_html


def _neurons(params: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inner vectors, their biases as a last entry, and output weights.

    Args:
        params: a dictionary or a matrix.

    Returns:
        A matrix and a vector.

    Raises:
        ValueError: it is neither.
    """
    parts = params if isinstance(params, dict) else {"a": params}
    if "a" not in parts or np.ndim(parts["a"]) != 2:
        raise ValueError('neurons are {"a": (hidden, dim), "c": (hidden,)} with "b" if wanted, or a matrix with one row a neuron.')
    inner = np.asarray(parts["a"], float)
    if "b" in parts:
        inner = np.column_stack([inner, np.asarray(parts["b"], float)])
    return inner, np.asarray(parts["c"], float) if "c" in parts else np.ones(len(inner))


@plainly
def match_neurons(student: Params, teacher: Params, *, by: str = "cosine") -> NeuronMatch:
    """Pairs each teacher with a student so that the pairs together are the closest.

    It runs on the host (scipy), one lane at a time, and is no observable.

    Args:
        student: `{"a": (hidden, dim), "c": (hidden,)}`, `"b"` among them where there are biases; or the matrix a.
        teacher: the same, no more neurons than the student has.
        by: "cosine", of the inner vectors; "axis", the cosine's modulus, for students that may oppose their teachers; or "distance",
            of the inner vectors times |c|.

    Returns:
        The students in the order of the teachers.

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or `by` is unknown.

    Reference:
        Crouse (2016), On implementing 2D rectangular assignment algorithms (scipy's method).
    """
    (u, c), (v, weight) = _neurons(student), _neurons(teacher)
    if u.shape[1] != v.shape[1] or len(u) < len(v):
        raise ValueError(
            f"{len(u)} students of {u.shape[1]} inner weights cannot be matched to {len(v)} teachers of {v.shape[1]}: "
            "give as many weights to each, and no more teachers than students."
        )
    if by not in ("cosine", "axis", "distance"):
        raise ValueError(f'by={shown(by)} must be "cosine", "axis" or "distance".')
    if not (np.isfinite(u).all() and np.isfinite(c).all()):
        raise ValueError("the student's weights are not finite: leave lanes out that diverged.")
    (directions, lengths), (targets, sizes) = (_directions(part) for part in (u, v))
    if by != "distance":
        cosine = directions @ targets.T
        cost = -cosine if by == "cosine" else -np.abs(cosine)
    else:
        cost = np.linalg.norm((np.abs(c)[:, None] * u)[:, None, :] - (np.abs(weight)[:, None] * v)[None, :, :], axis=2)
    rows, columns = linear_sum_assignment(cost)
    matched = rows[np.argsort(columns)]
    permutation = np.concatenate([matched, np.setdiff1d(np.arange(len(u)), matched)])
    apart, together = (np.linalg.norm(directions[matched] + sign * targets, axis=1) for sign in (-1, 1))
    angles = np.where((lengths[matched] > 0) & (sizes > 0), 2 * np.arctan2(apart, together), np.nan)
    return NeuronMatch(permutation, angles, (np.abs(c) * lengths)[permutation])


def _directions(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(vectors, axis=1)
    return vectors / np.where(lengths > 0, lengths, 1.0)[:, None], lengths
