"""Measures look through flows that declare themselves wrappers, and through no other; nothing is guessed from a field's name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import AbstractFlow, AbstractWrapper, GradientFlow, innermost, network_params

DATA = jd.data.points(np.linspace(-1, 1, 4), [0.3, -0.2, 0.5, 0.1])


def apply(params, x):
    return jnp.tanh(x @ params["a"].T) @ params["c"]


NETWORK = GradientFlow(apply, jd.losses.square, DATA)
Y = {"a": 0.3 * jr.normal(jr.key(0), (3, 1)), "c": 0.3 * jr.normal(jr.key(1), (3,))}


class InExponentials(AbstractFlow):
    """A flow of y whose network has the weights exp(y), and whose fields have names that wrappers of jaxdyn have."""

    inner: GradientFlow
    flow: GradientFlow

    def outputs(self, y):
        return self.inner.outputs(jax.tree.map(jnp.exp, y))

    def loss(self, y):
        return self.inner.loss_of_outputs(self.outputs(y))

    def vector_field(self, t, y, args=None):
        return jax.tree.map(jnp.negative, jax.grad(self.loss)(y))

    def init(self, key):
        return Y


class Declared(AbstractWrapper):
    """The same flow as a wrapper."""

    base: GradientFlow

    @property
    def wrapped(self):
        return self.base

    def weights(self, y):
        return jax.tree.map(jnp.exp, y)

    def outputs(self, y):
        return self.base.outputs(self.weights(y))

    def loss(self, y):
        return self.base.loss_of_outputs(self.outputs(y))

    def vector_field(self, t, y, args=None):
        return jax.tree.map(jnp.negative, jax.grad(self.loss)(y))

    def init(self, key):
        return Y


FLOWS = {"undeclared": InExponentials(NETWORK, NETWORK), "declared": Declared(NETWORK)}


def kernel_by_differences(flow, y, h=1e-6):
    flat, unravel = jax.flatten_util.ravel_pytree(y)
    columns = [(flow.outputs(unravel(flat.at[k].add(h))) - flow.outputs(unravel(flat.at[k].add(-h)))) / (2 * h) for k in range(flat.size)]
    jacobian = np.stack(columns, axis=1)
    return jacobian @ jacobian.T


@pytest.mark.parametrize("name", FLOWS)
def test_the_kernel_is_that_of_the_coordinates_that_move(name):
    flow = FLOWS[name]
    expected = kernel_by_differences(flow, Y)
    assert np.linalg.norm(expected - kernel_by_differences(NETWORK, Y)) > 0.1 * np.linalg.norm(expected)
    np.testing.assert_allclose(jd.measure.ntk(flow, 0.0, Y), expected, rtol=1e-7)
    np.testing.assert_allclose(jd.measure.outputs(flow, 0.0, Y), NETWORK.outputs(jax.tree.map(jnp.exp, Y)), rtol=1e-14)


def test_other_inputs_are_known_through_a_declared_wrapper_only():
    x = np.array([[0.7]])
    seen = jd.measure.function_on(x)(FLOWS["declared"], 0.0, Y)
    np.testing.assert_allclose(seen, apply(jax.tree.map(jnp.exp, Y), x), rtol=1e-14)
    with pytest.raises(ValueError, match="has no model"):
        jd.measure.function_on(x)(FLOWS["undeclared"], 0.0, Y)


def test_penalties_of_a_field_called_inner_are_not_the_flows_own():
    heavy = GradientFlow(apply, jd.losses.square, DATA, weight_decay=0.5)
    flow = InExponentials(heavy, heavy)
    assert innermost(flow) is flow and network_params(flow, Y) is Y
    assert innermost(Declared(heavy)) is heavy


def test_the_wrappers_of_jaxdyn_declare_themselves():
    model = jd.models.TwoLayer(2, activation="square", bias=False)
    plain = GradientFlow(model, jd.losses.square, DATA)
    params = plain.init(jr.key(0))
    made = [
        (jd.flows.LinearisedFlow(plain, params), params),
        (jd.flows.StochasticDescent(plain, 0.1), params),
        (clock := jd.flows.Clock(plain, jd.flows.arc_length), clock.start(params)),
        (polar := jd.flows.DirectionClock(plain), polar.start(params)),
    ]
    for flow, state in made:
        assert isinstance(innermost(flow), GradientFlow)
        found = network_params(flow, state)
        assert jax.tree.structure(found) == jax.tree.structure(params)
    # the kernel of a descent is that of its flow, at any inputs
    x = np.array([[0.2], [0.9]])
    descent = made[1][0]
    np.testing.assert_allclose(jd.measure.ntk(descent, 0.0, params, x=x), jd.measure.ntk(plain, 0.0, params, x=x), rtol=1e-13)


class Carries(eqx.Module):
    """A plain class with a field `flow` and teacher-like names, which a descent must not take for what it knows."""

    flow: GradientFlow
    halved: bool = eqx.field(static=True, default=True)

    def vector_field(self, t, y, args=None):
        return self.flow.vector_field(t, y)

    def loss(self, y):
        return self.flow.loss(y)

    def target(self, x):
        return x[:, 0]


def test_a_descent_guesses_no_teacher():
    with pytest.raises(ValueError, match="neither samples nor a teacher"):
        jd.flows.StochasticDescent(Carries(NETWORK), 0.1, batch=2)
