"""Implicit differentiation at the end of training, against the derivative of the whole way there."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import LinearFlow
from jax.flatten_util import ravel_pytree

import jaxdyn as jd

MODEL = jd.models.TwoLayer(4, activation="tanh", bias=True)
X = jnp.asarray([-0.8, 0.1, 0.9])
LABELS = jnp.asarray([0.6, -0.5, 0.4])
ALONG = jnp.asarray([1.0, -0.5, 0.3])


def trained(make, value, along, t1, start):
    """The end of training, the flow there, its derivative and that of the whole way."""
    solve = jax.jit(lambda value: jd.solve(make(value), start, t1, record=2, rtol=1e-10).params)
    params, total = jax.jvp(solve, (value,), (along,))
    return params, total, *eqx.filter_jvp(make, (value,), (along,))


def by_labels(y):
    return jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(X, y), time_scales={"a": 1.0, "b": 0.5, "c": 2.0})


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


@pytest.mark.ci_slow
def test_on_a_manifold_of_minima():
    """Twelve parameters, three samples: off the manifold the derivative of the way is the implicit one; along it, it is not zero."""
    params, total, flow, change = trained(by_labels, LABELS, ALONG, 200.0, MODEL.init(jr.key(0)))
    assert np.linalg.norm(flat(flow.vector_field(0.0, params))) < 1e-9
    jacobian = np.asarray(jax.vmap(lambda row: ravel_pytree(row)[0])(flow.jacobian(params)))
    root = np.sqrt(flat(flow.mobility(params)))
    _, sizes, right = np.linalg.svd(jacobian * root)
    assert sizes[-1] > 1e-3
    normal = root * (right[:3].T @ (right[:3] @ (flat(total) / root)))
    for by_kernel in (False, True):
        found = jd.implicit_derivative(flow, params, change, by_kernel=by_kernel)
        assert (int(found.rank), int(found.num_free)) == (3, 9)
        assert float(found.outside) < 1e-6
        np.testing.assert_allclose(found.eigenvalues[:3], sizes**2, rtol=1e-6)
        np.testing.assert_allclose(flat(found.normal), normal, atol=1e-6 * np.abs(normal).max())
    assert np.linalg.norm((flat(total) - normal) / root) > 0.1 * np.linalg.norm(normal / root)


@pytest.mark.ci_slow
def test_the_tangential_part_is_that_of_the_tangent_flow():
    """A change of the start moves the end along the manifold only."""
    start = MODEL.init(jr.key(0))
    flow = by_labels(LABELS)
    vector = jax.tree.map(lambda leaf: jr.normal(jr.key(1), leaf.shape)[None], start)
    sol, pushed = jd.tangents(flow, start, vector, 200.0, record=2, rtol=1e-9)
    moved = jax.tree.map(lambda leaf: leaf[0, -1], pushed)
    assert np.linalg.norm(flat(moved)) > 0.1
    np.testing.assert_allclose(jax.jvp(flow.outputs, (sol.params,), (moved,))[1], 0.0, atol=1e-7)


@pytest.mark.ci_slow
@pytest.mark.parametrize("by", ["weight decay", "labels", "inputs"])
def test_an_isolated_minimum(by):
    """With weight decay nothing is free: the implicit derivative is all of it."""

    def make(value):
        x, y, decay = X, LABELS, jnp.asarray(0.05)
        x, y, decay = {"inputs": (value, y, decay), "labels": (x, value, decay), "weight decay": (x, y, value)}[by]
        return jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(x, y), weight_decay=decay)

    value, along = {"inputs": (X, ALONG), "labels": (LABELS, ALONG), "weight decay": (jnp.asarray(0.05), jnp.asarray(1.0))}[by]
    params, total, flow, change = trained(make, value, along, 3000.0, MODEL.init(jr.key(0)))
    found = jd.implicit_derivative(flow, params, change)
    assert (int(found.rank), int(found.num_free)) == (12, 0) and float(found.outside) == 0
    np.testing.assert_allclose(flat(found.normal), flat(total), atol=1e-6 * np.abs(flat(total)).max())


@pytest.mark.ci_slow
def test_more_samples_than_parameters():
    """Least squares on five samples with three parameters, one more frozen: the pseudo-inverse itself."""
    x, y = jr.normal(jr.key(2), (5, 3)), jr.normal(jr.key(3), (5,))

    def network(w, x):
        return x @ w["w"] + x[:, 0] * w["still"]

    def make(y):
        return jd.flows.GradientFlow(network, jd.losses.mean_square, jd.data.points(x, y), frozen=("still",))

    rest = y - 0.7 * x[:, 0]
    params = {"w": jnp.linalg.lstsq(x, rest)[0], "still": jnp.asarray(0.7)}
    along = jr.normal(jr.key(4), (3, 5))
    found = jax.vmap(lambda v: jd.implicit_derivative(make(y), params, eqx.filter_jvp(make, (y,), (v,))[1]))(along)
    np.testing.assert_allclose(found.normal["w"].T, jnp.linalg.lstsq(x, along.T)[0], atol=1e-12)
    np.testing.assert_array_equal(found.normal["still"], 0.0)
    np.testing.assert_array_equal((found.rank, found.num_free), ([3] * 3, [0] * 3))


def test_a_force_that_nothing_balances():
    """A flat direction pushed at: the point moves off along it, and `outside` says so."""

    class Pushed(LinearFlow):
        force: jax.Array

        def vector_field(self, t, y, args):
            return super().vector_field(t, y, args) + self.force

    flow = Pushed(jnp.diag(jnp.asarray([2.0, -1.0, 0.0])), jnp.zeros(3))
    change = Pushed(None, jnp.asarray([3.0, 1.0, 4.0]))
    found = jd.implicit_derivative(flow, jnp.zeros(3), change)
    np.testing.assert_allclose(found.normal, [1.5, -1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(found.outside, 4 / np.sqrt(26))
    assert (int(found.rank), int(found.num_free)) == (2, 1)
    assert int(jd.implicit_derivative(flow, jnp.zeros(3), change, cutoff=0.6).rank) == 1


def test_repeated_samples_have_a_singular_kernel():
    def make(y):
        return jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(jnp.asarray([0.3, 0.3, -0.5]), y))

    params = MODEL.init(jr.key(0))
    y = make(jnp.zeros(3)).outputs(params)
    for along, outside in ((jnp.asarray([1.0, 1.0, 0.0]), 0.0), (jnp.asarray([1.0, -1.0, 0.0]), 1.0)):
        flow, change = eqx.filter_jvp(make, (y,), (along,))
        found = jd.implicit_derivative(flow, params, change, by_kernel=True)
        assert int(found.rank) == 2
        np.testing.assert_allclose(found.outside, outside, atol=1e-12)
        np.testing.assert_allclose(jax.jvp(flow.outputs, (params,), (found.normal,))[1], (1 - outside) * along, atol=1e-10)


def test_misuse():
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(X, LABELS), weight_decay=0.1)
    nothing = jax.tree.map(lambda _: None, flow)
    with pytest.raises(ValueError, match="knows of no penalty"):
        jd.implicit_derivative(flow, MODEL.init(jr.key(0)), nothing, by_kernel=True)
    with pytest.raises(ValueError, match="has no outputs"):
        jd.implicit_derivative(LinearFlow(jnp.eye(2)), jnp.zeros(2), LinearFlow(jnp.eye(2)), by_kernel=True)
