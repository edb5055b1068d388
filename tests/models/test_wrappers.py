"""Centred models and Taylor polynomials of models against their definitions."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.models import MLP, Centred, Network, Taylor, TwoLayer, trainable

X = np.random.default_rng(2).normal(size=(5, 2))


class Quadratic:
    """A network of someone else: f = theta_0 x_0 theta_1, with none of the optional methods."""

    def init(self, key):
        return jr.normal(key, (2,))

    def apply(self, params, x):
        return params[0] * params[1] * jnp.asarray(x)[:, 0]


def moved(params, size=0.3):
    leaves, tree = jax.tree.flatten(params)
    generator = np.random.default_rng(0)
    return tree.unflatten([jnp.asarray(leaf + size * generator.normal(size=leaf.shape)) for leaf in leaves])


@pytest.mark.parametrize("inner", [TwoLayer(6, 2), Quadratic()])
def test_centred_is_the_difference(inner):
    model = Centred(inner, 3.0)
    params = model.init(jr.key(0))
    np.testing.assert_array_equal(model.apply(params, X), 0.0)
    now = moved(params["now"])
    expected = 3.0 * (np.asarray(inner.apply(now, X)) - np.asarray(inner.apply(params["start"], X)))
    assert np.max(np.abs(expected)) > 0.1
    np.testing.assert_allclose(model.apply({"now": now, "start": params["start"]}, X), expected, rtol=1e-12)


def test_centred_trains_now_only():
    model = Centred(TwoLayer(4, 2, trains="ac"))
    none = dict.fromkeys("abc", False)
    assert model.trainable(model.init(jr.key(0))) == {"now": {"a": True, "b": False, "c": True}, "start": none}
    other = Centred(Quadratic())
    assert other.trainable(other.init(jr.key(0))) == {"now": True, "start": False}


def test_centred_offers_what_its_model_offers():
    inner = TwoLayer(4, 2, activation="leaky_relu:0.1")
    model = Centred(inner, 2.0)
    start = model.init(jr.key(0))["start"]
    params = {"now": moved(start), "start": start}
    z = inner.preactivations(params["now"], X)
    np.testing.assert_array_equal(model.preactivations(params, X), z)
    gates = np.random.default_rng(7).uniform(size=z.shape)
    expected = 2.0 * (inner.apply(params["now"], X, gates) - inner.apply(start, X))
    np.testing.assert_allclose(model.apply(params, X, gates), expected, rtol=1e-13)
    assert model.slopes == (0.1, 1.0)

    @jax.jit
    def rates(now):
        field = jax.grad(lambda p: -jnp.sum((model.apply({"now": p, "start": start}, X) - 1.0) ** 2))(now)
        return jax.jvp(lambda p: (model.conserved({"now": p, "start": start}), p["c"] ** 2), (now,), (field,))[1]

    rate, naive = rates(params["now"])
    assert np.max(np.abs(naive)) > 1e-2
    np.testing.assert_allclose(rate, 0.0, atol=1e-12 * float(np.max(np.abs(naive))))
    plain = Centred(Quadratic())
    pair = plain.init(jr.key(0))
    assert plain.slopes is plain.conserved(pair) is plain.preactivations(pair, X) is None


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_error_of_a_taylor_polynomial_is_of_the_next_order(order):
    inner = MLP((4, 3), 2, activation="tanh")
    theta = inner.init(jr.key(0))
    model = Taylor(inner, theta, order)
    np.testing.assert_allclose(model.apply(theta, X), inner.apply(theta, X), rtol=1e-14)
    direction = jax.tree.map(lambda new, old: new - old, moved(theta, 1.0), theta)

    @jax.jit
    def error(size):
        there = jax.tree.map(lambda p, d: p + size * d, theta, direction)
        return jnp.max(jnp.abs(model.apply(there, X) - inner.apply(there, X)))

    sizes = np.array([1e-1, 3e-2, 1e-2])
    slope = np.polyfit(np.log(sizes), np.log([error(size) for size in sizes]), 1)[0]
    assert order + 0.9 < slope < order + 1.1


def test_second_order_against_finite_differences():
    inner = TwoLayer(4, 2, activation="tanh")
    start = inner.init(jr.key(3))
    now, h = moved(start), 1e-3
    f = [np.asarray(inner.apply(jax.tree.map(lambda p, q, s=s: p + s * h * (q - p), start, now), X)) for s in (-2, -1, 0, 1, 2)]
    first = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * h)
    second = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h**2)
    assert np.max(np.abs(second)) > 1e-2
    np.testing.assert_allclose(Taylor(inner, start, 2).apply(now, X), f[2] + first + second / 2, rtol=0, atol=1e-9)


class Cubic:
    """Two outputs of a polynomial: of degree 2 and 3 in the params, with somebody else's nested params."""

    def init(self, key):
        return {"u": jr.normal(key, (2,)), "v": (jr.normal(key, ()),)}

    def apply(self, params, x):
        u, v = params["u"], params["v"][0]
        return jnp.stack([x @ u * v + u[0] ** 2, x @ u * u[1] * v], axis=1)


@pytest.mark.parametrize("own_start", [False, True])
def test_polynomials_are_their_own_from_their_degree_on(own_start):
    inner = Cubic()
    start = inner.init(jr.key(1))
    now = moved(start, 2.0)
    exact = np.asarray(inner.apply(now, X))
    params = {"now": now, "start": start} if own_start else now
    first, second, third = (np.asarray(Taylor(inner, None if own_start else start, k).apply(params, X)) for k in (1, 2, 3))
    np.testing.assert_allclose(second[:, 0], exact[:, 0], rtol=1e-12)
    np.testing.assert_allclose(third, exact, rtol=1e-12)
    assert np.max(np.abs(first - exact), axis=0).min() > 0.1 and np.max(np.abs(second - exact)[:, 1]) > 0.1


@pytest.mark.parametrize("own_start", [False, True])
def test_the_flow_of_a_second_order_model(own_start):
    """A network quadratic in its params flows as its polynomial of order 2 does, from the point and from elsewhere."""
    data = jd.data.points(X, np.array([0.3, -0.2, 0.5, 0.0, 1.0]))
    inner = Quadratic()
    point, start = jnp.array([0.4, -0.3]), jnp.array([0.9, 0.2])
    model = Taylor(inner, None if own_start else point, 2)
    params = {"now": start, "start": point} if own_start else start
    own = jd.solve(jd.flows.GradientFlow(inner, jd.losses.square, data), start, t1=1.0, rtol=1e-10)
    other = jd.solve(jd.flows.GradientFlow(model, jd.losses.square, data), params, t1=1.0, rtol=1e-10)
    end = other.params["now"] if own_start else other.params
    assert np.max(np.abs(own.params - start)) > 0.1
    np.testing.assert_allclose(end, own.params, rtol=1e-8)
    if own_start:
        np.testing.assert_array_equal(other.params["start"], point)


def test_linearised_formula_with_a_kink_and_both_parametrisations():
    inner = TwoLayer(6, 2)
    start = inner.init(jr.key(3))
    now = moved(start)
    jacobian = jax.jit(jax.jacrev(lambda p: inner.apply(p, X)))(start)
    expected = np.asarray(inner.apply(start, X))
    for letter in "abc":
        step = np.asarray(now[letter] - start[letter]).ravel()
        expected = expected + np.asarray(jacobian[letter]).reshape(5, -1) @ step
    np.testing.assert_allclose(Taylor(inner, start).apply(now, X), expected, rtol=1e-12)
    np.testing.assert_allclose(Taylor(inner).apply({"now": now, "start": start}, X), expected, rtol=1e-12)


def test_linearised_kernel_is_constant():
    inner = TwoLayer(6, 2, activation="tanh")
    start = inner.init(jr.key(3))
    model = Taylor(inner, start)

    def kernel(f, p):
        rows = [np.asarray(leaf).reshape(5, -1) for leaf in jax.tree.leaves(jax.jit(jax.jacrev(f))(p))]
        return sum(row @ row.T for row in rows)

    far = moved(start, 2.0)
    own = kernel(lambda p: model.apply(p, X), far)
    np.testing.assert_allclose(own, kernel(lambda p: inner.apply(p, X), start), rtol=1e-11)
    assert np.max(np.abs(own - kernel(lambda p: inner.apply(p, X), far))) > 0.1


def test_linearised_starts():
    inner = Quadratic()
    pair = Taylor(inner).init(jr.key(1))
    np.testing.assert_array_equal(pair["now"], inner.init(jr.key(1)))
    np.testing.assert_array_equal(pair["start"], inner.init(jr.key(1)))
    np.testing.assert_array_equal(Taylor(inner, jnp.ones(2)).init(jr.key(1)), inner.init(jr.key(1)))
    assert Taylor(inner).trainable(pair) == {"now": True, "start": False}
    two = TwoLayer(4, 2, trains="c")
    assert Taylor(two, two.init(jr.key(0))).trainable(two.init(jr.key(1))) == {"a": False, "b": False, "c": True}


def test_trainable_of_any_model():
    assert trainable(Quadratic(), {"u": 1.0, "v": [2.0, 3.0]}) == {"u": True, "v": [True, True]}
    assert trainable(TwoLayer(2, trains="a"), {"a": 1, "b": 2, "c": 3}) == {"a": True, "b": False, "c": False}


@pytest.mark.parametrize("wrapper", [Centred, Taylor])
def test_what_is_no_model_is_refused(wrapper):
    with pytest.raises(ValueError, match=r"must have init\(key\) and apply"):
        wrapper(lambda params, x: x)


@pytest.mark.parametrize("order", [0, -1, 1.5, "two"])
def test_orders_that_are_none(order):
    with pytest.raises(ValueError, match="order must be an integer"):
        Taylor(Quadratic(), None, order)


@pytest.mark.ci_slow
def test_network_scales_its_start_without_compiling_again():
    # f = theta_0 theta_1 x under the square loss at one sample: with theta_0 = theta_1 = u, du/dt = -u (u^2 - 1), so
    # u^2(t) = 1 / (1 + (1/u_0^2 - 1) exp(-2 t))
    traces = []

    def function(params, x):
        traces.append(None)
        return params[0] * params[1] * x[:, 0]

    network = Network(function, lambda key: jnp.ones(2) * (0.5 + jr.uniform(key)))
    flow = jd.flows.GradientFlow(network, jd.losses.square, jd.data.points([1.0], [1.0]))
    how = {"seeds": 2, "t1": 1.0, "record": 2, "progress": False, "rtol": 1e-9, "solver": dfx.Tsit5()}
    scales = [0.1, 0.7]
    ds = jd.sweep(flow, over={"model.init_scale": scales}, **how)
    known = len(traces)
    other = jd.sweep(flow, over={"model.init_scale": [0.2, 1.3]}, **how)
    assert known > 0 and len(traces) == known
    for found, values in ((ds, scales), (other, [0.2, 1.3])):
        for seed in range(2):
            u = np.asarray(values) * float(0.5 + jr.uniform(jr.fold_in(jr.key(0), seed)))
            exact = 1 / np.sqrt(1 + (1 / u**2 - 1) * np.exp(-2.0))
            np.testing.assert_allclose(found["params"].sel(seed=seed).values, np.stack([exact, exact], axis=1), rtol=1e-7)


def test_network_keeps_the_precision_of_its_start():
    start = {"half": jnp.ones(2, jnp.float32), "whole": jnp.ones(3)}
    scaled = Network(lambda params, x: x[:, 0], lambda key: start, init_scale=0.25).init(jr.key(0))
    assert [leaf.dtype for leaf in jax.tree.leaves(scaled)] == [jnp.float32, jnp.float64]
    np.testing.assert_array_equal(scaled["whole"], 0.25)


def test_network_is_a_model_for_the_other_wrappers():
    network = Network(Quadratic().apply, Quadratic().init, init_scale=2.0)
    start = network.init(jr.key(3))
    np.testing.assert_allclose(start, 2.0 * jr.normal(jr.key(3), (2,)))
    now = moved(start)
    expected = Quadratic().apply(now, X) - Quadratic().apply(start, X)
    np.testing.assert_allclose(Centred(network).apply({"now": now, "start": start}, X), expected, rtol=1e-12)
    assert float(jax.grad(lambda s: jnp.sum(Network(Quadratic().apply, lambda key: jnp.ones(2), s).init(jr.key(0))))(2.0)) == 2.0


@pytest.mark.parametrize(("function", "start"), [(Quadratic(), Quadratic().init), (Quadratic().apply, jnp.ones(2))])
def test_network_refuses_what_is_no_function(function, start):
    with pytest.raises(ValueError, match="must be a function"):
        Network(function, start)
