"""Matching and isotropy: constructed matrices, any order of rows and columns, and minima that were found."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.measure import distinct_values, isotropy, match_neurons

pytestmark = pytest.mark.ci_slow

RNG = np.random.default_rng(5)


def with_blocks(sizes):
    """A dominant diagonal, one number for each block's diagonal, its inside, and each pair of blocks."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    between = RNG.uniform(-0.1, 0.1, (len(sizes), len(sizes)))
    matrix = between[np.ix_(of, of)]
    inside = RNG.uniform(0.2, 0.3, len(sizes))
    matrix = np.where(of[:, None] == of[None, :], inside[of][:, None], matrix)
    np.fill_diagonal(matrix, RNG.uniform(1, 2, len(sizes))[of])
    return matrix


@pytest.mark.parametrize(
    ("sizes", "group", "distinct"),
    [
        ((6,), "S_6", 2),
        ((5, 1), "S_5 x S_1", 5),
        ((3, 2), "S_3 x S_2", 6),
        ((2, 2, 1), "S_2 x S_2 x S_1", 11),
        ((1, 1, 1), "S_1 x S_1 x S_1", 9),
    ],
)
def test_isotropy_of_constructed_matrices(sizes, group, distinct):
    k = sum(sizes)
    for _ in range(5):
        matrix = with_blocks(sizes)
        teacher = np.linalg.qr(RNG.normal(size=(k + 2, k)))[0].T * RNG.uniform(0.9, 1.1)
        rows, teachers = RNG.permutation(k), RNG.permutation(k)
        noise = 1e-9 * RNG.normal(size=(k, k))
        found = isotropy({"a": ((matrix + noise) @ teacher)[rows]}, teacher[teachers])
        assert found.group == group and found.blocks == sizes
        assert len(found.distinct) == distinct
        np.testing.assert_allclose(np.sort(found.matrix.ravel()), np.sort(matrix.ravel()), atol=1e-8)
        np.testing.assert_allclose(np.sort(np.diag(found.matrix)), np.sort(np.diag(matrix)), atol=1e-8)
        # sorted into the blocks: each is one number off its diagonal and one on it
        for start, size in zip(np.cumsum((0, *sizes)), sizes, strict=False):
            block = found.matrix[start : start + size, start : start + size]
            assert np.ptp(np.diag(block)) < 1e-7 and (size < 2 or np.ptp(block[~np.eye(size, dtype=bool)]) < 1e-7)


def test_isotropy_is_the_largest_product_of_symmetric_groups():
    """Against all permutations: those that fix the matrix are as many as the group has, but for a cyclic one, which it does not count."""
    matrix = with_blocks((2, 2))
    fixed = sum(np.allclose(matrix[np.ix_(p, p)], matrix) for p in map(list, itertools.permutations(range(4))))
    assert fixed == 4 and isotropy(matrix).blocks == (2, 2)
    cyclic = np.eye(3) + 0.1 * np.roll(np.eye(3), 1, axis=1)
    fixed = sum(np.allclose(cyclic[np.ix_(p, p)], cyclic) for p in map(list, itertools.permutations(range(3))))
    assert fixed == 3 and isotropy(cyclic).group == "S_1 x S_1 x S_1"


def test_isotropy_of_the_lowest_spurious_minimum():
    """S_(k-1), and at most five distinct entries (Arjevani & Field, arXiv 1912.11939); k = 6, polished from two digits in another order."""
    k = 6
    model = jd.models.TwoLayer(k, k, bias=False, scaling="one", trains="a")
    flow = jd.flows.PopulationFlow(model, np.eye(k))
    rough = np.full((k, k), -0.05)
    rough[:-1, -1], rough[-1], rough[-1, -1] = 0.31, 0.22, -0.6
    np.fill_diagonal(rough[:-1, :-1], 0.99)
    rough = (rough + 0.01 * RNG.normal(size=(k, k)))[RNG.permutation(k)][:, RNG.permutation(k)]
    polished = jd.polish(flow, {"a": jnp.asarray(rough), "c": jnp.ones(k)}, method="products")
    np.testing.assert_allclose(polished.loss, 0.02508, atol=6e-6)
    found = isotropy(polished.params, tolerance=1e-8)
    assert found.group == "S_5 x S_1" and len(found.distinct) == 5
    assert found.matrix[-1, -1] < -0.5  # one student opposes its teacher
    assert isotropy(rough).group == " x ".join(["S_1"] * k)
    kind = jd.measure.critical_point(flow, 0.0, polished.params)
    assert (int(kind.index), int(kind.dimension)) == (0, 0)


@pytest.mark.parametrize("by", ["cosine", "axis", "distance"])
def test_matching_finds_the_permutation(by):
    teacher = {"a": RNG.normal(size=(5, 4)), "b": RNG.normal(size=5), "c": RNG.uniform(0.5, 2, 5)}
    order = RNG.permutation(7)
    surplus = {"a": RNG.normal(size=(2, 4)), "b": 9 * np.ones(2), "c": np.ones(2)}
    turned = {name: np.concatenate([part, surplus[name]])[order] for name, part in teacher.items()}
    turned["a"] = turned["a"] + 1e-3 * RNG.normal(size=(7, 4))
    found = match_neurons(turned, teacher, by=by)
    np.testing.assert_array_equal(order[found.permutation[:5]], np.arange(5))
    np.testing.assert_array_equal(np.sort(found.permutation), np.arange(7))
    inner = [np.column_stack([part["a"], part["b"]]) for part in (turned, teacher)]
    students = inner[0][found.permutation]
    cosine = [u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in zip(students, inner[1], strict=False)]
    np.testing.assert_allclose(found.angles, np.arccos(cosine), atol=1e-8)
    np.testing.assert_allclose(found.norms, turned["c"][found.permutation] * np.linalg.norm(students, axis=1), rtol=1e-12)


def test_matching_is_the_best_together():
    """Teacher by teacher would take the first student twice."""
    student, teacher = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[1.0, 0.1], [1.0, -0.1]])
    for by in ("cosine", "distance"):
        np.testing.assert_array_equal(match_neurons(student, teacher, by=by).permutation, [1, 0])


def test_a_student_that_opposes_its_teacher():
    """By the modulus it is matched, and its angle is told as it is."""
    student, teacher = np.array([[0.2, -0.9], [0.8, 0.5]]), np.eye(2)
    found = match_neurons(student, teacher, by="axis")
    np.testing.assert_array_equal(found.permutation, [1, 0])
    np.testing.assert_allclose(found.angles, [np.arctan2(0.5, 0.8), np.pi - np.arctan2(0.2, 0.9)], rtol=1e-12)


def test_clusters():
    np.testing.assert_allclose(distinct_values([1.0, 2.0, 1.0 + 1e-8, -3.0, 2.0], tolerance=1e-6), [-3.0, 1.0 + 5e-9, 2.0], rtol=1e-15)


def test_misuse():
    with pytest.raises(ValueError, match="as many students"):
        isotropy(np.ones((3, 2)))
    with pytest.raises(ValueError, match="span"):
        isotropy(np.ones((1, 2)), np.array([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="no more teachers"):
        match_neurons(np.ones((1, 2)), np.eye(2))
    with pytest.raises(ValueError, match="cosine"):
        match_neurons(np.eye(2), np.eye(2), by="angle")
    with pytest.raises(ValueError, match="diverged"):
        match_neurons(np.full((2, 2), np.nan), np.eye(2))
