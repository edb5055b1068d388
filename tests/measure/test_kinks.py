"""Who slides, against flows solved by hand and the solver's own state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd


@pytest.mark.slow
def test_a_neuron_that_slides_for_ever():
    """On the first sample's surface; its gate is (y_2 - p) / |y_1| with p = c^2 = w_2^2 (p' = 2 p (y_2 - p))."""
    data = jd.data.points(np.array([(1.0, 0.0), (1.0, 1.0)]), np.array([-2.0, 1.0]))
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(1, 2, bias=False, scaling="one"), jd.losses.square, data)
    start = {"a": jnp.array([[0.1, 0.3]]), "c": jnp.array([0.3])}
    watch = {"slides": jd.measure.slides, "weight": jd.measure.sliding_weight, "changes": jd.measure.pattern_changes}
    sol = jd.solve(flow, start, t1=3.0, rtol=1e-9, record=[0.0, 3.0], observe=watch)
    p = float(sol.params["c"][0]) ** 2
    gates = np.asarray(jd.measure.sliding_gates(flow, sol.t, sol.params))
    np.testing.assert_allclose(gates[0, 0], (1 - float(sol.params["a"][0, 1]) * float(sol.params["c"][0])) / 2, atol=1e-7)
    assert 0 < p < 1 and np.isnan(gates[1, 0])
    state = sol.state.kinks
    np.testing.assert_allclose(gates[0, 0], float(state.multiplier[0, 0] / state.jump[0, 0]), rtol=1e-9)
    np.testing.assert_array_equal(np.asarray(sol.observed["slides"])[:, 0], [0, 1])
    np.testing.assert_array_equal(sol.observed["weight"], [0.0, 1.0])
    np.testing.assert_array_equal(np.asarray(sol.observed["changes"])[:, 0], [0, 1])
    assert int(state.passed[0]) == int(sol.certificate.num_kinks) == int(sol.certificate.num_slides) == 1


def test_a_zero_that_does_not_attract_is_no_slide():
    """Both sides lead away from the surface."""
    data = jd.data.points(np.array([(1.0, 0.0), (1.0, 1.0)]), np.array([2.0, 1.0]))
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(1, 2, bias=False, scaling="one"), jd.losses.square, data)
    params = {"a": jnp.array([[0.0, 0.3]]), "c": jnp.array([0.3])}
    assert np.all(np.isnan(jd.measure.sliding_gates(flow, 0.0, params)))
    assert not np.any(jd.measure.slides(flow, 0.0, params)) and jd.measure.sliding_weight(flow, 0.0, params) == 0


@pytest.mark.parametrize("model", [jd.models.TwoLayer(3, activation="tanh"), jd.models.MLP((3, 3))])
def test_other_networks_are_refused(model):
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.sinusoid(n=4))
    with pytest.raises(ValueError, match="one hidden layer"):
        jd.measure.slides(flow, 0.0, flow.init(jax.random.key(0)))
