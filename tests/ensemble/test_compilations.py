"""One compilation a shape: the user's loss is traced as often for ten seeds as for three hundred, and never again."""

import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_flows import ONE, Decay

import jaxdyn as jd

pytestmark = pytest.mark.ci_slow

TRACES = []


class Counting(Decay):
    def loss(self, y):
        TRACES.append("loss")
        return 0.5 * jnp.sum(self.rate * y**2)


def traces(flow, seeds, over=None, **how):
    before = len(TRACES)
    settings = {"t1": 3.0, "record": 4, "width": 4, "devices": ONE, "progress": False} | how
    ds = jd.sweep(flow, seeds, over, **settings)
    assert np.isfinite(ds["params"]).all()
    return len(TRACES) - before


def test_as_many_traces_for_ten_seeds_as_for_three_hundred():
    """A few for ten (checks of shapes, the guess of the cost, the loop), and none more for any number of other seeds or values."""
    flow = Counting(jnp.asarray(1.0), jnp.zeros(2))
    assert 0 < traces(flow, 10) <= 6
    assert traces(flow, 300) == 0
    assert traces(flow, [11, 400, 7, 8, 9]) == 0
    assert traces(flow, 10, rtol=1e-4, atol=1e-5, t1=2.0, max_steps=500, norm_bound=1e6) == 0
    assert traces(Counting(jnp.asarray(3.0), jnp.ones(2)), 10) == 0


def test_a_grid_is_one_compilation_whatever_its_values_and_cells():
    flow = Counting(jnp.asarray(1.0), jnp.zeros(2))
    first = traces(flow, 3, {"rate": [1.0, 2.0], "rtol": [1e-3, 1e-4]})
    assert first > 0
    assert traces(flow, 3, {"rate": [0.5, 3.0], "rtol": [1e-5, 1e-6]}) == 0
    assert traces(flow, 9, {"rate": [0.5, 3.0, 4.0], "rtol": [1e-5, 1e-6]}) == 0


def test_a_new_observable_does_not_compile_the_loop_again():
    flow = Counting(jnp.asarray(1.0), jnp.zeros(2))
    traces(flow, 10)
    seen = []

    def norm(flow, t, params):
        seen.append(1)
        return jnp.sum(params**2)

    assert traces(flow, 10, observe={"norm": norm}) == 0
    assert 0 < len(seen) <= 4
