"""Deep networks against loops, and their balance along the gradient."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxdyn.models import MLP, TwoLayer

X = np.random.default_rng(1).normal(size=(6, 3))
Y = np.sin(np.arange(6.0))


def params_of(model, seed=0):
    """Params of the shapes of a start, with biases: the start's own are zero and would hide them."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jr.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape)), shapes)


def by_loops(params, x, act):
    out = []
    for row in x:
        h = row
        for k, layer in enumerate(params):
            w, b = np.asarray(layer["w"]), np.asarray(layer.get("b", np.zeros(len(layer["w"]))))
            h = np.array([sum(w[i, j] * h[j] for j in range(len(h))) + b[i] for i in range(len(w))])
            if k < len(params) - 1:
                h = act(h)
        out.append(h[0])
    return np.array(out)


@pytest.mark.parametrize(
    ("widths", "bias", "name", "act"),
    [
        ((), True, "relu", None),
        ((4,), False, "tanh", np.tanh),
        ((5, 4), True, "leaky_relu:0.2^2", lambda z: np.where(z > 0, z, 0.2 * z) ** 2),
        ((3, 2, 4), False, "relu", lambda z: np.maximum(z, 0.0)),
    ],
)
def test_formula(widths, bias, name, act):
    model = MLP(widths, 3, bias, name, output_multiplier=0.3)
    params = params_of(model, 0)
    np.testing.assert_allclose(model.apply(params, X), 0.3 * by_loops(params, X, act), rtol=1e-11, atol=1e-14)


def test_start_has_variance_one_over_fan_in_and_no_bias():
    params = jax.jit(lambda key: MLP((300, 200), 50, True, init_scale=0.7).init(key))(jr.key(0))
    for layer, fan_in in zip(params, (50, 300, 200), strict=True):
        scaled = np.asarray(layer["w"]).ravel() * fan_in**0.5 / 0.7
        assert abs(scaled.std() - 1) < 4 / (2 * scaled.size) ** 0.5
        assert abs(scaled.mean()) < 4 / scaled.size**0.5
        np.testing.assert_array_equal(layer["b"], 0.0)


def test_agrees_with_two_layer():
    two = TwoLayer(5, 3, scaling="one")
    params = two.init(jr.key(0))
    deep = [{"w": params["a"], "b": -params["b"]}, {"w": params["c"][None, :], "b": jnp.zeros(1)}]
    model = MLP((5,), 3, True)
    np.testing.assert_allclose(model.apply(deep, X), two.apply(params, X), rtol=1e-12)
    np.testing.assert_allclose(model.preactivations(deep, X)[0], two.preactivations(params, X), rtol=1e-12)
    np.testing.assert_allclose(model.conserved(deep), two.conserved(params), rtol=1e-12)


@pytest.mark.parametrize("name", ["relu", "leaky_relu:0.3^3"])
@pytest.mark.parametrize("bias", [True, False])
def test_conserved_along_the_gradient(name, bias):
    model = MLP((5, 4, 3), 3, bias, name, output_multiplier=0.7)
    params = params_of(model, 3)

    @jax.jit
    def rates(params):
        field = jax.grad(lambda p: -0.5 * jnp.sum((model.apply(p, X) - Y) ** 2))(params)
        outer = lambda p: jnp.concatenate([jnp.sum(layer["w"] ** 2, axis=0) for layer in p[1:]])  # noqa: E731
        return jax.jvp(lambda p: (model.conserved(p), outer(p)), (params,), (field,))[1]

    rate, outer = rates(params)
    assert np.max(np.abs(outer)) > 1e-2
    np.testing.assert_allclose(rate, 0.0, atol=1e-12 * float(np.max(np.abs(outer))))


def test_nothing_is_declared_conserved_where_nothing_is():
    for model in (MLP((4,), 2, activation="gelu"), MLP((), 2)):
        assert model.conserved(params_of(model)) is None


def test_gates_replace_the_slopes_in_every_layer():
    model = MLP((5, 4), 3, True, "leaky_relu:0.2")
    params = params_of(model, 5)
    own = tuple((z > 0).astype(float) for z in model.preactivations(params, X))
    np.testing.assert_allclose(model.apply(params, X, own), model.apply(params, X), rtol=1e-12)
    gates = tuple(np.random.default_rng(k).uniform(size=g.shape) for k, g in enumerate(own))
    h, zs = X, []
    for layer, gate in zip(params[:-1], gates, strict=True):
        zs.append(h @ np.asarray(layer["w"]).T + np.asarray(layer["b"]))
        h = zs[-1] * (0.2 + 0.8 * np.asarray(gate))
    expected = h @ np.asarray(params[-1]["w"])[0] + np.asarray(params[-1]["b"])
    np.testing.assert_allclose(model.apply(params, X, gates), expected, rtol=1e-12)
    for got, z in zip(model.preactivations(params, X, gates), zs, strict=True):
        np.testing.assert_allclose(got, z, rtol=1e-12)
    with pytest.raises(ValueError, match="one array a hidden layer"):
        model.apply(params, X, gates[:1])


def test_trainable_and_slopes():
    model = MLP((2,), 1, True)
    assert model.trainable(params_of(model)) == [{"w": True, "b": True}] * 2
    assert model.slopes == (0.0, 1.0)
    assert MLP((2,), activation="tanh").slopes is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": (4, -1)}, "at least 1"),
        ({"widths": 4}, "tuple of hidden widths"),
        ({"dim": 0}, "dim must be"),
        ({"init_scale": -1.0}, "not negative"),
        ({"output_multiplier": float("inf")}, "finite"),
        ({"activation": "swish"}, "known ones"),
    ],
)
def test_misuse_names_the_mend(options, words):
    with pytest.raises(ValueError, match=words):
        MLP(**{"widths": (4,), **options})


def test_params_of_another_depth_are_refused():
    with pytest.raises(ValueError, match="3 layers"):
        MLP((4, 4), 3).apply(params_of(MLP((4,), 3)), X)
