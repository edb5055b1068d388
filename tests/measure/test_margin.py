"""Margins against their definition, and the KKT conditions against scipy and closed forms."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import minimize, nnls

import jaxdyn as jd
from jaxdyn import measure

kkt = eqx.filter_jit(measure.margin_kkt)
RNG = np.random.default_rng(1)
Y = np.array([1, 1, 1, 1, -1, -1, -1.0])
X = np.abs(RNG.normal(size=(7, 4))) * Y[:, None]  # all x_i y_i within 90 degrees of each other
DATA = jd.data.points(X, Y)
MODEL = jd.models.TwoLayer(5, dim=4, bias=False, scaling="one")
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.exponential, DATA)


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def two_classes(shares=(0.36, 0.64)):
    """The limit of the flow: two neurons on the first class, one on the second, two at zero."""
    margins = measure.class_margins(DATA)
    a, c = np.zeros((5, 4)), np.zeros(5)
    for j, (side, share, sign) in enumerate([(margins.positive, s, 1) for s in shares] + [(margins.negative, 1.0, -1)]):
        size = np.sqrt(share / side.margin)
        a[j], c[j] = size * side.direction, sign * size
    return {"a": jnp.asarray(a), "c": jnp.asarray(c)}


def test_a_network_that_is_not_homogeneous_is_refused_with_its_orders():
    model = jd.models.TwoLayer(5, dim=4, bias=False, activation="tanh")
    flow, params = jd.flows.GradientFlow(model, jd.losses.exponential, DATA), model.init(jr.key(0))
    for measured in (
        lambda: measure.normalised_margin(flow, 0.0, params),
        lambda: measure.margin_kkt(flow, params),
        lambda: measure.correlation_kkt(flow, params),
        lambda: measure.correlation_cosine(flow, 0.0, params),
    ):
        with pytest.raises(ValueError, match="not homogeneous in its params: the orders measured on samples lie between"):
            measured()


def test_margin_of_the_unit_direction():
    params = MODEL.init(jr.key(0))
    a, c = (np.asarray(params[k]) / np.linalg.norm(flat(params)) for k in "ac")
    expected = np.min(Y * (np.maximum(X @ a.T, 0) @ c))
    for scale in (1e-200, 1.0, 1e150):
        scaled = jax.tree.map(lambda leaf, scale=scale: scale * leaf, params)
        np.testing.assert_allclose(measure.normalised_margin(FLOW, 0.0, scaled), expected, rtol=1e-12)


@pytest.mark.ci_slow
def test_the_limit_of_two_classes():
    params, margins = two_classes(), measure.class_margins(DATA)
    np.testing.assert_allclose(measure.normalised_margin(FLOW, 0.0, params), margins.two_layer_margin, rtol=1e-12)
    found = kkt(FLOW, params)
    assert found.residual < 1e-14 and 0 <= found.complementarity < 1e-14
    expected = np.concatenate([margins.positive.duals / margins.positive.margin, margins.negative.duals / margins.negative.margin])
    np.testing.assert_allclose(found.duals, expected, atol=1e-12)
    many = jax.jit(jax.vmap(lambda s: measure.margin_kkt(FLOW, jax.tree.map(lambda leaf: s * leaf, params)).residual))
    assert np.all(many(jnp.array([1e-200, 1.0, 1e100])) < 1e-14)
    held = kkt(FLOW, params, duals=7 * expected)
    np.testing.assert_allclose(held.duals, expected, rtol=1e-12)
    assert held.residual < 1e-14


def plain_gap(params, generators, margins):
    """1/2 |w - sum nu v|^2 + 2 sum nu (q - m) over nu >= 0, the square completed for nnls."""
    w = flat(params) / np.linalg.norm(flat(params))
    linear = 2 * (margins - margins.min())
    columns = generators.T
    nu, _ = nnls(columns, w - columns @ np.linalg.solve(columns.T @ columns, linear))
    return np.linalg.norm(w - columns @ nu), linear @ nu, nu


def gradients(params, gates):
    norm = np.linalg.norm(flat(params))
    a, c = (np.asarray(params[k]) / norm for k in "ac")
    z = X @ a.T
    by_a = (gates * c)[:, :, None] * X[:, None, :]
    return Y[:, None] * np.concatenate([by_a.reshape(len(X), -1), np.maximum(z, 0)], axis=1), Y * (np.maximum(z, 0) @ c)


def near(seed, pin=False):
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.05 * rng.normal(size=leaf.shape), two_classes())
    if pin:  # neurons 0 and 3 at zero on a sample each
        for j, i in ((0, 5), (3, 1), (4, 2)):
            params["a"][j] -= (params["a"][j] @ X[i]) * X[i] / (X[i] @ X[i])
    return jax.tree.map(jnp.asarray, params)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_duals_against_scipy(seed):
    params = near(seed)
    found = kkt(FLOW, params)
    rows, margins = gradients(params, X @ np.asarray(params["a"]).T > 0)
    residual, complementarity, nu = plain_gap(params, rows, margins)
    np.testing.assert_allclose(found.residual, residual, rtol=1e-10)
    np.testing.assert_allclose(found.complementarity, complementarity, rtol=1e-9)
    np.testing.assert_allclose(found.duals, nu, atol=1e-10)  # of order 2 they do not depend on the scale


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_free_gates_against_scipy(seed):
    # with one free gate a sample, the generalised gradients are spanned by the gate's two ends
    params = near(seed, pin=True)
    z = X @ np.asarray(params["a"]).T
    z[np.abs(z) < 1e-12] = 0
    ends = []
    for gate in (0.0, 1.0):
        rows, margins = gradients(params, np.where(z == 0, gate, z > 0))
        ends.append(rows)
    pinned = np.any(z == 0, axis=1)
    assert pinned.sum() == 3
    residual, complementarity, nu = plain_gap(
        params, np.concatenate([ends[0], ends[1][pinned]]), np.concatenate([margins, margins[pinned]])
    )
    found = kkt(FLOW, params)
    assert found.num_free == 3
    np.testing.assert_allclose(found.residual, residual, rtol=1e-9)
    np.testing.assert_allclose(found.complementarity, complementarity, rtol=1e-8)
    total = nu[:7].copy()
    total[pinned] += nu[7:]
    np.testing.assert_allclose(found.duals, total, atol=1e-9)
    # a network of two layers by the method for deep ones
    deep = jd.flows.GradientFlow(jd.models.MLP((5,), dim=4), jd.losses.exponential, DATA)
    layers = kkt(deep, [{"w": params["a"]}, {"w": params["c"][None]}])
    np.testing.assert_allclose([layers.residual, layers.complementarity], [residual, complementarity], rtol=1e-7)


@pytest.mark.ci_slow
def test_several_free_gates_of_a_sample():
    # the ends of two gates of one sample are not independent: the same programme by a general method
    params = near(0)
    a = np.array(params["a"])
    for j in (0, 1, 3):
        a[j] -= (a[j] @ X[5]) * X[5] / (X[5] @ X[5])
    params = {"a": jnp.asarray(a), "c": params["c"]}
    z = X @ a.T
    free = np.abs(z) < 1e-12
    pattern = [
        gradients(params, np.where(free, np.array([*bits, 0, 0])[[0, 1, 3, 2, 4]], z > 0)) for bits in itertools.product((0, 1), repeat=3)
    ]
    margins = pattern[0][1]
    rows = np.concatenate([np.delete(pattern[0][0], 5, axis=0), *(one[0][5:6] for one in pattern)])
    linear = 2 * (np.concatenate([np.delete(margins, 5), np.full(8, margins[5])]) - margins.min())
    w = flat(params) / np.linalg.norm(flat(params))
    scale = 5.0

    def gap(nu):
        left = w - scale * nu @ rows
        return left @ left / 2 + scale * linear @ nu, scale * (linear - rows @ left)

    best = minimize(
        gap, np.full(len(rows), 0.1), jac=True, bounds=[(0, None)] * len(rows), method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-12}
    )
    found = kkt(FLOW, params)
    assert found.num_free == 3
    np.testing.assert_allclose(found.residual**2 / 2 + found.complementarity, best.fun, rtol=1e-9)


@pytest.mark.ci_slow
def test_a_kkt_point_on_a_kink():
    # unit samples A, B of one class with A.B = -s: one neuron each, at zero on the other, along A + s B and B + s A; the gates are s
    s = 0.6
    x = np.array([[1.0, 0.0], [-s, 0.8]])
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(2, dim=2, bias=False, scaling="one"), jd.losses.logistic, jd.data.points(x, np.ones(2)))
    params = {"a": jnp.asarray(x + s * x[::-1]), "c": jnp.full(2, np.sqrt(1 - s**2))}
    found = kkt(flow, params)
    assert found.num_free == 2
    assert found.residual < 1e-14 and found.complementarity < 1e-14
    np.testing.assert_allclose(found.gates, [[1, s], [s, 1]], rtol=1e-12)
    np.testing.assert_allclose(found.duals, 1 / np.sqrt(1 - s**2), rtol=1e-12)
    held = kkt(flow, params, duals=jnp.ones(2))
    assert held.residual < 1e-14
    np.testing.assert_allclose(held.gates, [[1, s], [s, 1]], rtol=1e-12)
    assert kkt(flow, params, slots=1).residual > 0.1
    deep = jd.flows.GradientFlow(jd.models.MLP((2,), dim=2), jd.losses.logistic, jd.data.points(x, np.ones(2)))
    layers = kkt(deep, [{"w": params["a"]}, {"w": params["c"][None]}])
    assert layers.residual < 1e-13


@pytest.mark.ci_slow
def test_deep_networks_of_rank_one():
    # a chain of single neurons is the linear problem of one class, of any depth
    x = X[:4]
    side = measure.max_margin(x)
    for depth in (2, 3, 4):
        model = jd.models.MLP((1,) * (depth - 1), dim=4)
        flow = jd.flows.GradientFlow(model, jd.losses.logistic, jd.data.points(x, np.ones(4)))
        params = [{"w": jnp.asarray(side.direction[None])}] + [{"w": jnp.ones((1, 1))}] * (depth - 1)
        found = kkt(flow, params)
        np.testing.assert_allclose(found.margin, side.margin * depth ** (-depth / 2), rtol=1e-12)
        assert found.residual < 1e-13 and found.complementarity < 1e-13
        # stationarity of the last weight r = |theta| / sqrt(L), rescaled: r = sum mu f / r = sum mu / r
        np.testing.assert_allclose(np.sum(found.duals), side.margin ** (-2 / depth), rtol=1e-12)


def test_frozen_output_weights_leave_order_one():
    params = near(0)
    flow = jd.flows.GradientFlow(MODEL, jd.losses.exponential, DATA, frozen=("c",))
    a, c = np.asarray(params["a"]) / np.linalg.norm(params["a"]), np.asarray(params["c"])
    z = X @ a.T
    margins = Y * (np.maximum(z, 0) @ c)
    columns = (Y[:, None] * (((z > 0) * c)[:, :, None] * X[:, None, :]).reshape(7, -1)).T
    linear = margins - margins.min()
    nu, _ = nnls(columns, a.ravel() - columns @ np.linalg.solve(columns.T @ columns, linear))
    found = kkt(flow, params)
    np.testing.assert_allclose(found.margin, margins.min(), rtol=1e-12)
    np.testing.assert_allclose(found.residual, np.linalg.norm(a.ravel() - columns @ nu), rtol=1e-10)
    np.testing.assert_allclose(found.complementarity, linear @ nu, rtol=1e-9)
    np.testing.assert_allclose(found.duals, nu / margins.min(), rtol=1e-9, atol=1e-12)  # for params rescaled to margin 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_free_gates_of_a_deep_network_against_scipy(seed):
    model = jd.models.MLP((4, 3), dim=4)
    flow = jd.flows.GradientFlow(model, jd.losses.exponential, DATA)
    rng = np.random.default_rng(seed)
    up, down = np.ones(4) / 2, -np.ones(4) / 2  # all samples of a class are on one side
    first = np.stack([up, up, down, down]) + 0.2 * rng.normal(size=(4, 4))
    first[1] -= (first[1] @ X[0]) * X[0] / (X[0] @ X[0])
    first[3] -= (first[3] @ X[4]) * X[4] / (X[4] @ X[4])
    second = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0.5, -0.5, 0.3, -0.2]]) + 0.1 * rng.normal(size=(3, 4))
    hidden = np.maximum(X @ first.T, 0)[2]
    second[2] -= (second[2] @ hidden) * hidden / (hidden @ hidden)
    last = np.array([[1.0, -1.0, 0.3]])
    params = [{"w": jnp.asarray(w)} for w in (first, second, last)]
    w = jax.tree.map(lambda leaf: leaf / np.linalg.norm(flat(params)), params)
    z = model.preactivations(w, jnp.asarray(X))
    free = [np.argwhere(np.abs(leaf) < 1e-14) for leaf in z]
    number = sum(map(len, free))
    margins = Y * model.apply(w, jnp.asarray(X))
    assert margins.min() > 0 and number >= 3

    @jax.jit
    @jax.value_and_grad
    def gap(values):
        nu, g = 3 * values[:7], values[7:]
        gates = [(leaf > 0).astype(float) for leaf in z]
        gates[0] = gates[0].at[tuple(free[0].T)].set(g[: len(free[0])])
        gates[1] = gates[1].at[tuple(free[1].T)].set(g[len(free[0]) :])
        pulled = jax.grad(lambda w: (nu * Y) @ model.apply(w, jnp.asarray(X), tuple(gates)))(w)
        left = jax.tree.map(jnp.subtract, w, pulled)
        return sum(jnp.sum(leaf["w"] ** 2) for leaf in left) / 2 + 3 * nu @ (margins - margins.min())

    best = minimize(
        lambda v: tuple(map(np.asarray, gap(v))),
        np.full(7 + number, 0.5),
        jac=True,
        bounds=[(0, None)] * 7 + [(0, 1)] * number,
        method="L-BFGS-B",
        options={"ftol": 0, "gtol": 1e-11, "maxiter": 5000, "maxfun": 20000},
    )
    found = kkt(flow, params)
    assert found.num_free == number
    np.testing.assert_allclose(found.residual**2 / 2 + found.complementarity, best.fun, rtol=1e-7)


def test_unseparated_samples_and_misuse():
    params = {**two_classes(), "c": -two_classes()["c"]}
    found = kkt(FLOW, params)
    assert found.margin <= 0 and np.isnan(found.residual) and np.isnan(found.complementarity)
    other = jd.flows.GradientFlow(MODEL, jd.losses.square, jd.data.points(X, 2 * Y))
    with pytest.raises(ValueError, match="two classes"):
        measure.normalised_margin(other, 0.0, params)
    with pytest.raises(ValueError, match="one number a sample"):
        measure.margin_kkt(FLOW, params, duals=jnp.ones(3))
