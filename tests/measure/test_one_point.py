"""One-point convexity and the potential of the identity link, against finite differences and numpy."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

DIM = 4
RNG = np.random.default_rng(3)
W, W_STAR = 0.4 * RNG.standard_normal((2, DIM, DIM))
LINK = jd.flows.IdentityLinkFlow(W_STAR)
NOW = jnp.zeros(())


def test_inner_product_is_the_slope_of_the_loss_on_the_way_to_the_target():
    start, step = {"w": jnp.asarray(W)}, 1e-5
    value = measure.one_point_convexity({"w": W_STAR})(LINK, NOW, start)
    way = W_STAR - W
    loss = jax.jit(lambda w: LINK.loss({"w": w}))
    after, before = (float(loss(W + h * way)) for h in (step, -step))
    np.testing.assert_allclose(value, -(after - before) / (2 * step), rtol=1e-7)
    ratio = measure.one_point_convexity({"w": W_STAR}, relative=True)(LINK, NOW, start)
    np.testing.assert_allclose(ratio, value / np.sum(way**2), rtol=1e-13)
    # another target, another number
    other = measure.one_point_convexity({"w": 0 * W_STAR})(LINK, NOW, start)
    np.testing.assert_allclose(other, -np.sum(W * np.asarray(LINK.vector_field(NOW, start)["w"])), rtol=1e-13)


def test_all_leaves_count():
    """On L = 1/2 sum (c - y)^2, whose inner product with the target y is |c - y|^2; d rests, but is part of the distance."""
    start = {"c": jnp.asarray([1.0, 2.0]), "d": jnp.asarray([3.0])}
    goal = {"c": jnp.asarray([0.3, -0.2]), "d": jnp.asarray([0.5])}
    flow = jd.flows.GradientFlow(lambda params, x: x @ params["c"], jd.losses.square, jd.data.points(np.eye(2), np.asarray([0.3, -0.2])))
    inner, square = 0.7**2 + 2.2**2, 0.7**2 + 2.2**2 + 2.5**2
    np.testing.assert_allclose(measure.one_point_convexity(goal)(flow, NOW, start), inner, rtol=1e-12)
    np.testing.assert_allclose(measure.one_point_convexity(goal, relative=True)(flow, NOW, start), inner / square, rtol=1e-12)
    assert float(measure.one_point_convexity(start, relative=True)(flow, NOW, start)) == 0.0


def test_the_distance_shrinks_at_that_rate():
    at, step = {"w": jnp.asarray(W)}, 1e-6
    velocity = np.asarray(LINK.vector_field(NOW, at)["w"])
    far, near = (np.sum((W + h * velocity - W_STAR) ** 2) for h in (-step, step))
    inner = float(measure.one_point_convexity({"w": W_STAR})(LINK, NOW, at))
    np.testing.assert_allclose((near - far) / (2 * step), -2 * inner, rtol=1e-7)


def test_potential_is_the_difference_of_lengths():
    expected = sum(np.linalg.norm(np.eye(DIM)[i] + W_STAR[i]) - np.linalg.norm(np.eye(DIM)[i] + W[i]) for i in range(DIM))
    params = {"w": jnp.asarray(W)}
    np.testing.assert_allclose(measure.potential(LINK, NOW, params), expected, rtol=1e-13)
    descent = jd.flows.StochasticDescent(LINK, 0.1, batch=5)
    np.testing.assert_allclose(measure.potential(descent, NOW, params), expected, rtol=1e-13)
    assert abs(float(measure.potential(LINK, NOW, {"w": jnp.asarray(W_STAR)}))) < 1e-14


def test_potential_decays_at_the_derived_rate():
    """That is g' = -((d - 1 + pi/2)/pi) g to first order, with the field of the paper's formula in plain loops."""
    small, goal = 1e-4 * RNG.standard_normal((2, DIM, DIM))
    small += (goal.sum(axis=0) - small.sum(axis=0)) / DIM
    flow = jd.flows.IdentityLinkFlow(goal)
    _, change = jax.jvp(lambda w: measure.potential(flow, NOW, {"w": w}), (jnp.asarray(small),), (jnp.asarray(field(small, goal)),))
    g = measure.potential(flow, NOW, {"w": jnp.asarray(small)})
    np.testing.assert_allclose(-change / g, (DIM - 1 + np.pi / 2) / np.pi, rtol=5e-3)


def field(w, goal):
    """Section 3's formula, one term after the other."""
    u, v, total = np.eye(len(w)) + w, np.eye(len(w)) + goal, np.zeros_like(w)

    def angle(a, b):
        return 2 * np.arctan2(
            np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)), np.linalg.norm(a / np.linalg.norm(a) + b / np.linalg.norm(b))
        )

    for j in range(len(w)):
        for i in range(len(w)):
            total[j] += np.pi / 2 * (goal[i] - w[i]) + (np.pi / 2 - angle(v[i], u[j])) * v[i] - (np.pi / 2 - angle(u[i], u[j])) * u[i]
            lengths = np.linalg.norm(v[i]) * np.sin(angle(v[i], u[j])) - np.linalg.norm(u[i]) * np.sin(angle(u[i], u[j]))
            total[j] += lengths * u[j] / np.linalg.norm(u[j])
    return total / np.pi


def test_the_field_is_that_of_the_paper():
    np.testing.assert_allclose(LINK.vector_field(NOW, {"w": jnp.asarray(W)})["w"], field(W, W_STAR), rtol=1e-12, atol=1e-13)


def test_recorded_along_a_descent():
    descent = jd.flows.StochasticDescent(LINK, 0.05, batch=50)
    watch = {
        "inner": measure.one_point_convexity({"w": jnp.asarray(W_STAR)}),
        "ratio": measure.one_point_convexity({"w": jnp.asarray(W_STAR)}, relative=True),
        "g": measure.potential,
    }
    sol = jd.solve(descent, {"w": jnp.asarray(W)}, 0.5, record=[0.0, 0.25, 0.5], observe=watch, key=jr.key(0))
    for k, w in enumerate(np.asarray(sol.states["w"])):
        inner = np.sum((W_STAR - w) * field(w, W_STAR))
        np.testing.assert_allclose(sol.observed["inner"][k], inner, rtol=1e-10)
        np.testing.assert_allclose(sol.observed["ratio"][k], inner / np.sum((W_STAR - w) ** 2), rtol=1e-10)
        g = np.sum(np.linalg.norm(np.eye(DIM) + W_STAR, axis=1) - np.linalg.norm(np.eye(DIM) + w, axis=1))
        np.testing.assert_allclose(sol.observed["g"][k], g, rtol=1e-12)


def test_float32_is_kept():
    params = {"w": jax.ShapeDtypeStruct((DIM, DIM), jnp.float32)}
    for observable in (
        measure.one_point_convexity({"w": W_STAR}),
        measure.one_point_convexity({"w": W_STAR}, relative=True),
        measure.potential,
    ):
        assert jax.eval_shape(lambda p, one=observable: one(LINK, NOW, p), params).dtype == jnp.float32


@pytest.mark.parametrize("target", [{"w": np.zeros((2, 2))}, {"a": W_STAR}, W_STAR])
def test_a_target_of_another_shape_is_refused(target):
    with pytest.raises(ValueError, match="pytree like the parameters"):
        measure.one_point_convexity(target)(LINK, NOW, {"w": jnp.asarray(W)})


def test_flows_without_a_link_have_no_potential():
    flow = jd.flows.PopulationFlow(jd.models.TwoLayer(DIM, DIM, False, trains=("a",), scaling="one"), np.eye(DIM))
    with pytest.raises(ValueError, match="IdentityLinkFlow"):
        measure.potential(flow, NOW, flow.init(jr.key(0)))
