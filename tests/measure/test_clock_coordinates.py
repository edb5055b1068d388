"""Time and norm of a direction clock, against the flow's own and the plain network's."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

MODEL = jd.models.TwoLayer(2, dim=2, bias=False, activation="identity", scaling="one")
INNER = jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points([[1.0, 0.0], [0.0, -1.0]], [1.0, -1.0]))
FLOW = jd.flows.DirectionClock(INNER, order=2)


def test_time_and_norm_are_the_flow_s():
    watched = {"log_time": measure.log_time, "log_norm": measure.log_norm}
    sol = jd.solve(FLOW, FLOW.init(jr.key(0)), 1.0, record=3, observe=watched, rtol=1e-8)
    np.testing.assert_allclose(sol.observed["log_time"][-1], FLOW.log_time(sol.params), rtol=1e-12)
    assert sol.observed["log_time"][0] == -jnp.inf
    t = float(jnp.exp(sol.observed["log_time"][-1]))
    plain = jd.solve(INNER, MODEL.init(jr.key(0)), t, record=2, observe={"norm": measure.parameter_norm}, rtol=1e-8)
    np.testing.assert_allclose(np.exp(sol.observed["log_norm"][jnp.array([0, -1])]), plain.observed["norm"], rtol=1e-6)


@pytest.mark.parametrize("observable", [measure.log_time, measure.log_norm])
def test_other_flows_have_neither(observable):
    with pytest.raises(ValueError, match=r"GradientFlow.*DirectionClock"):
        observable(INNER, 0.0, MODEL.init(jr.key(0)))
