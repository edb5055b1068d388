"""Kinks where not every weight moves alike: frozen letters, time scales, weight decay, a centred model."""

import jax
import jax.numpy as jnp
import numpy as np
import piecewise
import pytest
from kinked import drawn, error, table

import jaxdyn as jd

pytestmark = pytest.mark.ci_slow

RTOL = 1e-8


def solved(flow, start, t1):
    return jd.solve(flow, start, t1=t1, rtol=RTOL, record=2)


def judged(problem, net):
    """What the judge says of the problem's start under another network."""
    W, c, events = piecewise.solve(net, np.concatenate([problem.a, problem.b[:, None]], 1), problem.c, problem.t1)
    return np.concatenate([W, c[:, None]], 1), events


def flow_of(problem, **settings):
    return jd.flows.GradientFlow(problem.flow.model, problem.flow.loss_function, problem.flow.data, **settings)


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_frozen_biases(seed):
    """The velocity of a weight jumps, and a slide holds still, by the free weight alone."""
    problem = drawn(seed, n=5, d=1, m=3, t1=4.0)
    net = problem.network
    net.mobility = np.array([1.0, 0.0])
    truth, events = judged(problem, net)
    end = solved(flow_of(problem, frozen=("b",)), problem.start, problem.t1)
    assert events and error(end.params, truth) <= 30 * RTOL
    assert int(end.certificate.num_kinks) == len(events)
    np.testing.assert_array_equal(end.params["b"], problem.b)


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.ci_slow), 1, 3, 4])
def test_time_scales_and_weight_decay(seed):
    """Both enter what a slide is held with."""
    problem = drawn(seed, n=5, d=1, m=3, t1=4.0)
    net = problem.network
    net.mobility, net.outer_mobility, net.decay = np.array([1.0, 0.3]), 2.0, 0.05
    truth, events = judged(problem, net)
    flow = flow_of(problem, time_scales={"a": 1.0, "b": 0.3, "c": 2.0}, weight_decay=0.05)
    end = solved(flow, problem.start, problem.t1)
    assert events and error(end.params, truth) <= 100 * RTOL
    assert int(end.certificate.num_kinks) == len(events)


def test_neurons_that_do_not_move_have_no_kinks():
    """With time scales of zero for a and b, c follows a linear equation."""
    problem = drawn(0, n=5, d=1, m=3, t1=4.0)
    end = solved(flow_of(problem, time_scales={"a": 0.0, "b": 0.0, "c": 1.0}, weight_decay=0.0), problem.start, problem.t1)
    net = problem.network
    features = net.scale * np.maximum(net.X @ table(problem.start)[:, :-1].T, 0)
    values, vectors = np.linalg.eigh(features.T @ features)
    pull, start = vectors.T @ (features.T @ net.y), vectors.T @ problem.c
    decays = np.exp(-values * problem.t1)
    grown = np.where(values > 1e-12, (1 - decays) / np.where(values > 1e-12, values, 1.0), problem.t1)
    np.testing.assert_allclose(end.params["c"], vectors @ (decays * start + grown * pull), rtol=0, atol=30 * RTOL)
    assert int(end.certificate.num_kinks) == 0 and end.method.endswith("kinks located")
    np.testing.assert_array_equal(end.params["a"], problem.a)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_centred_model(seed):
    """Subtracting the start is adding it to the targets."""
    problem = drawn(seed, n=5, d=1, m=3, t1=4.0)
    net = problem.network
    net.y = net.y + net.scale * np.maximum(net.X @ table(problem.start)[:, :-1].T, 0) @ problem.c
    truth, events = judged(problem, net)
    flow = jd.flows.GradientFlow(jd.models.Centred(problem.flow.model), jd.losses.square, problem.flow.data)
    end = solved(flow, {"now": problem.start, "start": problem.start}, problem.t1)
    assert events and error(end.params["now"], truth) <= 30 * RTOL
    assert int(end.certificate.num_kinks) == len(events)
    jax.tree.map(np.testing.assert_array_equal, end.params["start"], jax.tree.map(jnp.asarray, problem.start))
