"""Forward derivatives of the end through kinks against central differences of the judge."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kinked import changes, drawn

import jaxdyn as jd

pytestmark = pytest.mark.ci_slow

EPS = 1e-5


@jax.jit
def derivative(start, x, y, t1, rtol, along):
    """Of the end as a table of inner and outer weights, along a change of start, targets and end time."""

    def end(start, y, t1):
        flow = jd.flows.GradientFlow(jd.models.TwoLayer(3), jd.losses.square, jd.data.points(x, y))
        params = jd.solve(flow, start, t1=t1, rtol=rtol, record=2).params
        return jnp.concatenate([params["a"], params["b"][:, None], params["c"][:, None]], 1)

    return jax.jvp(end, (start, y, t1), along)[1]


def measured(problem, eps, along):
    """The judge's central difference, and whether the kinks are the same on both sides."""
    start, y, t1 = along
    letters = {letter: getattr(problem, letter) for letter in "abc"}
    sides = []
    for sign in (eps, -eps):
        moved = {letter: value + sign * np.asarray(start[letter]) for letter, value in letters.items()}
        sides.append(problem.judged(problem.t1 + sign * float(t1), y=problem.y + sign * np.asarray(y), **moved))
    return (sides[0][0] - sides[1][0]) / (2 * eps), len(sides[0][1]) == len(sides[1][1])


@pytest.mark.parametrize("by", ["start", "targets", "time", "all"])
@pytest.mark.parametrize(
    ("seed", "t1", "flips", "begun", "ended"),
    [(1, 4.0, 4, 0, 0), (3, 1.0, 2, 1, 0), (4, 1.0, 1, 2, 0), (0, 4.0, 0, 1, 1)],
    ids=["flips", "flips and a slide", "a flip and slides", "a slide that ends"],
)
def test_derivatives_through_kinks(seed, t1, flips, begun, ended, by):
    """Measured at rtol 1e-8, relative to the largest: at most 5e-6; the differences themselves are good to 1e-7."""
    problem = dataclasses.replace(drawn(seed, n=5, d=1, m=3, t1=4.0), t1=t1)
    kinds = [changes(problem.truth[1], k) for k in range(len(problem.truth[1]))]
    assert (kinds.count((0, 0)), kinds.count((1, 0)), kinds.count((0, 1))) == (flips, begun, ended)
    rng = np.random.default_rng(100 + seed)
    start = {letter: jnp.asarray(rng.normal(size=value.shape)) for letter, value in problem.start.items()}
    y = jnp.asarray(rng.normal(size=5))
    start = start if by in ("start", "all") else jax.tree.map(jnp.zeros_like, start)
    along = (start, y if by in ("targets", "all") else 0 * y, jnp.asarray(1.0 if by in ("time", "all") else 0.0))
    expected, same = measured(problem, EPS, along)
    found = derivative(problem.start, jnp.asarray(problem.x), jnp.asarray(problem.y), jnp.asarray(t1), jnp.asarray(1e-8), along)
    assert same and np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=2.5e-5 * np.abs(expected).max())


def test_a_derivative_of_what_has_come_to_rest():
    """All neurons die or stay where they are: the end does not depend on the time."""
    problem = drawn(8, n=5, d=1, m=3, t1=4.0)
    zeros = jax.tree.map(jnp.zeros_like, problem.start)
    along = (zeros, jnp.zeros(5), jnp.asarray(1.0))
    found = derivative(problem.start, jnp.asarray(problem.x), jnp.asarray(problem.y), jnp.asarray(4.0), jnp.asarray(1e-8), along)
    assert len(problem.truth[1]) == 2
    np.testing.assert_allclose(found, measured(problem, EPS, along)[0], rtol=0, atol=1e-9)
