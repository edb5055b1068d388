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
SIGNS = jd.data.points(DATA.x, [1.0, -1.0, 1.0, 1.0, -1.0])
TANH = jd.models.TwoLayer(width=4, activation="tanh")
PLAIN = GradientFlow(TANH, jd.losses.square, DATA)
GRADIENT_FLOWS = {
    "two_layer_relu": GradientFlow(jd.models.TwoLayer(width=4), jd.losses.square, DATA),
    "two_layer_tanh": PLAIN,
    "mlp": GradientFlow(jd.models.MLP((3, 3), bias=True, activation="softplus"), jd.losses.mean_square, DATA),
    "penalised": GradientFlow(TANH, jd.losses.logistic, SIGNS, weight_decay=0.1, norm_barrier=0.5),
    "frozen": GradientFlow(TANH, jd.losses.square, DATA, frozen=("b",)),
    "centred": GradientFlow(jd.models.Centred(TANH, 10.0), jd.losses.square, DATA),
    "linearised": LinearisedFlow(PLAIN, TANH.init(jr.key(9))),
    "linearised_at_start": LinearisedFlow(PLAIN),
}
FLOWS = GRADIENT_FLOWS | {
    "time_scales": GradientFlow(TANH, jd.losses.square, DATA, time_scales={"a": 1.0, "b": 0.1, "c": 10.0}),
    "reduced": ReducedFlow(jd.models.TwoLayer(width=4, balanced=True, delta=-1.0), jd.losses.square, DATA),
}


@eqx.filter_jit
def examine(flow, keys):
    """All that the tests ask of a flow, as numbers from one compilation."""
    starts = jax.vmap(flow.init)(keys)
    params = jax.tree.map(lambda leaf: leaf[0], starts)
    velocity = flow.vector_field(jnp.asarray(0.0), params)
    flat, unravel = ravel_pytree(params)
    offsets = 1e-6 * jnp.eye(flat.size)
    losses = jax.vmap(lambda y: flow.loss(unravel(y)))

    def euler(y, _):
        return jax.tree.map(lambda p, v: p + 1e-3 * v, y, flow.vector_field(0.0, y)), flow.loss(y)

    return {
        "params": params,
        "velocity": velocity,
        "difference": (losses(flat[None] - offsets) - losses(flat[None] + offsets)) / 2e-6,
        "slope": jax.jvp(flow.loss, (params,), (velocity,))[1],
        "losses": jax.lax.scan(euler, params, length=300)[1],
        "loss_of_outputs": flow.loss_of_outputs(flow.outputs(params)),
        "batch": jax.vmap(lambda y: flow.vector_field(0.0, y))(starts),
    }


VARIANTS = ("two_layer_tanh", "frozen", "centred", "linearised")
"""Flows of the same kind as others, left to the slow run: a compilation each."""


@pytest.fixture(scope="module", params=[pytest.param(n, marks=pytest.mark.slow if n in VARIANTS else ()) for n in FLOWS])
def case(request):
    flow = FLOWS[request.param]
    return request.param, flow, examine(flow, jr.split(jr.key(0), 3))


def test_velocity_is_like_the_parameters(case):
    _, flow, found = case
    assert isinstance(flow, AbstractFlow)
    assert jax.tree.structure(found["velocity"]) == jax.tree.structure(found["params"])
    for v, p in zip(jax.tree.leaves(found["velocity"]), jax.tree.leaves(found["params"]), strict=True):
        assert (v.shape, v.dtype) == (p.shape, p.dtype)
        assert np.isfinite(v).all()
    assert any(np.abs(v).max() > 1e-3 for v in jax.tree.leaves(found["velocity"]))


def test_field_is_minus_the_gradient_of_the_loss_on_what_moves(case):
    name, flow, found = case
    if name not in GRADIENT_FLOWS:
        pytest.skip("this flow descends the loss in another metric")
    moves = zip(jax.tree.leaves(found["params"]), jax.tree.leaves(flow.trainable(found["params"])), strict=True)
    moves = np.concatenate([np.full(leaf.size, moving) for leaf, moving in moves])
    velocity = ravel_pytree(found["velocity"])[0]
    np.testing.assert_allclose(velocity, np.where(moves, found["difference"], 0.0), rtol=1e-6, atol=1e-7)


def test_loss_falls_along_the_field_and_along_the_solution(case):
    _, _, found = case
    assert found["slope"] < -1e-4
    assert np.diff(found["losses"]).max() < 0
    assert found["losses"][-1] < found["losses"][0] - 1e-4


def test_what_does_not_train_does_not_move(case):
    _, flow, found = case
    for v, moving in zip(jax.tree.leaves(found["velocity"]), jax.tree.leaves(flow.trainable(found["params"])), strict=True):
        assert moving or not np.any(v)


def test_loss_of_outputs_and_convention(case):
    _, flow, found = case
    inner = getattr(flow, "inner", flow)
    penalty = 0.0
    if getattr(inner, "weight_decay", None) is not None:
        half = 0.5 * sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(found["params"]))
        penalty = 0.1 * half + max(half - 0.125, 0.0) ** 3 / 3
    np.testing.assert_allclose(found["loss_of_outputs"] + penalty, found["losses"][0], rtol=1e-13)
    assert flow.convention == inner.loss_function.convention


def test_seeds_can_be_vmapped(case):
    _, _, found = case
    for one, many in zip(jax.tree.leaves(found["velocity"]), jax.tree.leaves(found["batch"]), strict=True):
        np.testing.assert_allclose(many[0], one, rtol=1e-9, atol=1e-12)
    assert any(np.abs(many[1] - many[0]).max() > 1e-3 for many in jax.tree.leaves(found["batch"]))
