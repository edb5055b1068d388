"""Kinks of one neuron that happen at the same moment: a slide that another kink ends, zero weights, starts on a shared surface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kinked import Problem, table

RTOLS = (1e-4, 1e-6, 1e-8)


def errors(x, y, a, c, t1, slope=0.0):
    """Largest differences to the judge in units of rtol, one neuron without bias, and both numbers of kinks."""
    x, y, a, c = (np.asarray(value, float) for value in (x, y, a, c))
    problem = Problem(x, y, a, None, c, t1, slope)
    truth, events = problem.truth

    def one(rtol):
        sol = problem.solved(rtol)
        return sol.params, sol.certificate

    params, certificate = jax.jit(jax.vmap(one))(jnp.asarray(RTOLS))
    return np.abs(table(params) - truth).max(axis=(1, 2)) / np.asarray(RTOLS), np.asarray(certificate.num_kinks), len(events)


@pytest.mark.slow
def test_a_slide_that_ends_at_another_kink():
    """The neuron slides on the third sample until it meets the second's surface, and goes on along that alone."""
    x = [[1.5, 0.5, -1.0], [-1.2, 1.4, 0.9], [0.4, 0.3, 0.8]]
    found, kinks, judged = errors(x, [-1.1, -3.9, -3.4], [[0.7, 0.5, -0.3]], [1.1], 1.0)
    assert np.all(found <= 10) and np.all(kinks <= judged + 1)


@pytest.mark.slow
@pytest.mark.parametrize("t1", [1.31, 4.0])
def test_a_leaky_neuron_at_zero_weights(t1):
    """It rests there for a while, on two surfaces at once, and leaves: dead is a ReLU neuron only."""
    rng = np.random.default_rng(217)
    x, y = np.round(rng.normal(size=(3, 2)), 1), np.round(2 * rng.normal(size=3), 1)
    a, c = np.round(rng.normal(size=(1, 2)), 1), np.round(rng.normal(size=1), 1)
    found, kinks, judged = errors(x, y, a, c, t1, 0.2)
    assert np.all(found <= 100) and np.all(kinks <= judged + 4)


@pytest.mark.ci_slow
def test_a_start_on_the_surface_of_opposite_samples():
    """Of samples x and -x one is on, on either side."""
    found, _, _ = errors([(-1.0, 0), (1.0, 0), (1.0, 1.0)], [0.5, 2.0, 1.0], [[0.0, 0.3]], [0.3], 3.0)
    assert np.all(found <= 10)


@pytest.mark.ci_slow
@pytest.mark.parametrize(("y", "a", "ways"), [((2.0, -1.0), (0.0, 0.3), 2), ((-2.0, -1.0), (0.0, 0.3), 1), ((1.0, -1.0), (0.0, 0.0), 2)])
def test_a_start_from_which_there_are_several_ways(y, a, ways):
    """Both sides lead away from the first surface; a sample pushes away from zero weights: flagged. A surface that attracts: not."""
    problem = Problem(np.array([(1.0, 0.0), (1.0, 1.0)]), np.array(y), np.array([a]), None, np.array([0.3]), 0.1)
    sol, (_, events) = problem.solved(1e-8), problem.truth
    assert (events[0][3] > 1) == (ways > 1)
    assert (int(sol.certificate.num_ambiguous_kinks) > 0) == (ways > 1)
