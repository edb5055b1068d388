"""Knots by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.measure import knot_movement, knots, weight_near_samples

DATA = jd.data.points(np.array([-1.0, 0.0, 1.0]), np.zeros(3))
FLOW = jd.flows.GradientFlow(lambda params, x: x[:, 0], jd.losses.square, DATA)  # without a start, whose shapes would be compared


def made(knots_at, a=None, c=None):
    knots_at = jnp.asarray(knots_at)
    a = jnp.ones_like(knots_at) if a is None else jnp.asarray(a)
    return {"a": a[:, None], "b": a * knots_at, "c": jnp.ones_like(knots_at) if c is None else jnp.asarray(c)}


def test_knots_of_handmade_params():
    params = made([-2.0, -0.5, 0.01, 0.25, 3.0], a=[1.0, -2.0, 0.5, 4.0, -1.0])
    np.testing.assert_allclose(knots(FLOW, 0.0, params), [-2.0, -0.5, 0.01, 0.25, 3.0], rtol=1e-15)
    np.testing.assert_allclose(knots(FLOW, 0.0, {"now": params, "start": made([0.0])}), [-2.0, -0.5, 0.01, 0.25, 3.0], rtol=1e-15)
    np.testing.assert_allclose(knots(FLOW, 0.0, jd.flows.reduce_univariate(params)), [-2.0, -0.5, 0.01, 0.25, 3.0], rtol=1e-12)


def test_neurons_without_slope_have_signed_infinite_knots():
    params = {"a": jnp.array([[0.0], [0.0], [-0.0], [0.0]]), "b": jnp.array([1.0, -2.0, 1.0, 0.0]), "c": jnp.ones(4)}
    np.testing.assert_array_equal(knots(FLOW, 0.0, params), [np.inf, -np.inf, -np.inf, np.nan])
    near = weight_near_samples(FLOW, 0.0, params | {"b": jnp.array([1.0, -2.0, 1.0, 0.0])})
    assert near == 0.0


def test_median_movement_of_knots_that_start_within_the_samples():
    start = made([-5.0, -1.0, 0.2, 0.5, 1.0])  # the first is outside, both ends count
    params = made([9.0, -1.1, 0.5, 0.9, 3.0])
    np.testing.assert_allclose(knot_movement(FLOW, 0.0, params, start), np.median([0.1, 0.3, 0.4, 2.0]), rtol=1e-13)
    reduced = [jd.flows.reduce_univariate(p) for p in (params, start)]
    np.testing.assert_allclose(knot_movement(FLOW, 0.0, *reduced), 0.35, rtol=1e-12)
    pairs = [{"now": p, "start": start} for p in (params, start)]
    np.testing.assert_allclose(knot_movement(FLOW, 0.0, *pairs), 0.35, rtol=1e-13)


def test_movement_is_nan_where_there_is_none_to_measure():
    outside = made([-5.0, 2.0, 2.0, 3.0, 4.0])
    assert np.isnan(knot_movement(FLOW, 0.0, outside, outside))
    start = made([-5.0, 0.0, 0.1, 0.2, 0.3])
    one_lost = start | {"b": start["b"].at[1].set(jnp.nan)}
    assert np.isnan(knot_movement(FLOW, 0.0, one_lost, start))
    one_dead = start | {"a": start["a"].at[1].set(0.0), "b": start["b"].at[1].set(0.0)}
    assert np.isfinite(knot_movement(FLOW, 0.0, one_dead, start))
    outsider_lost = start | {"b": start["b"].at[0].set(jnp.nan)}
    assert knot_movement(FLOW, 0.0, outsider_lost, start) == 0


def test_share_of_weight_near_samples():
    params = made([-1.01, 0.5, 0.03, 1.0, 7.0], a=[1.0, -2.0, 3.0, 0.5, 1.0], c=[2.0, 1.0, -1.0, 4.0, -0.5])
    a, b, c = (np.asarray(params[k]) for k in "abc")
    weight = np.abs(c) * np.sqrt(a[:, 0] ** 2 + b**2)
    for radius, near in ((0.02, [0, 3]), (0.031, [0, 2, 3]), (0.6, [0, 1, 2, 3])):
        expected = weight[near].sum() / weight.sum()
        np.testing.assert_allclose(weight_near_samples(FLOW, 0.0, params, radius=radius), expected, rtol=1e-13)
        np.testing.assert_allclose(weight_near_samples(FLOW, 0.0, jd.flows.reduce_univariate(params), radius=radius), expected, rtol=1e-13)
    np.testing.assert_allclose(weight_near_samples(FLOW, 0.0, params), weight[[0, 3]].sum() / weight.sum(), rtol=1e-13)
    assert np.isnan(weight_near_samples(FLOW, 0.0, jax.tree.map(jnp.zeros_like, params)))


def test_misuse():
    bare = jd.flows.GradientFlow(lambda params, x: x[:, 0], jd.losses.square, DATA)  # without a start, whose shapes would be compared first
    for params in ({"a": jnp.ones((4, 2)), "b": jnp.ones(4), "c": jnp.ones(4)}, {"a": jnp.ones((4, 1)), "c": jnp.ones(4)}, jnp.ones(3)):
        for observable in (knots, weight_near_samples):
            with pytest.raises(ValueError, match="univariate two-layer network with bias"):
                observable(bare, 0.0, params)
    flow = jd.flows.GradientFlow(lambda params, x: x[:, 0], jd.losses.square, jd.data.points(np.eye(2), np.ones(2)))
    with pytest.raises(ValueError, match="inputs of dimension 1"):
        weight_near_samples(flow, 0.0, made([1.0]))
    with pytest.raises(ValueError, match="inputs of dimension 1"):
        knot_movement(flow, 0.0, made([1.0]), made([1.0]))
