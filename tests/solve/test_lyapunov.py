"""Finite-time Lyapunov exponents against eigenvalues, singular values of the tangent flow, and Liouville's formula."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import FormulaFlow, LinearFlow
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from test_tangents import RELU, TANH, at_end, rows

import jaxdyn as jd
from jaxdyn.solve.lyapunov import graded_singular_values, orthonormalised

pytestmark = pytest.mark.ci_slow


def linear(eigenvalues, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return LinearFlow(jnp.asarray(basis @ np.diag(eigenvalues) @ basis.T)), basis


@pytest.mark.parametrize("rests", [True, False])
def test_a_linear_flow_over_two_thousand_e_folds(rests):
    """Minus the Hessian's eigenvalues, where D phi itself has long been under- and overflown."""
    eigenvalues = np.array([-30.0, -3.0, 0.0, 0.5, 0.5, 200.0])
    flow, basis = linear(eigenvalues)
    start = jnp.zeros(6) if rests else jnp.asarray(basis[:, 5])
    found = jd.lyapunov_exponents(flow, start, 10.0, rtol=1e-9, norm_bound=1e200)  # rounding grows by e^300
    assert found.outcome == jd.Outcome.t1_reached
    np.testing.assert_allclose(found.exponents, -eigenvalues, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(np.abs(found.directions @ basis)[[0, 1, 2, 5]], np.eye(6)[[0, 1, 2, 5]], atol=1e-6)


def test_a_rotation_neither_grows_nor_shrinks():
    found = jd.lyapunov_exponents(FormulaFlow("rotation"), {"y": jnp.asarray([1.0, 0.0])}, 20.0, rtol=1e-9)
    np.testing.assert_allclose(found.exponents, 0.0, atol=1e-8)


@pytest.mark.parametrize("flow", [TANH, pytest.param(RELU, marks=pytest.mark.slow)], ids=["tanh", "relu"])
def test_all_exponents_of_a_network(flow):
    """Singular values and vectors of D phi, where these can be had; kinks included."""
    start = flow.init(jr.key(3))
    flat, unravel = ravel_pytree(start)
    sol, pushed = jd.tangents(flow, start, jax.vmap(unravel)(jnp.eye(flat.size)), 2.0, record=2, rtol=1e-9)
    matrix = at_end(pushed).T
    values = np.linalg.svd(matrix)[1]
    found = jd.lyapunov_exponents(flow, start, 2.0, rtol=1e-9)
    assert (int(sol.certificate.num_kinks) > 0) == (flow is RELU)
    alive = values > 1e-9 * values[0]
    np.testing.assert_allclose(found.exponents[alive], np.log(values[alive]) / 2.0, atol=1e-6)
    turned = rows(found.directions)
    np.testing.assert_allclose(turned @ turned.T, np.eye(flat.size), atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(matrix @ turned.T, axis=0)[alive], values[alive], rtol=1e-6)


def test_their_sum_is_minus_the_integral_of_the_trace():
    start = TANH.init(jr.key(1))
    flat, unravel = ravel_pytree(start)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    ts = 2.0 * (nodes + 1)
    sol = jd.solve(TANH, start, 4.0, record=[*ts, 4.0], rtol=1e-10)
    hessian = jax.jit(jax.vmap(lambda y: jnp.trace(jax.hessian(lambda y: TANH.loss(unravel(y)))(y))))
    trace = 2.0 * weights @ np.asarray(hessian(rows(sol.states))[:-1])
    found = jd.lyapunov_exponents(TANH, start, 4.0, rtol=1e-9)
    np.testing.assert_allclose(4.0 * jnp.sum(found.exponents), -trace, rtol=1e-7)


def test_escape_from_a_saddle():
    """At f = a b = 0 with target 1 the Hessian is -[[0, 1], [1, 0]]; on the way to the minimum what has grown shrinks again."""

    def product(params, x):
        return params["a"] * params["b"] * x[:, 0]

    flow = jd.flows.GradientFlow(product, jd.losses.square, jd.data.points([[1.0]], [1.0]))
    tiny = {"a": jnp.asarray(1e-8), "b": jnp.asarray(1e-8)}
    here = jd.lyapunov_exponents(flow, tiny, 10.0, rtol=1e-9)
    np.testing.assert_allclose(here.exponents, [1.0, -1.0], atol=1e-7)
    np.testing.assert_allclose(np.abs(rows(here.directions)[0]), np.sqrt([0.5, 0.5]), atol=1e-6)
    u = 1e-4
    later = jd.lyapunov_exponents(flow, {"a": jnp.asarray(u), "b": jnp.asarray(u)}, 100.0, rtol=1e-9)
    # along the diagonal a = b = u the tangent is the velocity u (1 - u^2), at the end over that at the start
    log_c = np.log(u) - 0.5 * np.log1p(-(u**2)) + 100.0  # u = (1 + exp(-2 log_c))^(-1/2) at the end
    grown = -2 * log_c - 1.5 * np.log1p(np.exp(-2 * log_c)) - np.log(u * (1 - u**2))
    np.testing.assert_allclose(float(later.exponents[1]), grown / 100.0, atol=1e-6)


def test_fewer_exponents_are_lower_bounds_that_tighten():
    flow, _ = linear([-2.0, -1.0, 1.0, 3.0, 4.0])
    exact = np.array([2.0, 1.0])
    missing = []
    for t1 in (4.0, 8.0):
        found = jd.lyapunov_exponents(flow, jnp.zeros(5), t1, count=2, rtol=1e-9, key=jr.key(4))
        missing.append(exact - np.asarray(found.exponents))
    assert np.all(np.array(missing) > 0)
    np.testing.assert_allclose(missing[1], missing[0] / 2, rtol=0.05)


@pytest.mark.slow
def test_a_sliding_neuron_loses_a_direction():
    """|w| pushed to the surface w.x = 0 and held there: the map forgets where it came from."""
    model = jd.models.TwoLayer(1, dim=2, bias=False)
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points([[1.0, 0.0], [0.0, 1.0]], [-1.0, 0.5]))
    start = {"a": jnp.asarray([[0.3, 1.0]]), "c": jnp.asarray([0.8])}
    found = jd.lyapunov_exponents(flow, start, 3.0)
    assert np.isneginf(found.exponents).tolist() == [False, False, True]
    sol, pushed = jd.tangents(flow, start, found.directions, 3.0, record=2)
    assert int(sol.certificate.num_slides) == 1
    np.testing.assert_allclose(np.linalg.norm(at_end(pushed), axis=1), np.exp(3.0 * np.asarray(found.exponents)), atol=1e-5)


def test_vmap_over_seeds_and_early_ends():
    starts = jax.vmap(TANH.init)(jr.split(jr.key(0), 2))
    together = jax.vmap(lambda start: jd.lyapunov_exponents(TANH, start, 1.0, count=2).exponents)(starts)
    for k in range(2):
        alone = jd.lyapunov_exponents(TANH, jax.tree.map(lambda leaf, k=k: leaf[k], starts), 1.0, count=2).exponents
        np.testing.assert_allclose(together[k], alone, rtol=1e-9)
    early = jd.lyapunov_exponents(LinearFlow(-jnp.eye(2)), jnp.ones(2), 50.0)
    assert early.outcome == jd.Outcome.diverged and np.all(np.isnan(early.exponents))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from([2, 6]), st.integers(0, 10**6), st.floats(0.0, 12.0))
def test_singular_values_of_graded_matrices(size, seed, spread):
    rng = np.random.default_rng(seed)
    shape = np.triu(rng.normal(size=(size, size)), 1) * 0.5 + np.eye(size)
    logs = np.sort(rng.uniform(-spread / 2, spread / 2, size))[::-1]
    found, right = jax.jit(graded_singular_values)(jnp.asarray(logs - 5000.0), jnp.asarray(shape))
    _, values, vectors = np.linalg.svd(np.exp(logs)[:, None] * shape)
    order = np.argsort(-np.asarray(found))
    np.testing.assert_allclose(np.asarray(found)[order], np.log(values) - 5000.0, atol=1e-8)
    gaps = np.diff(np.log(values))
    if np.abs(gaps).min() > 1e-2:
        np.testing.assert_allclose(np.abs(np.asarray(right)[order] @ vectors.T), np.eye(size), atol=1e-6)


def test_lost_directions_stay_lost():
    vectors = jnp.asarray([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    change, triangle = orthonormalised(vectors)
    rows = change @ vectors
    np.testing.assert_allclose(rows @ rows.T, np.diag([1.0, 0.0, 1.0]), atol=1e-15)
    np.testing.assert_allclose(triangle.T @ rows, vectors, atol=1e-15)


def test_misuse():
    flow = LinearFlow(jnp.eye(2))
    with pytest.raises(ValueError, match="from 1 to 2"):
        jd.lyapunov_exponents(flow, jnp.ones(2), 1.0, count=3)
    with pytest.raises(ValueError, match="name an explicit solver"):
        jd.lyapunov_exponents(flow, jnp.ones(2), 1.0, solver=jd.KernelExponential())
