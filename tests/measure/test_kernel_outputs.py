"""Kernels of networks of several outputs, against all of the Jacobian at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

X = np.random.default_rng(0).normal(size=(5, 2))
TARGETS = np.random.default_rng(1).normal(size=(5, 3))
SCALES = {"w": np.array([[2.0, 1.0], [0.5, 1.0], [1.0, 3.0], [0.1, 1.0]]), "c": 0.3}
T = jnp.zeros(())
ntk = eqx.filter_jit(measure.ntk)


def apply(params, x):
    return jnp.tanh(x @ params["w"].T) @ params["c"].T


def batch_normalised(params, x):
    f = apply(params, x)
    return f - jnp.mean(f, axis=0, keepdims=True)


def flow_of(model=apply, targets=TARGETS, **how):
    loss = jd.losses.square if targets.ndim == 2 else jd.losses.cross_entropy
    return jd.flows.GradientFlow(model, loss, jd.data.points(X, targets), **how)


def drawn(seed):
    rng = np.random.default_rng(seed)
    return {"c": jnp.asarray(rng.normal(size=(3, 4))), "w": jnp.asarray(rng.normal(size=(4, 2)))}


jacobian = jax.jit(jax.jacrev(lambda params, model, x: model(params, x)), static_argnums=1)


def brute(flow, params, scales=None, moving="cw", x=X):
    """The full kernel, of shape (sample, output, sample, output)."""
    J = jacobian(params, flow.model, x)
    K = 0.0
    for name in moving:
        leaf = np.asarray(J[name]).reshape(*J[name].shape[:2], -1)
        s = np.broadcast_to(1.0 if scales is None else scales[name], params[name].shape).ravel()
        K = K + np.einsum("iok,jpk,k->iojp", leaf, leaf, s)
    return K


NEAR = {"rtol": 1e-12, "atol": 1e-12}
KINDS = {
    "plain": (flow_of(), None, "cw"),
    "classes": (flow_of(targets=np.array([0.0, 1.0, 2.0, 1.0, 0.0])), None, "cw"),
    "scaled": (flow_of(time_scales=SCALES), SCALES, "cw"),
    "frozen": (flow_of(time_scales=SCALES, frozen=("c",)), SCALES, "w"),
    "mixing": (flow_of(batch_normalised, mixes_samples=True), None, "cw"),
    "still": (flow_of(frozen=("c", "w")), None, ""),
}


@pytest.mark.parametrize("memory", [1, 3 * 2 * 20 * 8])
@pytest.mark.parametrize("kind", KINDS)
def test_full_kernel_and_its_trace(kind, memory):
    flow, scales, moving = KINDS[kind]
    params = drawn(0)
    expected = brute(flow, params, scales, moving) + np.zeros((5, 3, 5, 3))
    np.testing.assert_allclose(ntk(flow, T, params, outputs="full", memory=memory), expected, **NEAR)
    trace = ntk(flow, T, params, memory=memory)
    np.testing.assert_allclose(trace, np.einsum("iojo->ij", expected), **NEAR)


@pytest.mark.parametrize("memory", [1000, 10**6])
def test_between_other_inputs(memory):
    flow, params, other = flow_of(time_scales=SCALES), drawn(1), np.array([[0.5, 0.1], [-1.0, 2.0]])
    expected = brute(flow, params, SCALES, x=np.concatenate([X, other]))[5:, :, :5]
    full = ntk(flow, T, params, x=other, other=X, outputs="full", memory=memory)
    np.testing.assert_allclose(full, expected, **NEAR)
    np.testing.assert_allclose(ntk(flow, T, params, x=other, other=X, memory=memory), np.einsum("iojo->ij", expected), **NEAR)


def test_under_vmap():
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(drawn, range(3)))
    flow = KINDS["scaled"][0]
    for outputs in ("trace", "full"):
        many = jax.jit(jax.vmap(lambda p, outputs=outputs: measure.ntk(flow, T, p, outputs=outputs, memory=1000)))(batch)
        for lane in range(3):
            np.testing.assert_allclose(many[lane], ntk(flow, T, drawn(lane), outputs=outputs), **NEAR)


@pytest.mark.parametrize("kind", ["plain", "classes", "frozen", "mixing"])
def test_the_full_kernel_drives_the_outputs(kind):
    flow = KINDS[kind][0]

    @jax.jit
    def both_sides(params):
        f, f_dot = jax.jvp(flow.outputs, (params,), (flow.vector_field(T, params),))
        return f_dot, -jnp.tensordot(measure.ntk(flow, T, params, outputs="full"), jax.grad(flow.loss_of_outputs)(f), axes=2)

    np.testing.assert_allclose(*both_sides(drawn(2)), rtol=1e-11, atol=1e-13)


def test_one_output_in_a_row_or_alone():
    def alone(params, x):
        return apply(params, x)[:, 0]

    params = drawn(3)
    single = flow_of(lambda p, x: apply(p, x)[:, :1], TARGETS[:, :1])
    flat = jd.flows.GradientFlow(alone, jd.losses.square, jd.data.points(X, TARGETS[:, 0]))
    expected = brute(flow_of(), params)[:, 0, :, 0]
    for outputs, shape in (("trace", (5, 5)), ("full", (5, 1, 5, 1))):
        np.testing.assert_allclose(ntk(single, T, params, outputs=outputs), expected.reshape(shape), **NEAR)
        np.testing.assert_allclose(ntk(flat, T, params, outputs=outputs), expected, **NEAR)


@pytest.mark.parametrize(("kind", "outputs"), [("plain", "trace"), ("classes", "full")])
def test_what_is_measured_of_it(kind, outputs):
    flow, params, start = KINDS[kind][0], drawn(0), drawn(1)
    Y = TARGETS if kind == "plain" else np.eye(3)[[0, 1, 2, 1, 0]]
    Y = Y if outputs == "trace" else Y.reshape(-1, 1)

    def kernel(params):
        full = brute(flow, params)
        return np.einsum("iojo->ij", full) if outputs == "trace" else full.reshape(15, 15)

    K, K0, norm = kernel(params), kernel(start), np.linalg.norm
    how = {"outputs": outputs}
    values = np.linalg.eigvalsh(K)[::-1]
    np.testing.assert_allclose(measure.ntk_spectrum(flow, T, params, **how), values, atol=1e-12 * values[0])
    np.testing.assert_allclose(measure.ntk_condition(flow, T, params, **how), np.linalg.cond(K), rtol=1e-8)
    alignment = np.sum(K * (Y @ Y.T)) / norm(K) / norm(Y @ Y.T)
    np.testing.assert_allclose(measure.ntk_alignment(flow, T, params, **how), alignment, rtol=1e-12)
    np.testing.assert_allclose(measure.ntk_change(flow, T, params, start, **how), norm(K - K0) / norm(K0), rtol=1e-12)
    angle = np.arccos(np.sum(K * K0) / norm(K) / norm(K0))
    np.testing.assert_allclose(measure.ntk_angle(flow, T, params, start, **how), angle, rtol=1e-10)
    h, velocity = 1e-5, flow.vector_field(T, params)
    sides = [kernel(jax.tree.map(lambda p, v, s=s: p + s * h * v, params, velocity)) for s in (1, -1)]
    np.testing.assert_allclose(measure.ntk_velocity(flow, T, params, **how), norm(sides[0] - sides[1]) / (2 * h) / norm(K), rtol=1e-7)


def test_held_out_loss_and_function_of_several_outputs():
    params, test = drawn(0), jd.data.points(X + 0.1, np.array([0.0, 2.0, 2.0, 1.0, 0.0]))
    f = apply(params, X + 0.1)
    np.testing.assert_allclose(measure.function_on(X + 0.1)(flow_of(), T, params), f, rtol=1e-13)
    classes = KINDS["classes"][0]
    np.testing.assert_allclose(measure.held_out_loss(test)(classes, T, params), jd.losses.cross_entropy(f, test.y), rtol=1e-13)
    with pytest.raises(ValueError, match="one row of outputs"):
        measure.function_on(X)(flow_of(lambda p, x: apply(p, x)[:, :2]), T, params)
    with pytest.raises(ValueError, match="one row of outputs"):
        measure.function_on(X)(flow_of(lambda p, x: apply(p, x)[:, 0], classes.data.y), T, params)
    univariate = jd.flows.GradientFlow(lambda p, x: x * p[None], jd.losses.square, jd.data.points(X[:, 0], TARGETS[:, :2]))
    with pytest.raises(ValueError, match="one output"):
        measure.linear_spline_distance(jd.data.sinusoid(5))(univariate, T, jnp.ones(2))
