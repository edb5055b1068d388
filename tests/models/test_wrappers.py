"""Centred and linearised models against their definitions."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxdyn.models import MLP, Centred, Linearised, TwoLayer, trainable

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


def test_linearised_is_first_order():
    inner = MLP((4, 3), 2, activation="tanh")
    theta = inner.init(jr.key(0))
    model = Linearised(inner, theta)
    np.testing.assert_allclose(model.apply(theta, X), inner.apply(theta, X), rtol=1e-14)
    sizes, errors = np.array([1e-1, 1e-2, 1e-3]), []
    direction = jax.tree.map(lambda new, old: new - old, moved(theta, 1.0), theta)
    for size in sizes:
        there = jax.tree.map(lambda p, d, size=size: p + size * d, theta, direction)
        errors.append(np.max(np.abs(model.apply(there, X) - inner.apply(there, X))))
    order = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert 1.9 < order < 2.1


def test_linearised_formula_with_a_kink_and_both_parametrisations():
    inner = TwoLayer(6, 2)
    start = inner.init(jr.key(3))
    now = moved(start)
    jacobian = jax.jit(jax.jacrev(lambda p: inner.apply(p, X)))(start)
    expected = np.asarray(inner.apply(start, X))
    for letter in "abc":
        step = np.asarray(now[letter] - start[letter]).ravel()
        expected = expected + np.asarray(jacobian[letter]).reshape(5, -1) @ step
    np.testing.assert_allclose(Linearised(inner, start).apply(now, X), expected, rtol=1e-12)
    np.testing.assert_allclose(Linearised(inner).apply({"now": now, "start": start}, X), expected, rtol=1e-12)


def test_linearised_kernel_is_constant():
    inner = TwoLayer(6, 2, activation="tanh")
    start = inner.init(jr.key(3))
    model = Linearised(inner, start)

    def kernel(f, p):
        rows = [np.asarray(leaf).reshape(5, -1) for leaf in jax.tree.leaves(jax.jit(jax.jacrev(f))(p))]
        return sum(row @ row.T for row in rows)

    far = moved(start, 2.0)
    own = kernel(lambda p: model.apply(p, X), far)
    np.testing.assert_allclose(own, kernel(lambda p: inner.apply(p, X), start), rtol=1e-11)
    assert np.max(np.abs(own - kernel(lambda p: inner.apply(p, X), far))) > 0.1


def test_linearised_starts():
    inner = Quadratic()
    pair = Linearised(inner).init(jr.key(1))
    np.testing.assert_array_equal(pair["now"], inner.init(jr.key(1)))
    np.testing.assert_array_equal(pair["start"], inner.init(jr.key(1)))
    np.testing.assert_array_equal(Linearised(inner, jnp.ones(2)).init(jr.key(1)), inner.init(jr.key(1)))
    assert Linearised(inner).trainable(pair) == {"now": True, "start": False}
    two = TwoLayer(4, 2, trains="c")
    assert Linearised(two, two.init(jr.key(0))).trainable(two.init(jr.key(1))) == {"a": False, "b": False, "c": True}


def test_trainable_of_any_model():
    assert trainable(Quadratic(), {"u": 1.0, "v": [2.0, 3.0]}) == {"u": True, "v": [True, True]}
    assert trainable(TwoLayer(2, trains="a"), {"a": 1, "b": 2, "c": 3}) == {"a": True, "b": False, "c": False}


@pytest.mark.parametrize("wrapper", [Centred, Linearised])
def test_what_is_no_model_is_refused(wrapper):
    with pytest.raises(ValueError, match=r"must have init\(key\) and apply"):
        wrapper(lambda params, x: x)
