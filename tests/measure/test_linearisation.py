"""The distance to the linearisation: against two integrations, and the law of the output multiplier."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.measure import function_distance_to_linearisation, parameter_distance_to_linearisation

DATA = jd.data.points(np.linspace(-1, 1, 4), np.array([0.5, -0.2, 0.1, 0.7]))
MODEL = jd.models.TwoLayer(width=8, activation="tanh")
WATCH = {"function": function_distance_to_linearisation, "parameters": parameter_distance_to_linearisation}


@pytest.mark.ci_slow
def test_two_integrations():
    flow = jd.flows.GradientFlow(MODEL, jd.losses.mean_square, DATA, frozen=("b",), time_scales={"a": 1.0, "b": 1.0, "c": 0.5})
    start = flow.init(jr.key(1))
    settings = dict(t1=6.0, rtol=1e-10, record=[0.0, 0.5, 6.0])
    linearised = jd.flows.LinearisedFlow(flow, start)
    sol, line = jd.solve(flow, start, observe=WATCH, **settings), jd.solve(linearised, start, **settings)
    f, g = jax.vmap(flow.outputs)(sol.states), jax.vmap(linearised.outputs)(line.states)
    expected = np.linalg.norm(f - g, axis=1)[1:] / np.linalg.norm(g - g[:1], axis=1)[1:]
    assert np.all(expected > 1e-3)
    np.testing.assert_allclose(sol.observed["function"][1:], expected, rtol=1e-6)
    theta, phi = (np.concatenate([run.states["a"][..., 0], run.states["c"]], axis=1) for run in (sol, line))
    expected = np.linalg.norm(theta - phi, axis=1)[1:] / np.linalg.norm(phi - phi[:1], axis=1)[1:]
    np.testing.assert_allclose(sol.observed["parameters"][1:], expected, rtol=1e-6)
    assert max(abs(distances[0]) for distances in sol.observed.values()) < 1e-12


@pytest.mark.ci_slow
def test_off_the_samples():
    """At points of one's own, against the function that the linearised solution learns there."""
    flow, x = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA), jnp.linspace(-1, 1, 7)[:, None]
    start = flow.init(jr.key(1))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.sin(leaf), start)
    first, linearised = MODEL.apply(start, x), jd.flows.LinearisedSolution(flow, start).outputs_at(x, 3.0)
    expected = jnp.linalg.norm(MODEL.apply(params, x) - linearised) / jnp.linalg.norm(linearised - first)
    for points in (x, x[:, 0]):
        found = function_distance_to_linearisation(flow, jnp.asarray(3.0), params, start, x=points)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_linearised_flow_is_its_own_linearisation():
    flow = jd.flows.LinearisedFlow(jd.flows.GradientFlow(MODEL, jd.losses.square, DATA))
    sol = jd.solve(flow, flow.init(jr.key(1)), t1=3.0, rtol=1e-10, record=[1.0, 3.0], observe=WATCH)
    for distances in sol.observed.values():
        np.testing.assert_allclose(distances, 0.0, atol=1e-8)


@pytest.mark.ci_slow
def test_distances_fall_like_the_inverse_of_the_output_multiplier():
    """Chizat, Oyallon & Bach 2019, theorem 2.2: the outputs are O(1/alpha) away, the parameters O(1/alpha^2) on a path of O(1/alpha)."""
    alphas = 2.0 ** np.arange(4, 10)

    def at(alpha):
        model = jd.models.Centred(MODEL, output_multiplier=alpha)
        flow = jd.flows.GradientFlow(model, jd.losses.square, DATA, time_scales=alpha**-2)
        sol = jd.solve(flow, flow.init(jr.key(2)), t1=5.0, rtol=1e-10, record=[5.0], observe=WATCH)
        return sol.observed["function"][0], sol.observed["parameters"][0]

    for distances in jax.jit(jax.vmap(at))(jnp.asarray(alphas)):
        slope, _ = np.polyfit(np.log(alphas), np.log(distances), 1)
        assert abs(slope + 1) < 0.05, slope


def test_flows_without_a_linearisation_are_refused():
    flow = jd.flows.GradientFlow(MODEL, jd.losses.logistic, jd.data.points(DATA.x, jnp.sign(DATA.y)))
    start = flow.init(jr.key(0))
    for observable in WATCH.values():
        with pytest.raises(ValueError, match="only square losses have a closed form"):
            observable(flow, jnp.asarray(1.0), start, start)
