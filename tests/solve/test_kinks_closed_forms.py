"""One neuron against closed forms, and started on a surface or at zero."""

import dataclasses

import numpy as np
import pytest
from kinked import Problem, error, table

RTOL = 1e-9


def logistic(p0, rate, t):
    """The solution of p' = rate p (1 - p)."""
    return 1 / (1 + (1 / p0 - 1) * np.exp(-rate * t))


def neuron(x, y, w, c, t1):
    return Problem(np.asarray(x, float), np.asarray(y, float), np.asarray([w], float), None, np.asarray([c], float), t1)


def solved(problem):
    """By the library, with samples of zeros and inputs of zeros up to one shape for all, which compiles once."""
    n, d = problem.x.shape
    more = {
        "x": np.pad(problem.x, ((0, 3 - n), (0, 2 - d))),
        "y": np.pad(problem.y, (0, 3 - n)),
        "a": np.pad(problem.a, ((0, 0), (0, 2 - d))),
    }
    end = dataclasses.replace(problem, **more).solved(RTOL)
    kinks = end.state.kinks
    assert not table(end.params)[0, d:-1].any() and not np.asarray(kinks.gates)[n:].any()
    return end.params | {"a": end.params["a"][:, :d]}, dataclasses.replace(kinks, gates=kinks.gates[:n]), end.certificate


def counts(found):
    """Kinks, slides begun and ambiguous kinks of a certificate."""
    return int(found.num_kinks), int(found.num_slides), int(found.num_ambiguous_kinks)


@pytest.mark.ci_slow
def test_one_that_stays_on():
    """Balanced, c = w: p = c^2 follows p' = 2 p (y - p)."""
    params, kinks, certificate = solved(neuron([(1,)], (2,), (0.5,), 0.5, 1.0))
    np.testing.assert_allclose(table(params), np.sqrt(2 * logistic(0.125, 4, 1.0)), rtol=10 * RTOL)
    assert counts(certificate) == (0, 0, 0) and np.isnan(certificate.first_kink) and np.isnan(certificate.last_kink)


def test_one_that_dies():
    """With y = -1 it falls to exactly zero and stays, with c at sqrt(c^2 - w^2) of the start; w = v sinh(s), c = v cosh(s) date it."""
    params, kinks, certificate = solved(neuron([(1,)], (-1,), (0.5,), 1.0, 5.0))
    assert np.asarray(params["a"]) == 0 and counts(certificate) == (1, 0, 0)
    np.testing.assert_allclose(params["c"], np.sqrt(0.75), rtol=10 * RTOL)
    # s' = -(1 + v^2 sinh(2 s)/2): the time to s = 0 by quadrature
    s, weights = np.polynomial.legendre.leggauss(60)
    top = np.arctanh(0.5)
    s = (s + 1) * top / 2
    expected = top / 2 * weights @ (1 / (1 + 0.75 * np.sinh(2 * s) / 2))
    np.testing.assert_allclose([certificate.first_kink, certificate.last_kink], expected, rtol=0, atol=10 * RTOL)


def test_one_that_slides_for_ever():
    """On the surface of the first sample w = (0, w_2), and p = w_2^2 = c^2 follows the second sample alone; the gate is (y_2 - p)/|y_1|."""
    params, kinks, certificate = solved(neuron([(1, 0), (1, 1)], (-2, 1), (0, 0.3), 0.3, 3.0))
    p = logistic(0.09, 2, 3.0)
    np.testing.assert_allclose(table(params)[0, 1:], np.sqrt(p), rtol=10 * RTOL)
    np.testing.assert_allclose(kinks.multiplier / kinks.jump, [[(1 - p) / 2]], rtol=0, atol=10 * RTOL)
    assert table(params)[0, 0] == 0 and counts(certificate) == (1, 1, 0)
    assert (kinks.slides.tolist(), kinks.gates.tolist()) == ([[0]], [[0], [1]])


def test_one_that_slides_between_opposite_samples():
    """With a sample at -x_1 as well, one gate is g and the other 1 - g: g (|y_1| + |y_2|) = |y_2| + y_3 - p."""
    params, kinks, certificate = solved(neuron([(1, 0), (-1, 0), (1, 1)], (-2, -0.5, 1), (0, 0.3), 0.3, 3.0))
    p = logistic(0.09, 2, 3.0)
    np.testing.assert_allclose(table(params)[0, 1:], np.sqrt(p), rtol=10 * RTOL)
    np.testing.assert_allclose(kinks.multiplier / kinks.jump, [[(1.5 - p) / 2.5]], rtol=0, atol=10 * RTOL)
    assert counts(certificate) == (1, 1, 0) and kinks.gates.tolist() == [[0], [1], [1]]


@pytest.mark.parametrize("t1", [0.2, 1.0, 10.0])
def test_a_surface_that_turns_repelling(t1):
    """When c crosses zero on the surface, both sides lead away: the neuron leaves with the sample off, and the certificate says so."""
    problem = neuron([(1, 0), (-0.5, 1)], (-1, -1), (0.001, 1.0), 0.3, t1)
    truth, events = problem.truth
    params, kinks, certificate = solved(problem)
    assert error(params, truth) <= 10 * RTOL
    assert [event[3] for event in events] == ([1] if t1 < 0.27 else [1, 2])
    assert counts(certificate) == ((1, 1, 0) if t1 < 0.27 else (2, 1, 1))
    assert kinks.gates.tolist() == [[0], [1]] and kinks.slides.tolist() == ([[0]] if t1 < 0.27 else [[-1]])


@pytest.mark.parametrize(
    ("x", "y", "w", "c", "expected", "gates", "slides"),
    [
        ([(1, 0), (1, 1)], (-2, 1), (0, 0.3), 0.3, (1, 1, 0), [[0], [1]], [[0]]),
        ([(1, 0), (1, 1)], (2, 1), (0, 0.3), 0.3, (1, 0, 0), [[1], [1]], [[-1]]),
        ([(1, 0), (-1, 1)], (-2, 1), (0, 0.3), 0.3, (0, 0, 0), [[0], [1]], [[-1]]),
        ([(1, 0), (1, 1)], (-2, 1), (0, 0.3), 0.0, (1, 1, 0), [[0], [1]], [[0]]),
        ([(1, 0), (1, 1)], (-2, 1), (0.1, 0.3), 0.0, (1, 1, 0), [[0], [1]], [[0]]),
        ([(1, 0), (1, 1)], (-2, 1), (0, 0), 0.3, (0, 0, 1), [[0], [0]], [[-1]]),
    ],
    ids=["slides", "turns on", "stays off", "slides, c = 0", "off the surface, c = 0", "w = 0"],
)
def test_started_on_a_surface_or_at_zero(x, y, w, c, expected, gates, slides):
    """The judge tries all ways to go on; from w = 0 it takes that of relu'(0) = 0, where nothing moves (flagged)."""
    problem = neuron(x, y, w, c, 2.0)
    params, kinks, certificate = solved(problem)
    assert error(params, problem.truth[0]) <= 10 * RTOL
    assert counts(certificate) == expected
    assert (kinks.gates.tolist(), kinks.slides.tolist()) == (gates, slides)
