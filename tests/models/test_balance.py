"""The balanced split against 80 digits, balanced layers against a minimiser of the weights' squares."""

import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdyn.models import MLP, balanced_layers, balanced_split

DELTAS = st.one_of(st.just(0.0), st.floats(1e-12, 1e6), st.floats(-1e6, -1e-12))
PRODUCTS = st.one_of(st.floats(1e-12, 1e4), st.floats(-1e4, -1e-12))


def exactly(product, delta, degree):
    with mpmath.workdps(80):
        root = mpmath.sqrt(mpmath.mpf(delta) ** 2 + 4 * degree * mpmath.mpf(product) ** 2)
        return float(mpmath.sqrt((root + delta) / 2 / degree)), float(mpmath.sqrt((root - delta) / 2))


@settings(max_examples=150, deadline=None)
@given(PRODUCTS, DELTAS, st.sampled_from([1, 2, 5]))
def test_split_solves_both_equations_to_full_relative_accuracy(product, delta, degree):
    c, w = map(float, balanced_split(product, delta, degree))
    np.testing.assert_allclose((c, w), exactly(product, delta, degree), rtol=4e-15)


def test_float32_does_not_lose_small_products():
    c, w = balanced_split(jnp.float32(1e-24), 0.0)
    assert c.dtype == w.dtype == jnp.float32
    np.testing.assert_allclose([c, w], 1e-12, rtol=1e-6)


def test_one_of_the_two_may_vanish():
    np.testing.assert_allclose(balanced_split(0.0, 8.0, 2), (2.0, 0.0), rtol=1e-15)
    np.testing.assert_allclose(balanced_split(0.0, -9.0, 2), (0.0, 3.0), rtol=1e-15)
    np.testing.assert_array_equal(balanced_split(0.0, 0.0, 2), (0.0, 0.0))


def test_derivatives():
    for degree in (1, 3):
        jacobian = jax.jit(jax.jacrev(lambda q, degree=degree: jnp.stack(balanced_split(q[0], q[1], degree))))
        for delta in (-2.0, 0.0, 0.7):
            for product in (-0.3, 0.8):
                got = jacobian(jnp.array([product, delta]))
                h = 1e-6
                for k, step in enumerate(((h, 0.0), (0.0, h))):
                    above = np.array(exactly(product + step[0], delta + step[1], degree))
                    below = np.array(exactly(product - step[0], delta - step[1], degree))
                    np.testing.assert_allclose(got[:, k], (above - below) / (2 * h), rtol=1e-7, atol=1e-9)


def test_derivatives_are_finite_where_nothing_is_to_be_split():
    got = jax.jit(jax.jacrev(lambda q: jnp.stack(balanced_split(q[0], q[1]))))(jnp.zeros(2))
    assert jnp.all(jnp.isfinite(got))


def drawn(widths, dim=3, outputs=1, bias=False, seed=0):
    generator = np.random.default_rng(seed)
    sizes = (dim, *widths, outputs)
    layers = [{"w": generator.normal(size=(m, k)), "b": generator.normal(size=m)} for k, m in zip(sizes[:-1], sizes[1:], strict=True)]
    return [{name: jnp.asarray(layer[name]) for name in ("w", "b") if bias or name == "w"} for layer in layers]


@pytest.mark.parametrize(
    ("widths", "name"),
    [
        ((7,), "leaky_relu:0.3"),
        ((100, 30), "relu"),
        ((6, 1, 8), "relu"),
        ((6, 1, 8), "leaky_relu:0.3"),
        ((5,), "relu^2"),
        ((8, 9, 7), "relu^2"),
    ],
)
def test_balanced_starts_conserve_zero_and_compute_what_was_drawn(widths, name):
    x = np.random.default_rng(0).normal(size=(9, 5))
    options = {"bias": True, "activation": name, "init_scale": 0.3, "output_multiplier": 2.0, "outputs": 2}
    plain, balanced = MLP(widths, 5, **options), MLP(widths, 5, **options, balanced=True)
    draw, params = plain.init(jr.key(4)), jax.jit(lambda key: balanced.init(key))(jr.key(4))
    entering = np.concatenate([np.sum(np.asarray(layer["w"]) ** 2, axis=1) for layer in params[:-1]])
    assert np.max(np.abs(plain.conserved(draw))) > 0.01 * entering.max()
    np.testing.assert_array_less(np.abs(balanced.conserved(params)), 1e-12 * entering)
    expected = plain.apply(draw, x)
    np.testing.assert_allclose(balanced.apply(params, x), expected, rtol=1e-12, atol=1e-12 * np.max(np.abs(expected)))


@pytest.mark.parametrize(("degree", "bias"), [(1, False), (1, True), (3, True)])
def test_balanced_layers_have_the_least_squares_of_all_rescalings(degree, bias):
    widths = (4, 3, 2)
    params = drawn(widths, bias=bias, seed=degree)
    ends = np.cumsum(widths)[:-1]

    def rescaled_squares(logs):
        scales = [np.ones(3), *np.split(np.exp(logs), ends), np.ones(1)]
        total = 0.0
        for layer, before, after in zip(params, scales[:-1], scales[1:], strict=True):
            total += np.sum((after[:, None] * np.asarray(layer["w"]) / before**degree) ** 2)
            total += np.sum((after * np.asarray(layer["b"])) ** 2) if bias else 0.0
        return total

    least = scipy.optimize.minimize(rescaled_squares, np.zeros(sum(widths)), method="BFGS", options={"gtol": 1e-7}).fun
    balanced = balanced_layers(params, degree)
    got = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(balanced))
    assert least < 0.95 * rescaled_squares(np.zeros(sum(widths)))
    np.testing.assert_allclose(got, least, rtol=1e-10)
    activation = "relu" if degree == 1 else f"relu^{degree}"
    model = MLP(widths, 3, bias, activation)
    x = np.random.default_rng(1).normal(size=(8, 3))
    np.testing.assert_allclose(model.apply(balanced, x), model.apply(params, x), rtol=1e-11)
    np.testing.assert_allclose(model.conserved(balanced), 0.0, atol=1e-12 * got)


def test_balanced_layers_of_many_weights_apart_and_in_float32():
    params = [{"w": layer["w"] * 10.0 ** (3 * (-1) ** k)} for k, layer in enumerate(drawn((20, 20, 20, 20)))]
    entering = lambda tree: np.concatenate([np.sum(np.asarray(layer["w"]) ** 2, axis=1) for layer in tree[:-1]])  # noqa: E731
    balanced = balanced_layers(params)
    np.testing.assert_array_less(np.abs(MLP((20,) * 4, 3).conserved(balanced)), 1e-12 * entering(balanced))
    single = balanced_layers(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    assert single[0]["w"].dtype == jnp.float32
    np.testing.assert_array_less(np.abs(MLP((20,) * 4, 3).conserved(single)), 1e-4 * entering(single))
    np.testing.assert_allclose(single[2]["w"], balanced[2]["w"], rtol=1e-4)


@pytest.mark.ci_slow
def test_balanced_starts_under_vmap_and_in_the_init_scale():
    model = MLP((8, 5), 4, activation="relu^2", balanced=True)
    many = jax.vmap(model.init)(jr.split(jr.key(0), 3))
    alone = model.init(jr.split(jr.key(0), 3)[1])
    for got, expected in zip(many, alone, strict=True):
        np.testing.assert_allclose(got["w"][1], expected["w"], rtol=1e-12)
    # Every weight is proportional to the init scale, which reverse mode must see through the passes.
    size = lambda scale: jnp.sum(MLP((8, 5), 4, balanced=True, init_scale=scale).init(jr.key(1))[1]["w"] ** 2)  # noqa: E731
    np.testing.assert_allclose(jax.grad(size)(0.5), 2 * size(0.5) / 0.5, rtol=1e-12)
    assert size(0.0) == 0.0
    tangent = jax.jvp(lambda c: balanced_layers([{"w": c * leaf["w"]} for leaf in alone])[1]["w"], (1.0,), (1.0,))[1]
    np.testing.assert_allclose(tangent, balanced_layers(alone)[1]["w"], rtol=1e-9)


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(ValueError, match="homogeneous activation such as relu, not tanh"):
        MLP((3,), activation="tanh", balanced=True)
    params = drawn((3, 2))
    params[1]["w"] = params[1]["w"].at[:, 1].set(0.0)
    with pytest.raises(ValueError, match="hidden layer 1 has a neuron without weights in or out"):
        balanced_layers(params)
    linear = drawn(())
    np.testing.assert_array_equal(balanced_layers(linear)[0]["w"], linear[0]["w"])
