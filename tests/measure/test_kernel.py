"""The neural tangent kernel against Jacobians by loops, finite differences and the flow itself."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn import measure

DATA = jd.data.points(np.array([[0.3, -1.0], [1.2, 0.4], [-0.7, 0.9], [0.1, 0.2], [2.0, -0.3]]), np.array([1.0, -1.0, 0.5, 0.0, 2.0]))
MODEL = jd.models.TwoLayer(7, dim=2, activation="tanh")
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA)
SCALES = {"a": 2.0, "b": 0.5, "c": 0.1}


ntk, ntk_change = eqx.filter_jit(measure.ntk), eqx.filter_jit(measure.ntk_change)


def drawn(seed, model=MODEL):
    """Parameters of the model's shapes, all entries Gaussian."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), jax.eval_shape(model.init, jr.key(0)))


@eqx.filter_jit
def jacobian(outputs, params):
    flat, unravel = ravel_pytree(params)
    return jax.jacrev(lambda y: outputs(unravel(y)))(flat)


def brute(flow, params, scales=None, moves=None):
    """The sum over parameters in numpy loops, moving leaf or not, scale by scale."""
    J = np.asarray(jacobian(flow.outputs, params))
    names = np.concatenate([[i] * leaf.size for i, leaf in enumerate(jax.tree.leaves(params))])
    s = np.ones(len(names)) if scales is None else np.asarray(list(scales.values()))[names]
    if moves is not None:
        s = s * np.asarray(moves)[names]
    K = np.zeros((J.shape[0],) * 2)
    for i in range(J.shape[0]):
        for j in range(J.shape[0]):
            for k in range(J.shape[1]):
                K[i, j] += s[k] * J[i, k] * J[j, k]
    return K


@pytest.mark.parametrize("frozen", [(), ("b",), ("a", "c")])
@pytest.mark.parametrize("scales", [None, SCALES])
def test_kernel_is_the_sum_over_moving_parameters(frozen, scales):
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, frozen=frozen, time_scales=scales)
    params = drawn(0)
    moves = [name not in frozen for name in "abc"]
    np.testing.assert_allclose(ntk(flow, 0.0, params), brute(FLOW, params, scales, moves), rtol=1e-12, atol=1e-13)


def test_kernel_against_finite_differences():
    params = drawn(1)
    flat, unravel = ravel_pytree(params)
    h, flat = 1e-5, np.asarray(flat)
    outputs = jax.jit(lambda y: FLOW.outputs(unravel(y)))
    J = np.stack([(outputs(flat + h * e) - outputs(flat - h * e)) / (2 * h) for e in np.eye(flat.size)], axis=1)
    np.testing.assert_allclose(ntk(FLOW, 0.0, params), J @ J.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scales", [None, SCALES])
def test_kernel_drives_the_outputs(scales):
    flow = jd.flows.GradientFlow(MODEL, jd.losses.mean_square, DATA, time_scales=scales, frozen=("b",))
    params = drawn(2)

    @jax.jit
    def both_sides(params):
        f, f_dot = jax.jvp(flow.outputs, (params,), (flow.vector_field(0.0, params),))
        return f_dot, -measure.ntk(flow, 0.0, params) @ jax.grad(flow.loss_of_outputs)(f)

    np.testing.assert_allclose(*both_sides(params), rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 100])
def test_the_budget_changes_nothing(rows):
    """Any number of rows at once, most of which do not divide the 5 samples."""
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, time_scales=SCALES)
    params = drawn(3)
    expected = brute(flow, params, SCALES)
    budget = 3 * rows * 28 * 8
    np.testing.assert_allclose(ntk(flow, 0.0, params, memory=budget), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ntk(flow, 0.0, params, memory=budget, mixes_samples=True), expected, rtol=1e-12, atol=1e-13)


def test_rows_at_once_follow_the_budget():
    params = drawn(0)
    row = ravel_pytree(params)[0].size * 8
    shapes = [str(jax.make_jaxpr(lambda p, b=budget: measure.ntk(FLOW, 0.0, p, memory=b))(params)) for budget in (4 * row, 10 * row)]
    assert "f64[2,7,2]" in shapes[0] and "f64[5,7,2]" not in shapes[0]
    assert "f64[5,7,2]" in shapes[1]


@pytest.mark.ci_slow
def test_long_rows_are_multiplied_in_panels(monkeypatch):
    """On a CPU; also their derivative, forwards and backwards."""
    params = drawn(3)
    kernel = jax.jit(lambda p, memory: measure.ntk(FLOW, 0.0, p, memory=memory), static_argnums=1)
    plain = kernel(params, 10**6)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(measure.ntk(FLOW, 0.0, p) ** 2)))
    slopes = gradient(params)
    jax.clear_caches()
    monkeypatch.setattr("jaxdyn.measure._gram.PANEL", 3)
    assert "platform_index" in str(jax.make_jaxpr(lambda p: measure.ntk(FLOW, 0.0, p))(params))
    for memory in (1, 10**6):
        np.testing.assert_allclose(kernel(params, memory), plain, rtol=1e-12, atol=1e-13)
    jax.tree.map(lambda new, old: np.testing.assert_allclose(new, old, rtol=1e-11, atol=1e-11), gradient(params), slopes)
    chunked = jax.jit(jax.grad(lambda p: jnp.sum(measure.ntk(FLOW, 0.0, p, memory=1) ** 2)))(params)
    jax.tree.map(lambda new, old: np.testing.assert_allclose(new, old, rtol=1e-11, atol=1e-11), chunked, slopes)
    velocity = FLOW.vector_field(0.0, params)
    change = jax.jit(lambda p, v: jax.jvp(lambda p: jnp.sum(measure.ntk(FLOW, 0.0, p, memory=1) ** 2), (p,), (v,))[1])(params, velocity)
    np.testing.assert_allclose(change, sum(jnp.vdot(slopes[k], velocity[k]) for k in "abc"), rtol=1e-11)


def test_a_plain_function_of_any_pytree():
    def apply(params, x):
        return jnp.sin(x @ params["layers"][0]) * params["gain"]

    flow = jd.flows.GradientFlow(apply, jd.losses.square, DATA)
    params = {"layers": [jnp.array([0.4, -0.8])], "gain": jnp.asarray(1.7)}
    np.testing.assert_allclose(ntk(flow, 0.0, params, memory=1000), brute(flow, params), rtol=1e-12)


def test_a_model_that_mixes_samples():
    flow = jd.flows.GradientFlow(lambda p, x: x @ p - jnp.mean(x @ p), jd.losses.square, DATA)
    params = jnp.array([0.4, -0.8])
    expected = brute(flow, params)
    with pytest.raises(ValueError, match="depends on other samples than its own, .*: give the flow mixes_samples=True"):
        measure.ntk(flow, 0.0, params)
    np.testing.assert_allclose(ntk(flow, 0.0, params, mixes_samples=True, memory=1), expected, rtol=1e-12, atol=1e-14)
    said = jd.flows.GradientFlow(flow.model, jd.losses.square, DATA, mixes_samples=True)
    np.testing.assert_allclose(ntk(said, 0.0, params), expected, rtol=1e-12, atol=1e-14)
    assert np.abs(expected).max() > 0.1
    # the mean over a single sample is its own output
    np.testing.assert_allclose(ntk(said, 0.0, params, mixes_samples=False), 0.0, atol=1e-14)


class OwnFlow(eqx.Module):
    """Outputs that are more than a model on data."""

    data: Any
    model: Any

    def outputs(self, y):
        return 3.0 * self.model(y, self.data.x)


def test_a_flow_of_ones_own_by_protocol():
    x = np.asarray(DATA.x)
    flow = OwnFlow(DATA, lambda p, x: x @ p)
    np.testing.assert_allclose(ntk(flow, 0.0, jnp.ones(2), memory=1), 9 * x @ x.T, rtol=1e-12)
    with pytest.raises(ValueError, match="own samples only"):
        ntk(flow, 0.0, jnp.ones(2), x=x)


OTHER = np.array([[0.5, 0.1], [-1.0, 2.0], [0.3, 0.3]])


@pytest.mark.parametrize("memory", [1, 10**6])
@pytest.mark.parametrize("mixes", [False, True])
def test_kernel_between_other_inputs(memory, mixes):
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, time_scales=SCALES, frozen=("b",), mixes_samples=mixes)
    together = jd.data.points(np.concatenate([DATA.x, OTHER]), np.zeros(8))
    params = drawn(4)
    whole = brute(jd.flows.GradientFlow(MODEL, jd.losses.square, together), params, SCALES, [1, 0, 1])
    near = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(ntk(flow, 0.0, params, x=OTHER, memory=memory), whole[5:, 5:], **near)
    np.testing.assert_allclose(ntk(flow, 0.0, params, other=OTHER, memory=memory), whole[:5, 5:], **near)
    np.testing.assert_allclose(ntk(flow, 0.0, params, x=OTHER, other=DATA.x, memory=memory), whole[5:, :5], **near)
    line = jd.flows.GradientFlow(lambda p, x: x[:, 0] * p, jd.losses.square, DATA)
    np.testing.assert_allclose(ntk(line, 0.0, jnp.asarray(0.3), x=[1.0, 2.0], other=[3.0]), [[3.0], [6.0]], rtol=1e-14)
    with pytest.raises(ValueError, match="shape"):
        ntk(flow, 0.0, params, x=np.zeros((0, 2)))


def test_mlp_and_wrapped_flows():
    mlp = jd.models.MLP((4, 3), dim=2, bias=True, activation="gelu")
    inner = jd.flows.GradientFlow(mlp, jd.losses.square, DATA)
    start = drawn(4, mlp)
    expected = brute(inner, start)
    np.testing.assert_allclose(ntk(inner, 0.0, start, memory=1000), expected, rtol=1e-12)
    linear = jd.flows.LinearisedFlow(inner)
    moved = {"now": jax.tree.map(lambda leaf: leaf + 0.3, start), "start": start}
    np.testing.assert_allclose(ntk(linear, 0.0, moved, memory=1000), expected, rtol=1e-11)
    centred = jd.flows.GradientFlow(jd.models.Centred(mlp, 3.0), jd.losses.square, DATA)
    np.testing.assert_allclose(ntk(centred, 0.0, {"now": start, "start": moved["now"]}), 9 * expected, rtol=1e-12)
    scaled = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, time_scales=SCALES, frozen=("b",))
    point = drawn(0)
    doubled = {"now": point, "start": point}
    np.testing.assert_allclose(ntk(jd.flows.LinearisedFlow(scaled), 0.0, doubled), ntk(scaled, 0.0, point), rtol=1e-12)


def test_reduced_flow_has_the_full_networks_kernel():
    data = jd.data.square_wave(6)
    model = jd.models.TwoLayer(8)
    params = drawn(0, model)
    params = params | {"c": params["c"].at[:2].set(jnp.hypot(params["a"][:2, 0], params["b"][:2]) * jnp.array([1.0, -1.0]))}
    coordinates = jax.jit(jd.flows.reduce_univariate)(params)
    delta = np.asarray(coordinates["delta"])
    assert delta.min() < -0.1 and np.abs(delta).min() < 1e-12 and delta.max() > 0.1
    reduced, full = (kind(model, jd.losses.square, data) for kind in (jd.flows.ReducedFlow, jd.flows.GradientFlow))
    np.testing.assert_allclose(ntk(reduced, 0.0, coordinates), brute(full, params), rtol=1e-11, atol=1e-13)


def test_change_is_the_relative_frobenius_norm_and_linear_for_small_moves():
    start = drawn(5)
    direction = drawn(6)
    changes = []
    for size in (1e-3, 1e-4):
        params = jax.tree.map(lambda leaf, d, size=size: leaf + size * d, start, direction)
        K, K0 = brute(FLOW, params), brute(FLOW, start)
        changes.append(float(ntk_change(FLOW, 0.0, params, start)))
        np.testing.assert_allclose(changes[-1], np.linalg.norm(K - K0) / np.linalg.norm(K0), rtol=1e-8)
    np.testing.assert_allclose(np.log10(changes[0] / changes[1]), 1.0, atol=0.01)
    assert ntk_change(FLOW, 0.0, start, start) == 0


def test_change_from_a_kernel_of_zero_is_absolute():
    zero = jax.tree.map(jnp.zeros_like, drawn(0))
    params = drawn(1)
    np.testing.assert_allclose(ntk_change(FLOW, 0.0, params, zero), np.linalg.norm(brute(FLOW, params)), rtol=1e-12)
    assert ntk_change(FLOW, 0.0, zero, zero) == 0


def test_nothing_that_moves_gives_a_kernel_of_zero():
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, frozen=("a", "b", "c"))
    np.testing.assert_array_equal(ntk(flow, 0.0, drawn(0)), np.zeros((5, 5)))


def test_chunks_under_vmap():
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(drawn, range(3)))
    many = jax.jit(jax.vmap(lambda p: measure.ntk(FLOW, 0.0, p, memory=1000)))(batch)
    for lane in range(3):
        np.testing.assert_allclose(many[lane], brute(FLOW, drawn(lane)), rtol=1e-12, atol=1e-13)


def test_float32_with_time_scales():
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, time_scales=SCALES)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), drawn(0))
    kernel = ntk(flow, 0.0, single)
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(kernel, brute(FLOW, drawn(0), SCALES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"memory": 0}, {"memory": -1}, {"memory": "all"}, {"memory": True}, {"outputs": "mean"}])
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ntk(FLOW, 0.0, drawn(0), **options)


def test_a_flow_without_outputs():
    with pytest.raises(ValueError, match="offers no outputs"):
        ntk(object(), 0.0, jnp.ones(2))
