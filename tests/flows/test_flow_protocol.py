"""What every flow promises, asked of every flow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import AbstractFlow, GradientFlow, LinearisedFlow, ReducedFlow

DATA = jd.data.points(np.linspace(-1, 1, 5), [0.3, -1.0, 0.5, 1.0, 0.0])
TANH = jd.models.TwoLayer(width=4, activation="tanh")
PLAIN = GradientFlow(TANH, jd.losses.square, DATA)
GRADIENT_FLOWS = {
    "two_layer_relu": GradientFlow(jd.models.TwoLayer(width=4), jd.losses.square, DATA),
    "two_layer_tanh": PLAIN,
    "mlp": GradientFlow(jd.models.MLP((3, 3), bias=True, activation="softplus"), jd.losses.mean_square, DATA),
    "penalised": GradientFlow(TANH, jd.losses.logistic, DATA, weight_decay=0.1, norm_barrier=0.5),
    "frozen": GradientFlow(TANH, jd.losses.square, DATA, frozen=("b",)),
    "centred": GradientFlow(jd.models.Centred(TANH, 10.0), jd.losses.square, DATA),
    "linearised": LinearisedFlow(PLAIN, TANH.init(jr.key(9))),
    "linearised_at_start": LinearisedFlow(PLAIN),
}
FLOWS = GRADIENT_FLOWS | {
    "time_scales": GradientFlow(TANH, jd.losses.square, DATA, time_scales={"a": 1.0, "b": 0.1, "c": 10.0}),
    "reduced": ReducedFlow(jd.models.TwoLayer(width=4, balanced=True, delta=-1.0), jd.losses.square, DATA),
}


@pytest.mark.parametrize("name", FLOWS)
def test_velocity_is_like_the_parameters(name):
    flow = FLOWS[name]
    params = flow.init(jr.key(0))
    velocity = flow.vector_field(jnp.asarray(0.0), params)
    assert isinstance(flow, AbstractFlow)
    assert jax.tree.structure(velocity) == jax.tree.structure(params)
    for v, p in zip(jax.tree.leaves(velocity), jax.tree.leaves(params), strict=True):
        assert (v.shape, v.dtype) == (p.shape, p.dtype)
        assert np.isfinite(v).all()
    assert any(np.abs(v).max() > 1e-3 for v in jax.tree.leaves(velocity))


@pytest.mark.parametrize("name", GRADIENT_FLOWS)
def test_field_is_minus_the_gradient_of_the_loss_on_what_moves(name):
    flow = FLOWS[name]
    params = flow.init(jr.key(1))
    moves = jnp.concatenate([jnp.full(leaf.size, m) for leaf, m in zip(jax.tree.leaves(params), jax.tree.leaves(flow.trainable(params)), strict=True)])
    flat, unravel = ravel_pytree(params)
    velocity = np.asarray(ravel_pytree(flow.vector_field(0.0, params))[0])
    h = 1e-6
    loss = eqx.filter_jit(lambda flow, y: flow.loss(unravel(y)))
    differences = [(loss(flow, flat - h * e) - loss(flow, flat + h * e)) / (2 * h) for e in jnp.eye(flat.size)]
    np.testing.assert_allclose(velocity, np.where(moves, differences, 0.0), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FLOWS)
def test_loss_falls_along_the_field_and_along_the_solution(name):
    flow = FLOWS[name]
    params = flow.init(jr.key(2))
    _, slope = jax.jvp(flow.loss, (params,), (flow.vector_field(0.0, params),))
    assert slope < -1e-4

    @eqx.filter_jit
    def losses_along(flow, params, h=1e-3):
        def step(y, _):
            return jax.tree.map(lambda p, v: p + h * v, y, flow.vector_field(0.0, y)), flow.loss(y)

        return jax.lax.scan(step, params, length=300)[1]

    losses = np.asarray(losses_along(flow, params))
    assert np.diff(losses).max() < 0
    assert losses[-1] < losses[0] - 1e-4


@pytest.mark.parametrize("name", FLOWS)
def test_what_does_not_train_does_not_move(name):
    flow = FLOWS[name]
    params = flow.init(jr.key(3))
    velocity, moves = jax.tree.leaves(flow.vector_field(0.0, params)), jax.tree.leaves(flow.trainable(params))
    for v, moving in zip(velocity, moves, strict=True):
        assert moving or not np.any(v)


@pytest.mark.parametrize("name", FLOWS)
def test_loss_of_outputs_and_convention(name):
    flow = FLOWS[name]
    params = flow.init(jr.key(4))
    inner = getattr(flow, "inner", flow)
    penalty = 0.0
    if getattr(inner, "weight_decay", None) is not None:
        half = 0.5 * sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(params))
        penalty = 0.1 * half + max(half - 0.125, 0.0) ** 3 / 3
    np.testing.assert_allclose(flow.loss_of_outputs(flow.outputs(params)) + penalty, flow.loss(params), rtol=1e-13)
    assert flow.convention == inner.loss_function.convention


@pytest.mark.parametrize("name", FLOWS)
def test_seeds_can_be_vmapped(name):
    flow = FLOWS[name]
    keys = jr.split(jr.key(6), 3)
    batch = eqx.filter_vmap(lambda flow, key: flow.vector_field(0.0, flow.init(key)), in_axes=(None, 0))(flow, keys)
    for k in range(3):
        alone = flow.vector_field(0.0, flow.init(keys[k]))
        for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(batch), strict=True):
            np.testing.assert_allclose(many[k], one, rtol=1e-9, atol=1e-12)
