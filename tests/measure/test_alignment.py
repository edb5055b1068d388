"""Cones of neurons against their definitions, and the times of recorded flags."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

X = np.array([[1.0, 0.2], [0.8, 0.5], [-1.0, -0.1], [-0.5, -0.9]])
Y = np.array([1.0, 1.0, -1.0, -1.0])


def flow(width, bias=False, x=X, y=Y):
    return jd.flows.GradientFlow(jd.models.TwoLayer(width, dim=2, bias=bias), jd.losses.exponential, jd.data.points(x, y))


def test_sets_by_hand():
    a = np.array([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0], [1.0, -1.9], [-1.0, 3.0]])
    params = {"a": jnp.asarray(a), "c": jnp.array([1.0, -1.0, 1.0, 1.0, -1.0])}
    # the fourth: .62, -.15, -.81, 1.21; the fifth: -.4, .7, .7, -2.2
    expected = [1, -1, 0, 2, 2]
    for scale in (1e-200, 1.0, 1e200):
        found = measure.alignment_sets(flow(5), 0.0, {"a": scale * params["a"], "c": params["c"]})
        np.testing.assert_array_equal(found, expected)
    assert not measure.aligned(flow(5), 0.0, params)
    for c, expected in (([1, -1, 1], True), ([1, -1, -1], True), ([1, 1, 1], False), ([-1, -1, 1], False), ([0, 0, 1], True)):
        first = {"a": params["a"][:3], "c": jnp.asarray(c, float)}
        assert jax.jit(lambda p: measure.aligned(flow(3), 0.0, p))(first) == expected


def test_sets_by_definition_with_biases():
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(400, 2)), "b": 0.5 * rng.normal(size=400), "c": rng.normal(size=400)}
    found = jax.jit(lambda p: measure.alignment_sets(flow(400, bias=True), 0.0, p))(jax.tree.map(jnp.asarray, params))
    seen = set()
    for code, a, b in zip(found, params["a"], params["b"], strict=True):
        open_ = [float(a @ x - b) > 0 for x in X]
        expected = {(True, True, False, False): 1, (False, False, True, True): -1, (False,) * 4: 0}.get(tuple(open_), 2)
        assert code == expected
        seen.add(expected)
    assert seen == {-1, 0, 1, 2}


def test_a_tolerance_for_neurons_on_a_boundary():
    a = np.array([-X[2, 1], X[2, 0]]) * -1  # orthogonal to the third sample, positive on the first two or none
    a = a if X[1] @ a > 0 else -a
    params = {"a": jnp.asarray(a[None] + 1e-9 * X[2:3]), "c": jnp.ones(1)}
    assert measure.alignment_sets(flow(1), 0.0, params)[0] == 2
    exact, loose = (X @ params["a"][0] > zero for zero in (0.0, 1e-6))
    assert exact[2] and not loose[2]
    y = np.where(loose, 1.0, -1.0)
    assert measure.alignment_sets(flow(1, y=y), 0.0, params, zero=1e-6)[0] == 1
    assert measure.alignment_sets(flow(1, y=y), 0.0, params)[0] == 2


def test_misuse():
    params = {"a": jnp.ones((1, 2)), "c": jnp.ones(1)}
    with pytest.raises(ValueError, match="two classes"):
        measure.alignment_sets(flow(1, y=2 * Y), 0.0, params)
    with pytest.raises(ValueError, match="all zeros"):
        measure.aligned(flow(1, x=X * (Y > 0)[:, None]), 0.0, params)
    deep = jd.flows.GradientFlow(jd.models.MLP((2, 2), dim=2), jd.losses.exponential, jd.data.points(X, Y))
    with pytest.raises(ValueError, match="two-layer"):
        measure.aligned(deep, 0.0, deep.init(jr.key(0)))


def test_times():
    ts = np.array([0.0, 1.0, 2.0, 3.0, np.nan])
    flags = np.array([[0, 1, 1, 1, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    found = measure.first_aligned_time(ts, flags)
    np.testing.assert_array_equal(found.first, [1, 1, np.nan, 0, 0])
    np.testing.assert_array_equal(found.last, [1, 3, np.nan, np.nan, 0])
    np.testing.assert_array_equal(found.left, [False, True, False, True, False])
    one = measure.first_aligned_time(ts, flags[1])
    assert one.first == 1 and one.last == 3 and one.left
    with pytest.raises(ValueError, match="along the last axis"):
        measure.first_aligned_time(ts, flags[:, :3])
