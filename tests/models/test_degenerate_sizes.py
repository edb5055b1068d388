"""The smallest networks and data: no hidden layer, one neuron, one input, one sample, one output."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import jaxdyn as jd

X = np.array([[1.0, 0.2], [-0.3, 0.8], [0.5, -0.4]])
Y = np.array([0.7, -0.2, 0.4])
HOW = {"progress": False, "record": 3, "width": 2}


def exact(inputs, targets, start, t):
    """The flow of 1/2 |X w - y|^2, a row of weights for each output."""
    gram = inputs.T @ inputs
    best = np.linalg.pinv(inputs) @ targets
    return best + expm(-gram * t) @ (start - best)


@pytest.mark.ci_slow
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
def test_no_hidden_layer_is_linear_regression(bias, outputs):
    model = jd.models.MLP((), 2, bias, "relu", outputs=outputs)
    targets = Y if outputs == 1 else np.stack([Y, -2 * Y], axis=1)
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(X, targets))
    inputs = np.concatenate([X, np.ones((3, 1))], axis=1) if bias else X

    def rows(params):
        (layer,) = params
        return np.concatenate([layer["w"], layer["b"][:, None]], axis=1) if bias else np.asarray(layer["w"])

    start = flow.init(jr.fold_in(jr.key(0), 1))
    expected = exact(inputs, targets.reshape(3, -1), rows(start).T, 2.0)
    sol = jd.solve(flow, start, t1=2.0, record=3, rtol=1e-9, observe={"loss": jd.measure.loss, "kernel": jd.measure.ntk})
    np.testing.assert_allclose(rows(sol.params), expected.T, atol=1e-7)
    np.testing.assert_allclose(sol.observed["kernel"][-1], outputs * inputs @ inputs.T, atol=1e-12)
    if outputs == 2:
        limit = jd.solve(flow, start, t1=jnp.inf, record=2)
        np.testing.assert_allclose(rows(limit.params), exact(inputs, targets.reshape(3, -1), rows(start).T, 1e4).T, atol=1e-5)
    if bias == (outputs == 1):
        ds = jd.sweep(flow, [1], t1=2.0, rtol=1e-9, **HOW)
        np.testing.assert_allclose(rows(jd.final_params(ds, flow, 1)), expected.T, atol=1e-7)
    assert model.slopes is None and model.conserved(start) is None and int(sol.certificate.num_kinks) == 0
    with pytest.raises(ValueError, match="no conserved quantity"):
        jd.measure.conserved(flow, 0.0, start)
    if outputs == 1 and not bias:
        assert jd.models.homogeneity(model, start, flow.data.x) == 1.0
    np.testing.assert_allclose(jd.measure.stable_rank(flow, 0.0, start)[0], np.sum(rows(start) ** 2) / np.linalg.norm(rows(start), 2) ** 2)


SMALL = {
    "one tanh neuron": jd.models.TwoLayer(1, activation="tanh"),
    "one relu neuron": jd.models.TwoLayer(1, bias=False, init_scale=0.7),
    "a deep network of one neuron a layer": jd.models.MLP((1, 1), 1, True, "tanh"),
}


@pytest.mark.ci_slow
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_one_neuron_one_input_one_sample(name, samples):
    model = SMALL[name]
    data = jd.data.points([0.8, -0.5][:samples], [0.4, -0.3][:samples])
    flow = jd.flows.GradientFlow(model, jd.losses.square, data)
    start = flow.init(jr.key(3))
    flat, unravel = jax.flatten_util.ravel_pytree(start)
    field = jax.jit(lambda y: -jax.grad(lambda y: flow.loss(unravel(y)))(y))
    truth = solve_ivp(lambda t, y: np.asarray(field(jnp.asarray(y))), (0, 3.0), np.asarray(flat), rtol=1e-10, atol=1e-12, method="DOP853")
    sol = jd.solve(flow, start, t1=3.0, record=2, rtol=1e-8)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(sol.params)[0], truth.y[:, -1], atol=1e-6)


def test_nothing_is_refused():
    for make in (
        lambda: jd.models.TwoLayer(0),
        lambda: jd.models.MLP((0,)),
        lambda: jd.models.MLP((), 0),
        lambda: jd.models.MLP((2,), outputs=0),
        lambda: jd.data.points(np.ones((0, 1)), np.ones(0)),
        lambda: jd.data.points(np.ones((1, 0)), np.ones(1)),
        lambda: jd.data.sinusoid(n=0),
    ):
        with pytest.raises(ValueError, match="at least"):
            make()
