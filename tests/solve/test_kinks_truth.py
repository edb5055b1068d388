"""The kink-aware integrator against the judge of piecewise.py: error, number of kinks and their times.

Then what is rare in Gaussian data: repeated, parallel and zero samples, grazes, several slides at once, neurons alike. It is in the same
file to share the compiled programs.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
from kinked import changes, drawn, error, table

from jaxdyn.solve import Outcome

pytestmark = pytest.mark.ci_slow

ONE_INPUT = {"n": 5, "d": 1, "m": 3}
TWO_INPUTS = {"n": 6, "d": 2, "m": 3}
NO_BIAS = {"n": 6, "d": 2, "m": 3, "bias": False}
THREE_INPUTS = {"n": 6, "d": 3, "m": 4, "bias": False}
RTOL = 1e-8
"""Of the rare cases."""
RTOLS = (1e-4, 1e-6, 1e-8, 1e-10)

# shape and kind by name, and seeds; between them 63 kinks, of which 19 begin a slide and 6 end one
FAMILIES = {
    "one input": (ONE_INPUT, (0, 1, 4)),
    "two inputs": (TWO_INPUTS, (0, 2)),
    "two inputs, no bias": (NO_BIAS, (2, 3)),
    "three inputs, no bias": (THREE_INPUTS, (1, 2)),
    "three inputs": ({"n": 6, "d": 3, "m": 3}, (0, 1)),
    "leaky": ({"n": 6, "d": 2, "m": 3, "bias": False, "slope": 0.2}, (1, 2)),
    "logistic": ({"n": 5, "d": 1, "m": 3, "loss": "logistic"}, (3, 4)),
}
SLOW = ("two inputs", "three inputs", "three inputs, no bias")
CI_SLOW = ("leaky", "logistic")
EACH = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else pytest.mark.ci_slow if name in CI_SLOW else ()) for name in FAMILIES]


@cache
def problems(name):
    """The problems of a family; those of one input also with a sample repeated under another target."""
    shape, seeds = FAMILIES[name]
    found = [drawn(seed, t1=4.0, **shape) for seed in seeds]
    if name == "one input":
        first = found[-1]
        x = np.concatenate([first.x[:4], first.x[1:2]])
        found.append(dataclasses.replace(first, x=x, y=np.append(first.y[:4], 0.5)))
    return found


@cache
def solutions(name):
    """By problem and tolerance."""
    return [[problem.solved(rtol) for rtol in RTOLS] for problem in problems(name)]


@cache
def errors(name):
    """In units of the tolerance."""
    pairs = zip(problems(name), solutions(name), strict=True)
    return np.asarray([[error(s.params, p.truth[0]) / rtol for s, rtol in zip(row, RTOLS, strict=True)] for p, row in pairs])


@pytest.mark.parametrize("name", EACH)
def test_the_error_is_of_the_size_of_the_tolerance(name):
    """Measured: 0.01 to 15 times rtol; where a slide ends 20 times at rtol 1e-10."""
    assert all(s.fate is Outcome.t1_reached for row in solutions(name) for s in row)
    assert errors(name).max() <= 100, errors(name)


@pytest.mark.slow
def test_the_error_falls_in_proportion_to_the_tolerance():
    """The slope of the median error of all problems against rtol; measured: 0.86."""
    table = np.concatenate([errors(name) for name in FAMILIES if name not in SLOW]) * np.asarray(RTOLS)
    medians = np.median(table, axis=0)
    slope = np.polyfit(np.log(RTOLS), np.log(medians), 1)[0]
    assert slope >= 0.8 and medians[3] < 1e-3 * medians[1], (slope, medians)


@pytest.mark.parametrize("name", EACH)
def test_the_certificate_counts_the_kinks(name):
    """As many kinks and slides as the judge has events, from rtol 1e-6 on, and none that is ambiguous."""
    for problem, row in zip(problems(name), solutions(name), strict=True):
        events = problem.truth[1]
        begun = sum(changes(events, k)[0] for k in range(len(events)))
        assert events and all(event[3] == 1 for event in events)
        for solution in row[1:]:
            found = solution.certificate
            assert (int(found.num_kinks), int(found.num_slides), int(found.num_ambiguous_kinks)) == (len(events), begun, 0)


@pytest.mark.parametrize("name", EACH)
def test_the_certificate_dates_the_kinks(name):
    """Within 100 rtol of the judge's times; the end of a slide, where nothing jumps, within rtol^(1/4) (measured: up to rtol^(1/3))."""
    for problem, row in zip(problems(name), solutions(name), strict=True):
        events = problem.truth[1]
        for solution, rtol in zip(row[1:], RTOLS[1:], strict=True):
            for k, found in ((0, solution.certificate.first_kink), (-1, solution.certificate.last_kink)):
                assert abs(float(found) - events[k][0]) <= (rtol**0.25 if changes(events, k)[1] else 100 * rtol)


def agrees(problem, truth, events, rtol=RTOL, ambiguous=0):
    """The library's solution, checked against the judge's."""
    end = problem.solved(rtol)
    assert error(end.params, truth) <= 30 * rtol
    assert (int(end.certificate.num_kinks), int(end.certificate.num_ambiguous_kinks)) == (len(events), ambiguous)
    return end


@pytest.mark.parametrize(
    ("seed", "neuron", "shift", "t1", "ambiguous"),
    [(167, 2, -0.01149307, 2.479, 0), (175, 1, 0.00580213, 2.32, 1)],
    ids=["returns", "turns repelling"],
)
def test_grazes(seed, neuron, shift, t1, ambiguous):
    """A bias shifted a little less and a little more than for a graze: a slide of 0.001 to 0.01, or none (the shifts by bisection)."""
    problem = drawn(seed, t1=t1, **ONE_INPUT)
    for beyond in (-1e-4, -1e-6, 1e-6, 1e-4):
        b = problem.b.copy()
        b[neuron] += shift + np.sign(shift) * beyond
        grazes = dataclasses.replace(problem, b=b)
        truth, events = grazes.judged(pieces=400)
        assert any(event[1] == neuron and event[2] for event in events) == (beyond < 0)
        for rtol in (RTOL, 1.1 * RTOL, 3e-7):  # wherever the steps fall
            agrees(grazes, truth, events, rtol, ambiguous=ambiguous if beyond < 0 else 0)


def test_a_neuron_too_small_to_hold_up_a_step_grows():
    """From a tenth of the tolerance to the size of the others, with a kink on its way."""
    problem = drawn(3, t1=60.0, **NO_BIAS)
    small = np.array([1.0, 1.0, 1e-7])
    problem = dataclasses.replace(problem, a=problem.a * small[:, None], c=problem.c * small)
    truth, events = problem.truth
    assert any(event[1] == 2 for event in events) and np.linalg.norm(truth[2]) > 0.5
    for rtol in (1e-3, 1e-4):
        assert error(problem.solved(rtol).params, truth) <= 10 * rtol


@pytest.mark.parametrize("seed", [3, 4])
def test_repeated_samples_share_their_gates(seed):
    """Three samples at one place, with three targets."""
    problem = drawn(seed, t1=4.0, **ONE_INPUT)
    x = problem.x.copy()
    x[3:] = x[1]
    problem = dataclasses.replace(problem, x=x)
    end = agrees(problem, *problem.truth)
    gates = np.asarray(end.state.kinks.gates)
    np.testing.assert_array_equal(gates[3:], gates[[1, 1]])
    assert int(end.certificate.num_kinks) > 0 and set(np.asarray(end.state.kinks.slides).ravel().tolist()) <= {-1, 0, 1, 2}


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_neurons_alike_stay_alike(seed):
    """The third neuron is a copy of the first: they have each kink at once."""
    problem = drawn(seed, t1=4.0, **ONE_INPUT)
    a, b, c = (np.stack([part[0], part[1], part[0]]) for part in (problem.a, problem.b, problem.c))
    problem = dataclasses.replace(problem, a=a, b=b, c=c)
    assert any(event[1] == 0 for event in problem.truth[1])
    end = agrees(problem, *problem.truth)
    rows, kinks = table(end.params), end.state.kinks
    np.testing.assert_allclose(rows[0], rows[2], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(kinks.gates[:, 0], kinks.gates[:, 2])
    np.testing.assert_array_equal(kinks.slides[:, 0], kinks.slides[:, 2])


@pytest.mark.parametrize(
    ("shape", "seed"),
    [
        (THREE_INPUTS, 25),
        (THREE_INPUTS, 18),
        (THREE_INPUTS, 61),
        (TWO_INPUTS, 8),
        (TWO_INPUTS, 55),
        (TWO_INPUTS, 31),
    ],
)
def test_slides_on_two_surfaces_at_once(shape, seed):
    """In some the second slide ends again, or the first."""
    problem = drawn(seed, t1=4.0, **shape)
    truth, events = problem.truth
    assert any(len(event[2]) == 2 for event in events)
    end = agrees(problem, truth, events)
    assert int(end.certificate.num_slides) == sum(changes(events, k)[0] for k in range(len(events)))


@pytest.mark.parametrize("sizes", [(2.0, 0.5), pytest.param((-1.0, -2.0), marks=pytest.mark.slow)], ids=["along", "against"])
@pytest.mark.parametrize("seed", [1, 8, 9, 11])
def test_parallel_samples_share_a_surface(seed, sizes):
    """x_2 and x_3 are multiples of x_1."""
    problem = drawn(seed, t1=4.0, **NO_BIAS)
    x = problem.x.copy()
    x[1], x[2] = sizes[0] * x[0], sizes[1] * x[0]
    problem = dataclasses.replace(problem, x=x)
    truth, events = problem.truth
    end = problem.solved(RTOL)
    assert error(end.params, truth) <= 30 * RTOL
    gates = np.asarray(end.state.kinks.gates)
    np.testing.assert_array_equal(gates[1], gates[0] if sizes[0] > 0 else 1 - gates[0])
    np.testing.assert_array_equal(gates[2], gates[1])
    assert end.state.kinks.group.tolist() == [0, 0, 0, 3, 4, 5]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sample_of_zeros_has_no_surface(seed):
    """Without bias it does nothing at all: the judge is asked without it."""
    problem = drawn(seed, t1=4.0, **NO_BIAS)
    x = problem.x.copy()
    x[2] = 0
    without = dataclasses.replace(problem, x=np.delete(x, 2, axis=0), y=np.delete(problem.y, 2))
    end = agrees(dataclasses.replace(problem, x=x), *without.truth)
    assert end.state.kinks.group.tolist() == [0, 1, -1, 3, 4, 5] and not np.asarray(end.state.kinks.gates)[2].any()
