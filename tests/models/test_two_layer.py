"""Two-layer networks against loops, their starts against the declared laws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdyn.models import TwoLayer

X = np.random.default_rng(0).normal(size=(7, 3))


def by_loops(params, x, act, alpha, multiplier):
    a, b, c = (np.asarray(params[k]) if k in params else None for k in "abc")
    out = np.zeros(len(x))
    for j in range(len(x)):
        for i in range(len(c)):
            z = sum(a[i, k] * x[j, k] for k in range(x.shape[1])) - (0.0 if b is None else b[i])
            out[j] += c[i] * act(z)
    return multiplier / alpha * out


@pytest.mark.parametrize(("scaling", "alpha"), [("one", 1.0), ("sqrt", 5**0.5), ("linear", 5.0)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "act"), [("relu^2", lambda z: max(z, 0.0) ** 2), ("leaky_relu:0.3", lambda z: z if z > 0 else 0.3 * z)])
def test_formula(scaling, alpha, bias, name, act):
    model = TwoLayer(5, 3, bias, name, scaling, output_multiplier=1.7)
    params = model.init(jr.key(1))
    assert set(params) == set("abc" if bias else "ac")
    expected = by_loops(params, X, act, alpha, 1.7)
    np.testing.assert_allclose(model.apply(params, X), expected, rtol=1e-12, atol=1e-14)


def test_free_start_has_the_declared_variances():
    model = TwoLayer(20_000, 2, init_scale=0.5, scale_a=2.0, scale_b=0.1, scale_c=3.0)
    params = model.init(jr.key(0))
    for leaf, scale in (("a", 1.0), ("b", 0.05), ("c", 1.5)):
        draws = np.asarray(params[leaf]).ravel()
        assert abs(draws.mean()) < 4 * scale / draws.size**0.5
        assert abs(draws.std() / scale - 1) < 4 / (2 * draws.size) ** 0.5
        assert abs((draws**4).mean() / scale**4 - 3) < 4 * (96 / draws.size) ** 0.5  # A Gaussian's fourth moment.
    correlation = np.corrcoef(params["b"], params["c"])[0, 1]
    assert abs(correlation) < 4 / 20_000**0.5


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.one_of(st.just(0.0), st.floats(-1e3, 1e3)),
    st.floats(1e-6, 1e2),
    st.sampled_from([("relu", 1), ("leaky_relu:0.2", 1), ("relu^3", 3)]),
    st.booleans(),
)
def test_balanced_start(seed, delta, init_scale, named_degree, bias):
    name, degree = named_degree
    free = TwoLayer(6, 2, bias, name, init_scale=init_scale, scale_b=0.3)
    balanced = TwoLayer(6, 2, bias, name, balanced=True, delta=delta, init_scale=init_scale, scale_b=0.3)
    was, now = free.init(jr.key(seed)), balanced.init(jr.key(seed))
    inner = [np.column_stack([p[letter] for letter in ("a", "b") if letter in p]) for p in (was, now)]
    norms = [np.linalg.norm(w, axis=1) for w in inner]
    largest = degree * np.asarray(now["c"]) ** 2 + norms[1] ** 2
    np.testing.assert_array_less(np.abs(balanced.conserved(now) - delta), 1e-14 * largest + 1e-300)
    np.testing.assert_allclose(now["c"] * norms[1], was["c"] * norms[0], rtol=1e-12)
    np.testing.assert_allclose(inner[1] / norms[1][:, None], inner[0] / norms[0][:, None], rtol=1e-12)
    # Degree 1 in w scales out: the function of a piecewise linear network is untouched by the new split.
    if degree == 1:
        x = X[:, :2]
        np.testing.assert_allclose(balanced.apply(now, x), free.apply(was, x), rtol=1e-9, atol=1e-12 * init_scale**2)


def test_balanced_start_is_differentiable_in_its_scales():
    model = TwoLayer(4, 2, balanced=True)

    def start(leaves):
        where = lambda m: (m.delta, m.init_scale, m.scale_a, m.scale_b, m.scale_c)  # noqa: E731
        params = eqx.tree_at(where, model, tuple(leaves)).init(jr.key(3))
        return jnp.concatenate([params["a"].ravel(), params["b"], params["c"]])

    jacobian, start, h = jax.jit(jax.jacfwd(start)), jax.jit(start), 1e-6
    for delta in (-1.5, 0.0, 2.0):
        values = np.array([delta, 0.8, 1.1, 0.9, 1.2])
        got = jacobian(values)
        for k, step in enumerate(h * np.eye(5)):
            expected = (start(values + step) - start(values - step)) / (2 * h)
            np.testing.assert_allclose(got[:, k], expected, rtol=1e-6, atol=1e-8)


def test_balanced_start_without_output_keeps_its_directions():
    params = TwoLayer(6, 2, balanced=True, delta=-4.0, init_scale=0.0).init(jr.key(0))
    free = TwoLayer(6, 2).init(jr.key(0))
    np.testing.assert_array_equal(params["c"], 0.0)
    inner, was = (np.column_stack([p["a"], p["b"]]) for p in (params, free))
    np.testing.assert_allclose(inner, 2.0 * was / np.linalg.norm(was, axis=1)[:, None], rtol=1e-13)


@pytest.mark.parametrize("extra", [{"balanced": True, "delta": -0.5}, {"knots": (-1.0, 1.0)}])
def test_antisymmetric_start_is_zero(extra):
    dim = 1 if "knots" in extra else 3
    model = TwoLayer(10, dim, antisymmetric=True, **extra)
    half = TwoLayer(5, dim, **extra)
    params, first = model.init(jr.key(2)), half.init(jr.key(2))
    for letter in "abc":
        sign = -1.0 if letter == "c" else 1.0
        np.testing.assert_array_equal(params[letter], np.concatenate([first[letter], sign * first[letter]]))
    assert np.max(np.abs(half.apply(first, X[:, :dim]))) > 0.1
    np.testing.assert_allclose(model.apply(params, X[:, :dim]), 0.0, atol=1e-14)


def test_a_committee_votes_alternately():
    params = TwoLayer(5, 3, False, trains="a", committee=True, alternating=True, scale_c=2.0, init_scale=0.1).init(jr.key(2))
    np.testing.assert_array_equal(params["c"], [2.0, -2.0, 2.0, -2.0, 2.0])
    plain = TwoLayer(5, 3, False, trains="a", committee=True, scale_c=2.0, init_scale=0.1).init(jr.key(2))
    np.testing.assert_array_equal(params["a"], plain["a"])
    np.testing.assert_array_equal(plain["c"], 2.0)


@pytest.mark.parametrize("balanced", [False, True])
def test_knots_are_uniform(balanced):
    model = TwoLayer(20_000, scale_a=2.0, init_scale=0.5, scale_b=77.0, knots=(-3.0, 1.0), balanced=balanced, delta=-float(balanced))
    params = model.init(jr.key(5))
    a = np.asarray(params["a"][:, 0])
    knots = np.sort(params["b"] / a)
    uniform = -3.0 + 4.0 * (np.arange(20_000) + 0.5) / 20_000
    assert np.max(np.abs(knots - uniform)) / 4.0 < 1.95 / 20_000**0.5  # Kolmogorov-Smirnov at 1e-3.
    assert abs(np.mean(a > 0) - 0.5) < 4 * 0.5 / 20_000**0.5
    if not balanced:
        np.testing.assert_array_equal(np.abs(a), 1.0)


@pytest.mark.parametrize("orientation", [1, -1])
def test_orientation(orientation):
    params = TwoLayer(4, scale_a=3.0, knots=(0.0, 2.0), orientation=orientation).init(jr.key(0))
    np.testing.assert_array_equal(params["a"], orientation * 3.0)


def test_a_knot_is_where_the_slope_changes():
    model = TwoLayer(1, scaling="one")
    params = {"a": jnp.array([[2.0]]), "b": jnp.array([1.0]), "c": jnp.array([3.0])}
    np.testing.assert_allclose(model.apply(params, np.array([[0.0], [0.5], [1.0]])), [0.0, 0.0, 3.0], atol=1e-15)


def test_gates_replace_the_slopes():
    model = TwoLayer(4, 3, activation="leaky_relu:0.25")
    params = model.init(jr.key(0))
    z = model.preactivations(params, X)
    own = (z > 0).astype(float)
    np.testing.assert_allclose(model.apply(params, X, own), model.apply(params, X), rtol=1e-13)
    gates = np.random.default_rng(1).uniform(size=z.shape)
    expected = np.asarray(z * (0.25 + 0.75 * gates)) @ np.asarray(params["c"]) / 2.0
    np.testing.assert_allclose(model.apply(params, X, gates), expected, rtol=1e-13)
    field = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, X) ** 2)))(params)
    gated = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, X, own) ** 2)))(params)
    jax.tree.map(lambda f, g: np.testing.assert_allclose(f, g, rtol=1e-12), field, gated)
    assert model.slopes == (0.25, 1.0)
    with pytest.raises(ValueError, match="has no gates"):
        TwoLayer(4, 3, activation="tanh").apply(params, X, own)


@pytest.mark.parametrize("name", ["leaky_relu:0.3", "relu^2", "relu^4"])
@pytest.mark.parametrize("bias", [True, False])
def test_conserved_along_the_gradient(name, bias):
    model = TwoLayer(6, 3, bias, name, output_multiplier=2.0)
    params = model.init(jr.key(4))
    y = np.sin(np.arange(7.0))

    @jax.jit
    def rates(params):
        field = jax.grad(lambda p: -0.5 * jnp.sum((model.apply(p, X) - y) ** 2))(params)
        return jax.jvp(lambda p: (model.conserved(p), p["c"] ** 2), (params,), (field,))[1]

    rate, naive = rates(params)
    assert np.max(np.abs(naive)) > 1e-2
    np.testing.assert_allclose(rate, 0.0, atol=1e-12 * float(np.max(np.abs(naive))))


def test_nothing_is_declared_conserved_where_nothing_is():
    for model in (TwoLayer(4, activation="tanh"), TwoLayer(4, trains="ac"), TwoLayer(4, bias=False, trains="a")):
        assert model.conserved(model.init(jr.key(0))) is None
    assert TwoLayer(4, bias=False, trains="ac").conserved({"a": jnp.ones((1, 1)), "c": 3 * jnp.ones(1)}) == 8.0


def test_trainable():
    model = TwoLayer(4, trains="cb")
    assert model.trainable(model.init(jr.key(0))) == {"a": False, "b": True, "c": True}
    model = TwoLayer(4, bias=False)
    assert model.trainable(model.init(jr.key(0))) == {"a": True, "c": True}


def test_scales_are_leaves_that_neither_recompile_nor_stop_vmap():
    traces = 0

    @eqx.filter_jit
    def outputs(model, key):
        nonlocal traces
        traces += 1
        return model.apply(model.init(key), X)

    values = jnp.array([0.5, 1.0, 2.0])
    one_by_one = [outputs(TwoLayer(4, 3, init_scale=float(s), output_multiplier=10 * s), jr.key(0)) for s in np.asarray(values)]
    assert traces == 1

    def with_scale(s):
        model = eqx.tree_at(lambda m: (m.init_scale, m.output_multiplier), TwoLayer(4, 3), (s, 10 * s))
        return model.apply(model.init(jr.key(0)), X)

    together = jax.jit(jax.vmap(with_scale))(values)
    np.testing.assert_allclose(together, np.stack(one_by_one), rtol=1e-12)
    np.testing.assert_allclose(one_by_one[2], 32 * np.asarray(one_by_one[0]) / 0.5, rtol=1e-12)


def test_settings_may_be_traced():
    def total(s):
        model = TwoLayer(4, 3, init_scale=s, output_multiplier=s)
        return model.apply({**model.init(jr.key(0)), "b": jnp.zeros(4)}, X).sum()

    value, slope = jax.jit(jax.value_and_grad(total))(jnp.asarray(1.0))
    np.testing.assert_allclose(slope, 3 * value, rtol=1e-12)


def test_the_params_decide_the_dtype():
    model = TwoLayer(4, 3)
    params = model.init(jr.key(0))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    assert model.apply(single, X).dtype == jnp.float32
    assert model.apply(single, X, jnp.ones((7, 4))).dtype == jnp.float32
    np.testing.assert_allclose(model.apply(single, X), model.apply(params, X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": -1}, "width must be an integer of at least 1"),
        ({"width": 2.5}, "width must be an integer"),
        ({"dim": 0}, "dim must be an integer"),
        ({"scaling": "cubic"}, "scaling='cubic' must be one of 'one', 'sqrt', 'linear'"),
        ({"trains": ("a", "d")}, "letters a, b, c"),
        ({"trains": ()}, "letters a, b, c"),
        ({"trains": "aa"}, "each once"),
        ({"trains": "b", "bias": False}, "set bias=True"),
        ({"width": 3, "antisymmetric": True}, "make width even"),
        ({"alternating": True}, "set committee=True"),
        ({"activation": "tanh", "balanced": True}, "homogeneous activation"),
        ({"activation": "swish"}, "known ones"),
        ({"orientation": 2, "knots": (0, 1)}, r"\+1, -1 or None"),
        ({"orientation": 1}, "give knots"),
        ({"knots": (0, 1), "dim": 2}, "dim=1"),
        ({"knots": (0, 1), "bias": False}, "bias=True"),
        ({"knots": (0, 1, 2)}, "two numbers"),
        ({"knots": (1, 0)}, "A < B"),
        ({"init_scale": -1.0}, "not negative"),
        ({"scale_c": float("nan")}, "finite"),
        ({"delta": 1.0}, "set balanced=True"),
        ({"balanced": True, "scale_a": 0.0, "scale_b": 0.0}, "direction"),
        ({"balanced": True, "scale_a": 0.0, "bias": False}, "direction"),
    ],
)
def test_misuse_names_the_mend(options, words):
    with pytest.raises(ValueError, match=words):
        TwoLayer(**{"width": 4, **options})


def test_inputs_of_another_shape_are_refused():
    model = TwoLayer(4, 3)
    for x in (jnp.zeros(3), jnp.zeros((2, 4))):
        with pytest.raises(ValueError, match="one row a sample"):
            model.apply(model.init(jr.key(0)), x)
