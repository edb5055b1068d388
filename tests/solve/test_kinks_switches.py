"""Deep ReLU networks, hinge losses and reduced coordinates through their kinks, against a judge in numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import switched
from jax.flatten_util import ravel_pytree

import jaxdyn as jd

RTOLS = (1e-4, 1e-6, 1e-8)


def layers(v, X, shapes, gates):
    """Weights (out, in) of each layer, which v has after one another, its inputs, the gates and pre-activations of hidden ones; outputs."""
    weights, inputs, masks, zs, place, at = [], [X], [], [], 0, 0
    for out, inside in shapes:
        weights.append(v[at : at + out * inside].reshape(out, inside))
        at += out * inside
        z = inputs[-1] @ weights[-1].T
        if out == 1:
            return weights, inputs, masks, zs, z[:, 0]
        zs.append(z)
        masks.append(gates[place : place + z.size].reshape(z.shape))
        inputs.append(z * masks[-1])
        place += z.size
    raise AssertionError


def deep(X, y, shapes):
    """Switches and field of 1/2 sum (f - y)^2, backpropagated by hand."""

    def switches(v, gates):
        return np.concatenate([z.ravel() for z in layers(v, X, shapes, gates)[3]])

    def field(v, gates):
        weights, inputs, masks, _, f = layers(v, X, shapes, gates)
        back, found = (f - y)[:, None], []
        for k in reversed(range(len(shapes))):
            found.append((back.T @ inputs[k]).ravel())
            if k:
                back = (back @ weights[k]) * masks[k - 1]
        return -np.concatenate(found[::-1])

    return switches, field


def hinged(X, y, m):
    """The same for sum max(0, 1 - y f) with f = sum_j c_j relu(w_j . x) / sqrt(m); v is a (m, d), c."""
    n, d = X.shape

    def parts(v, gates):
        w, c = v[: m * d].reshape(m, d), v[m * d :]
        g = gates[: n * m].reshape(n, m)
        z = X @ w.T
        return w, c, g, z, (g * z) @ c / np.sqrt(m)

    def switches(v, gates):
        _, _, _, z, f = parts(v, gates)
        return np.concatenate([z.ravel(), 1 - y * f])

    def field(v, gates):
        _, c, g, z, _ = parts(v, gates)
        r = -y * gates[n * m :] / np.sqrt(m)
        return -np.concatenate([((g * r[:, None] * c[None, :]).T @ X).ravel(), (g * z).T @ r])

    return switches, field


def ends(flow, params, t1):
    """Final flat parameters and certificates at each tolerance, and the outcomes."""

    def one(rtol):
        sol = jd.solve(flow, params, t1=t1, rtol=rtol, record=2, max_steps=3000)
        return ravel_pytree(sol.params)[0], sol.certificate, sol.outcome

    return jax.jit(jax.vmap(one))(jnp.asarray(RTOLS))


def judge(found, truth):
    flat, _, outcome = found
    assert np.all(np.asarray(outcome) == jd.Outcome.t1_reached)
    errors = np.abs(np.asarray(flat) - truth).max(axis=1)
    assert np.all(errors <= 100 * np.asarray(RTOLS)), errors


@pytest.mark.parametrize(("seed", "kinks"), [pytest.param(0, 11, marks=pytest.mark.ci_slow), pytest.param(4, 8, marks=pytest.mark.slow)])
def test_a_deep_network(seed, kinks):
    """Two hidden layers of 4 and 3 neurons on 5 samples; errors measured: .06 to .5 times rtol. An exit may be found in several pieces."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(5, 2)), rng.normal(size=5)
    flow = jd.flows.GradientFlow(jd.models.MLP((4, 3), dim=2), jd.losses.square, jd.data.points(X, y))
    params = flow.init(jax.random.key(seed))
    v = np.concatenate([np.asarray(layer["w"]).ravel() for layer in params])
    truth, count = switched.solve(*deep(X, y, [(4, 2), (3, 4), (1, 3)]), v, 35, 2.0)
    found = ends(flow, params, 2.0)
    judge(found, truth)
    assert count == kinks and kinks <= np.asarray(found[1].num_kinks)[-1] <= kinks + 2


@pytest.mark.parametrize(("seed", "kinks"), [pytest.param(0, 3, marks=pytest.mark.slow), pytest.param(3, 4, marks=pytest.mark.slow)])
def test_a_hinge_loss(seed, kinks):
    """Margins slide at 1 (support vectors), together with neurons."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(5, 2)), np.sign(rng.normal(size=5))
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(width=3, dim=2, bias=False), jd.losses.hinge, jd.data.points(X, y))
    params = flow.init(jax.random.key(seed))
    v = np.concatenate([np.asarray(params["a"]).ravel(), np.asarray(params["c"])])
    truth, count = switched.solve(*hinged(X, y, 3), v, 20, 3.0)
    found = ends(flow, params, 3.0)
    judge(found, truth)
    assert count == kinks and np.asarray(found[1].num_kinks)[-1] == kinks and np.asarray(found[1].num_slides)[-1] > 0


@pytest.mark.ci_slow
def test_a_hinge_loss_by_hand():
    """One linear neuron (always on), y = 1: w' = c, c' = w until w c = 1; then both stay, the margin's gate being 0."""
    model = jd.models.TwoLayer(width=1, bias=False, scaling="one")
    flow = jd.flows.GradientFlow(model, jd.losses.hinge, jd.data.points(np.array([[1.0]]), np.array([1.0])))
    sol = jd.solve(flow, {"a": jnp.array([[0.2]]), "c": jnp.array([0.2])}, t1=5.0, rtol=1e-9)
    np.testing.assert_allclose([float(sol.params["a"][0, 0]), float(sol.params["c"][0])], 1.0, rtol=1e-8)
    np.testing.assert_allclose(float(sol.certificate.first_kink), np.log(5.0), rtol=1e-8)
    assert sol.certificate.num_slides == 0 or float(sol.state.kinks.fraction[0]) <= 1e-8
    assert "each ending a step" in sol.method


@pytest.mark.slow
def test_reduced_coordinates_give_the_same_function():
    """The flow in (r, theta), whose mobility depends on the state, against the full flow with kinks located all at once."""
    data = jd.data.sinusoid(n=6)
    model = jd.models.TwoLayer(width=8, balanced=True, delta=0.5)
    params = model.init(jax.random.key(3))
    full, reduced = jd.flows.GradientFlow(model, jd.losses.square, data), jd.flows.ReducedFlow(model, jd.losses.square, data)
    a = jd.solve(full, params, t1=5.0, rtol=1e-9)
    b = jd.solve(reduced, jd.flows.reduce_univariate(params), t1=5.0, rtol=1e-9)
    np.testing.assert_allclose(full.outputs(a.params), reduced.outputs(b.params), atol=1e-7)
    assert a.certificate.num_kinks == b.certificate.num_kinks > 0


@pytest.mark.slow
def test_both_ways_agree():
    """The same two-layer network, one kink at a time and all kinks of a step at once."""

    class Hidden(jd.flows.GradientFlow):
        def neurons(self, y):
            return None

    data = jd.data.sinusoid(n=8)
    model = jd.models.TwoLayer(width=12)
    params = model.init(jax.random.key(0))
    found = [jd.solve(kind(model, jd.losses.square, data), params, t1=10.0, rtol=1e-9) for kind in (jd.flows.GradientFlow, Hidden)]
    flat = [np.asarray(ravel_pytree(sol.params)[0]) for sol in found]
    np.testing.assert_allclose(flat[0], flat[1], atol=1e-7)
    gates = [np.asarray(sol.certificate.num_kinks) for sol in found]
    assert gates[0] == gates[1] > 0
