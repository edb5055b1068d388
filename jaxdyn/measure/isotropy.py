"""The symmetry that a student keeps of its teacher's; on the host, by numpy, not to be traced."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from .._checks import check_not_negative, plainly
from .._repr import fields_html, text_of
from .matching import match_neurons


class Isotropy(NamedTuple):
    """The permutations of the teachers that leave a student as it is.

    Attributes:
        group: as a product of symmetric groups, the largest first: `S_5 x S_1`.
        blocks: the sizes of its orbits, the largest first.
        matrix: the student in the basis of the teachers, rows matched to columns, sorted into the orbits.
        order: the teacher of each row and column of it.
        distinct: the distinct entries of the matrix, ascending: the means of clusters.
    """

    group: str
    blocks: tuple[int, ...]
    matrix: Float[np.ndarray, "unit unit"]
    order: Int[np.ndarray, " unit"]
    distinct: Float[np.ndarray, " value"]

    __repr__ = text_of
    _repr_html_ = fields_html


@plainly
def isotropy(student: Any, teacher: Any = None, *, tolerance: float = 1e-6) -> Isotropy:
    r"""The isotropy of a student among as many teachers: the simultaneous permutations of rows and columns that fix its matrix.

    Rows are first matched to the teachers, by the cosine or by its modulus, whichever shows the larger group, so the result does not
    depend on the order of neurons or of teachers. The group is the one that transpositions generate, a product of symmetric groups over
    blocks of teachers that can be exchanged; permutations that fix the matrix without being such a product (cyclic ones) are not looked
    for.

    It runs on the host (numpy and scipy), one lane at a time, and is no observable.

    Args:
        student: `{"a": (unit, dim)}` or the matrix; output weights are taken to be equal.
        teacher: the teacher's vectors, a matrix of linearly independent rows, or a dictionary; the unit vectors by default.
        tolerance: entries count as equal within this times the largest one.

    Returns:
        The group, and what it was read off.

    Raises:
        ValueError: there are not as many students as teachers, or the students leave the teachers' span.

    Reference:
        Arjevani & Field (2019), arXiv 1912.11939, on isotropy types of spurious minima.
    """
    check_not_negative("tolerance", tolerance)
    W = np.asarray(student["a"] if isinstance(student, dict) else student, float)
    V = np.eye(W.shape[1]) if teacher is None else np.asarray(teacher["a"] if isinstance(teacher, dict) else teacher, float)
    if len(W) != len(V):
        raise ValueError(f"isotropy is that of as many students as teachers, not of {len(W)} and {len(V)}: leave surplus neurons out.")
    if np.linalg.matrix_rank(V) < len(V):
        raise ValueError("the teachers are linearly dependent: isotropy needs a basis.")
    coordinates = W @ np.linalg.pinv(V)
    least = tolerance * np.abs(coordinates).max()
    if np.abs(coordinates @ V - W).max() > least:
        raise ValueError("the students leave the teachers' span: polish them, or raise the tolerance.")
    matched = [coordinates[match_neurons(W, V, by=by).permutation] for by in ("cosine", "axis")]
    M, blocks = max(((M, _blocks(M, least)) for M in matched), key=lambda one: math.prod(math.factorial(len(b)) for b in one[1]))
    order = np.concatenate([np.asarray(block) for block in blocks])
    sizes = tuple(len(block) for block in blocks)
    return Isotropy(" x ".join(f"S_{size}" for size in sizes), sizes, M[np.ix_(order, order)], order, distinct_values(M, tolerance=least))


def _blocks(M: np.ndarray, least: float) -> list[list[int]]:
    """The classes of indices whose exchange leaves a matrix as it is, the largest first."""
    blocks: list[list[int]] = []
    for i in range(len(M)):
        for block in blocks:
            swapped = np.arange(len(M))
            swapped[[i, block[0]]] = block[0], i
            if np.abs(M[np.ix_(swapped, swapped)] - M).max() <= least:
                block.append(i)
                break
        else:
            blocks.append([i])
    return sorted(blocks, key=lambda block: -len(block))


@plainly
def distinct_values(values: ArrayLike, *, tolerance: float) -> Float[np.ndarray, " value"]:
    """The means of clusters of numbers, neighbours within a cluster being no further apart than the tolerance.

    Args:
        values: any numbers.
        tolerance: absolute.

    Returns:
        One mean a cluster, ascending.

    Raises:
        ValueError: a value is not finite.
    """
    check_not_negative("tolerance", tolerance)
    ordered = np.sort(np.ravel(np.asarray(values, float)))
    if not np.isfinite(ordered).all():
        raise ValueError("the values must be finite numbers: leave out what diverged.")
    return np.asarray([part.mean() for part in np.split(ordered, np.flatnonzero(np.diff(ordered) > tolerance) + 1)])
