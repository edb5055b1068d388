"""Losses, outputs, norms and balance against numpy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

gradient_norm = eqx.filter_jit(measure.gradient_norm)
DATA = jd.data.points(np.array([[0.3, -1.0], [1.2, 0.4], [-0.7, 0.9]]), np.array([1.0, -1.0, 0.5]))
TEST = jd.data.points(np.array([[0.5, 0.5], [-2.0, 1.0]]), np.array([3.0, -1.0]))
MODEL = jd.models.TwoLayer(4, dim=2)
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, weight_decay=0.3)
PLAIN = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA)


def drawn(seed):
    rng = np.random.default_rng(seed)
    return {"a": jnp.asarray(rng.normal(size=(4, 2))), "b": jnp.asarray(rng.normal(size=4)), "c": jnp.asarray(rng.normal(size=4))}


def univariate(width):
    rng = np.random.default_rng(width)
    return {
        "a": jnp.asarray(rng.normal(size=(width, 1))),
        "b": jnp.asarray(rng.normal(size=width)),
        "c": jnp.asarray(rng.normal(size=width)),
    }


def network(params, x):
    a, b, c = (np.asarray(params[k]) for k in "abc")
    return np.maximum(np.asarray(x) @ a.T - b, 0) @ c / 2


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def test_loss_and_outputs():
    params = drawn(0)
    f = network(params, DATA.x)
    np.testing.assert_allclose(measure.outputs(FLOW, 0.0, params), f, rtol=1e-13)
    expected = 0.5 * np.sum((f - np.asarray(DATA.y)) ** 2) + 0.15 * np.sum(flat(params) ** 2)
    np.testing.assert_allclose(measure.loss(FLOW, 0.0, params), expected, rtol=1e-13)


def test_gradient_norm_is_that_of_the_velocity():
    params = drawn(0)
    gradient = jax.jit(jax.grad(lambda p: FLOW.loss(p)))(params)
    np.testing.assert_allclose(gradient_norm(FLOW, 0.0, params), np.linalg.norm(flat(gradient)), rtol=1e-13)
    scaled = jd.flows.GradientFlow(
        MODEL, jd.losses.square, DATA, weight_decay=0.3, frozen=("a",), time_scales={"a": 1.0, "b": 2.0, "c": 3.0}
    )
    moved = {"b": 2.0 * (gradient["b"]), "c": 3.0 * gradient["c"]}
    np.testing.assert_allclose(gradient_norm(scaled, 0.0, params), np.linalg.norm(flat(moved)), rtol=1e-13)


@pytest.mark.parametrize("loss", [jd.losses.square, jd.losses.mean_square])
def test_held_out_loss_has_no_penalties_and_the_convention_of_the_flow(loss):
    flow = jd.flows.GradientFlow(MODEL, loss, DATA, weight_decay=0.3)
    params = drawn(1)
    squares = 0.5 * (network(params, TEST.x) - np.asarray(TEST.y)) ** 2
    expected = squares.mean() if loss is jd.losses.mean_square else squares.sum()
    np.testing.assert_allclose(measure.held_out_loss(TEST)(flow, 0.0, params), expected, rtol=1e-13)


def test_function_on_a_grid():
    params = drawn(1)
    grid = np.array([[0.0, 1.0], [2.0, -1.0], [0.3, 0.3], [1.0, 1.0]])
    np.testing.assert_allclose(measure.function_on(grid)(FLOW, 0.0, params), network(params, grid), rtol=1e-13)
    linear = jd.flows.LinearisedFlow(PLAIN)
    doubled = {"now": params, "start": params}
    np.testing.assert_allclose(measure.function_on(grid)(linear, 0.0, doubled), network(params, grid), rtol=1e-13)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    plain = jd.flows.GradientFlow(lambda p, x: (x @ p["a"].T).sum(1), jd.losses.square, DATA)
    assert measure.function_on(grid)(plain, 0.0, single).dtype == jnp.float32


def test_function_of_reduced_coordinates():
    model = jd.models.TwoLayer(6, scaling="linear", output_multiplier=3.0)
    data, grid = jd.data.square_wave(5, periods=1), np.linspace(-2, 2, 9)
    full, reduced = (kind(model, jd.losses.square, data) for kind in (jd.flows.GradientFlow, jd.flows.ReducedFlow))
    params = univariate(6)
    coordinates = jd.flows.reduce_univariate(params)
    a, b, c = (np.asarray(params[k]) for k in "abc")
    expected = 3 / 6 * np.maximum(grid[:, None] * a[:, 0] - b, 0) @ c
    np.testing.assert_allclose(measure.function_on(grid)(full, 0.0, params), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(measure.function_on(grid)(reduced, 0.0, coordinates), expected, rtol=1e-12, atol=1e-14)


def test_observables_with_samples_share_a_program():
    traces = []

    @jax.jit
    def run(observable, params):
        traces.append(1)
        return observable(FLOW, 0.0, params)

    params = drawn(1)
    first = run(measure.held_out_loss(TEST), params)
    other = jd.data.points(2 * np.asarray(TEST.x), np.asarray(TEST.y), TEST.name)
    second = run(measure.held_out_loss(other), params)
    assert len(traces) == 1 and first != second
    assert measure.held_out_loss(TEST) == measure.held_out_loss(TEST)


def test_parameter_norm_and_distance_count_what_trains():
    start, params = drawn(0), drawn(1)
    np.testing.assert_allclose(measure.parameter_norm(FLOW, 0.0, params), np.linalg.norm(flat(params)), rtol=1e-13)
    expected = np.linalg.norm(flat(params) - flat(start)) / np.linalg.norm(flat(start))
    np.testing.assert_allclose(measure.parameter_distance(FLOW, 0.0, params, start), expected, rtol=1e-13)
    frozen = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, frozen=("a", "b"))
    c, c0 = np.asarray(params["c"]), np.asarray(start["c"])
    np.testing.assert_allclose(measure.parameter_norm(frozen, 0.0, params), np.linalg.norm(c), rtol=1e-13)
    np.testing.assert_allclose(
        measure.parameter_distance(frozen, 0.0, params, start), np.linalg.norm(c - c0) / np.linalg.norm(c0), rtol=1e-13
    )
    linear = jd.flows.LinearisedFlow(PLAIN)
    pair, begin = {"now": params, "start": start}, {"now": start, "start": start}
    np.testing.assert_allclose(measure.parameter_distance(linear, 0.0, pair, begin), expected, rtol=1e-13)


def test_parameter_distance_from_zero_is_absolute():
    params = drawn(1)
    zero = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_allclose(measure.parameter_distance(FLOW, 0.0, params, zero), np.linalg.norm(flat(params)), rtol=1e-13)
    assert measure.parameter_distance(FLOW, 0.0, zero, zero) == 0


def test_balance():
    params, start = drawn(0), drawn(1)

    def balance(p):
        a, b, c = (np.asarray(p[k]) for k in "abc")
        return c**2 - (a**2).sum(1) - b**2

    np.testing.assert_allclose(measure.conserved(PLAIN, 0.0, params), balance(params), rtol=1e-13)
    drift = np.abs(balance(params) - balance(start)).max()
    np.testing.assert_allclose(measure.conserved_drift(PLAIN, 0.0, params, start), drift, rtol=1e-13)
    np.testing.assert_allclose(measure.balancedness(FLOW, 0.0, params), balance(params), rtol=1e-13)
    model = jd.models.TwoLayer(6)
    reduced = jd.flows.ReducedFlow(model, jd.losses.square, jd.data.sinusoid(4))
    full = univariate(6)
    np.testing.assert_allclose(measure.balancedness(reduced, 0.0, jd.flows.reduce_univariate(full)), balance(full), rtol=1e-12)


def test_weight_decay_decays_the_balance_at_twice_its_rate():
    params = drawn(0)
    balance, rate = jax.jit(lambda p: jax.jvp(lambda p: measure.balancedness(FLOW, 0.0, p), (p,), (FLOW.vector_field(0.0, p),)))(params)
    np.testing.assert_allclose(rate, -2 * 0.3 * balance, rtol=1e-12)


def test_misuse():
    params = drawn(0)
    with pytest.raises(ValueError, match="observe balancedness instead"):
        measure.conserved(FLOW, 0.0, params)
    with pytest.raises(ValueError, match="declares no balance"):
        measure.balancedness(jd.flows.GradientFlow(lambda p, x: x @ p, jd.losses.square, DATA), 0.0, jnp.ones(2))
    with pytest.raises(ValueError, match="offers no outputs"):
        measure.outputs(object(), 0.0, params)
    with pytest.raises(ValueError, match="fields x and y"):
        measure.held_out_loss(np.ones(3))
    with pytest.raises(ValueError, match="has no model"):
        measure.function_on(np.ones(3))(object(), 0.0, params)
    with pytest.raises(ValueError, match="grid has shape"):
        measure.function_on(np.ones((2, 2, 2)))
    bad = jd.flows.GradientFlow(lambda p, x: x * p["a"][0, 0], jd.losses.square, DATA)
    with pytest.raises(ValueError, match="one number a row"):
        measure.function_on(np.ones((4, 2)))(bad, 0.0, params)
