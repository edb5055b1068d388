"""The reduced flow against the chain rule and against the full flow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, ReducedFlow, expand_reduced, reduce_univariate

DATA = jd.data.points(np.linspace(-1, 1, 6), [1.0, -1.0, 0.5, 0.2, -0.3, 1.0])


def network(delta, width=8, **settings):
    return jd.models.TwoLayer(width=width, balanced=True, delta=delta, output_multiplier=1.5, **settings)


def test_coordinates_by_hand():
    params = {"a": jnp.asarray([[3.0], [0.0], [-1.0]]), "b": jnp.asarray([4.0, 2.0, 0.0]), "c": jnp.asarray([2.0, -1.0, 0.0])}
    reduced = reduce_univariate(params)
    np.testing.assert_allclose(reduced["r"], [10.0, -2.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(reduced["theta"], [np.arctan(4 / 3), np.pi / 2, np.pi], rtol=1e-15)
    np.testing.assert_allclose(reduced["delta"], [-21.0, -3.0, -1.0], rtol=1e-15)


@pytest.mark.parametrize("delta", [-1e6, -1.0, 0.0, 1e-3, 1e6])
def test_coordinates_and_back(delta):
    theta = jnp.asarray([0.1, -2.0, 3.0])
    wanted = {"r": jnp.asarray([1e-5, -2.0, 30.0]), "theta": theta, "delta": jnp.full(3, delta)}
    params = expand_reduced(wanted)
    for name in ("r", "theta"):
        np.testing.assert_allclose(reduce_univariate(params)[name], wanted[name], rtol=1e-14)
    # the difference c^2 - |w|^2 loses digits where both are much larger
    np.testing.assert_allclose(reduce_univariate(params)["delta"], delta, rtol=1e-13, atol=1e-13 * 30)


@eqx.filter_jit
def chain_rule(full, reduced, params):
    state, expected = jax.jvp(reduce_univariate, (params,), (full.vector_field(0.0, params),))
    return state, expected, reduced.vector_field(0.0, state)


@pytest.mark.parametrize("loss", ["square", "mean_square", "logistic"])
@pytest.mark.parametrize("delta", [-2.0, -1e-9, 0.0, 1e-9, 2.0])
@pytest.mark.parametrize("scaling", ["one", "sqrt", "linear"])
def test_field_is_the_chain_rule_of_the_full_field(delta, loss, scaling):
    model = network(delta, scaling=scaling)
    data = jd.data.points(DATA.x, jnp.sign(DATA.y)) if loss == "logistic" else DATA
    full, reduced = (kind(model, jd.losses.loss(loss), data) for kind in (GradientFlow, ReducedFlow))
    params = model.init(jr.key(1))
    state, expected, velocity = chain_rule(full, reduced, params)
    np.testing.assert_allclose(reduced.outputs(state), full.outputs(params), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(reduced.loss(state), full.loss(params), rtol=1e-12)
    np.testing.assert_allclose(velocity["r"], expected["r"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(velocity["theta"], expected["theta"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(expected["delta"], 0.0, atol=1e-12)
    np.testing.assert_array_equal(velocity["delta"], 0.0)


@pytest.mark.parametrize("delta", [-1.0, 0.0, 1.0])
def test_neurons_without_weight(delta):
    """With c = 0 (delta < 0) the knot rests and r moves; with w = 0 (delta >= 0) nothing does, as for relu'(0) = 0."""
    model = network(0.0, width=2)
    full, reduced = (kind(model, jd.losses.square, DATA) for kind in (GradientFlow, ReducedFlow))
    inner, outer = (1.0, 0.0) if delta < 0 else (0.0, delta**0.5)
    params = {"a": jnp.asarray([[0.6 * inner], [0.3]]), "b": jnp.asarray([-0.8 * inner, 0.1]), "c": jnp.asarray([outer, 0.7])}
    state = reduce_univariate(params)
    velocity = reduced.vector_field(0.0, state)
    moved = full.vector_field(0.0, params)
    expected = float(moved["c"][0]) * inner  # d(c |w|) with c = 0, or with w = 0 and at rest
    np.testing.assert_allclose(velocity["r"][0], expected, rtol=1e-12, atol=0)
    np.testing.assert_allclose(velocity["theta"][0], 0.0, atol=0)
    assert (abs(expected) > 0.1) == (delta < 0)
    _, tangent = jax.jvp(lambda y: reduced.vector_field(0.0, y), (state,), (jax.tree.map(jnp.ones_like, state),))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tangent))


def outputs(flow, t, y):
    return flow.outputs(y)


@pytest.mark.ci_slow
@pytest.mark.parametrize("delta", [-1.0, 0.0, 0.5])
def test_same_function_at_every_time(delta):
    """Until the first knot meets a sample the two fields are smooth, and the two solutions agree to their tolerance."""
    model = network(delta, init_scale=1.0)
    full, reduced = (kind(model, jd.losses.square, DATA) for kind in (GradientFlow, ReducedFlow))
    params = model.init(jr.key(6))
    settings = {"t1": 0.1, "rtol": 1e-11, "record": 8, "observe": {"f": outputs}}
    one, two = jd.solve(full, params, **settings), jd.solve(reduced, reduce_univariate(params), **settings)
    gates = np.asarray(jax.vmap(full.preactivations)(one.states)) > 0
    assert (gates == gates[0]).all(), "a knot met a sample: take a shorter stretch"
    assert np.abs(one.observed["f"][-1] - one.observed["f"][0]).max() > 0.05
    np.testing.assert_allclose(two.observed["f"], one.observed["f"], rtol=0, atol=1e-9)


def test_init_is_the_models_start_in_reduced_coordinates():
    model = network(-1.0)
    got, expected = ReducedFlow(model, jd.losses.square, DATA).init(jr.key(5)), reduce_univariate(model.init(jr.key(5)))
    for name in ("r", "theta", "delta"):
        np.testing.assert_array_equal(got[name], expected[name])
    np.testing.assert_allclose(got["delta"], -1.0, rtol=1e-12)


def test_float32_stays_float32():
    flow = ReducedFlow(network(-1.0), jd.losses.square, DATA)
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), flow.init(jr.key(0)))
    velocity = flow.vector_field(0.0, state)
    assert {leaf.dtype for leaf in jax.tree.leaves(velocity)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("model", "data", "sentence"),
    [
        (jd.models.TwoLayer(4, 2), jd.data.points(np.ones((3, 2)), np.ones(3)), "inputs of dimension 1"),
        (jd.models.TwoLayer(4, bias=False), DATA, "bias=True"),
        (jd.models.TwoLayer(4, activation="tanh"), DATA, "activation='relu'"),
        (jd.models.TwoLayer(4, trains="bc"), DATA, "trains="),
        (jd.models.MLP((4,), bias=True), DATA, "TwoLayer"),
    ],
)
def test_networks_without_reduced_coordinates_are_refused(model, data, sentence):
    with pytest.raises(ValueError, match=sentence):
        ReducedFlow(model, jd.losses.square, data)
