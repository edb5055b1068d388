"""A network whose outputs depend on other samples is found by evaluating it, and no other network is taken for one."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, check_independent

RNG = np.random.default_rng(0)
DATA = jd.data.points(RNG.normal(size=(12, 3)), RNG.normal(size=12))
KEY = jr.key(0)


def initial(key):
    first, second = jr.split(key)
    return {"w": jr.normal(first, (5, 3)), "c": jr.normal(second, (5,))}


def hidden(params, x):
    return x @ params["w"].T


def batch_normalised(params, x):
    z = hidden(params, x)
    return jnp.tanh((z - z.mean(0, keepdims=True)) / jnp.sqrt(z.var(0, keepdims=True) + 1e-5)) @ params["c"]


def attending(params, x):
    z = hidden(params, x)
    return jax.nn.softmax(z @ z.T, axis=1) @ (z @ params["c"])


def shifted(params, x):
    return (hidden(params, x) @ params["c"]) - jnp.roll(x[:, 0], 1)


def counted(params, x):
    return hidden(params, x) @ params["c"] / x.shape[0]


def heedless(params, x):
    return jnp.tanh(jnp.asarray(DATA.x) @ params["w"].T) @ params["c"]


MIXING = {f.__name__: f for f in (batch_normalised, attending, shifted, counted, heedless)}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_is_refused(name):
    flow = GradientFlow(MIXING[name], jd.losses.square, DATA, initial=initial)
    params = initial(KEY)
    for call in (
        lambda: jd.solve(flow, params, t1=0.1),
        lambda: jd.sweep(flow, 2, t1=0.1, progress=False),
        lambda: jd.measure.ntk(flow, 0.0, params),
        lambda: jd.tangents(flow, params, jax.tree.map(lambda leaf: leaf[None], params), 0.1),
        lambda: jd.flows.LinearisedSolution(flow, params),
    ):
        with pytest.raises(ValueError, match="mixes_samples=True") as error:
            call()
        assert "\n" not in str(error.value)
    said = GradientFlow(MIXING[name], jd.losses.square, DATA, initial=initial, mixes_samples=True)
    check_independent(said, params)


def test_the_kernel_of_batch_statistics_where_it_is_declared():
    said = GradientFlow(batch_normalised, jd.losses.square, DATA, mixes_samples=True)
    params = initial(KEY)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    h = 1e-6
    rows = [
        (batch_normalised(unravel(flat.at[k].add(h)), DATA.x) - batch_normalised(unravel(flat.at[k].add(-h)), DATA.x)) / (2 * h)
        for k in range(flat.size)
    ]
    jacobian = np.stack(rows, axis=1)
    np.testing.assert_allclose(jd.measure.ntk(said, 0.0, params), jacobian @ jacobian.T, rtol=1e-6, atol=1e-7)


def test_mixing_behind_output_weights_that_are_zero():
    params = {**initial(KEY), "c": jnp.zeros(5)}
    with pytest.raises(ValueError, match="mixes_samples"):
        check_independent(GradientFlow(batch_normalised, jd.losses.square, DATA), params)


def deep(scale, dtype):
    def apply(params, x):
        h = x.astype(dtype)
        for w in params["w"]:
            h = jnp.tanh(scale * h @ w.T)
        return h @ params["c"]

    keys = jr.split(KEY, 13)
    params = {
        "w": [jr.normal(key, (16, 3 if k == 0 else 16), dtype) / 4 for k, key in enumerate(keys[:12])],
        "c": jr.normal(keys[12], (16,), dtype),
    }
    return apply, params


def separate(name):
    params = initial(KEY)
    tanh = lambda p, x: jnp.tanh(hidden(p, x)) @ p["c"]  # noqa: E731
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    antisymmetric = jd.models.TwoLayer(64, 3, antisymmetric=True, activation="tanh")
    cases = {
        "tanh": (tanh, params),
        "outputs of 1e-20": (lambda p, x: 1e-20 * tanh(p, x), params),
        "float32": (tanh, single),
        "float32 with an offset": (lambda p, x: tanh(p, x) + jnp.float32(1e4), single),
        "cancelling": (antisymmetric, antisymmetric.init(KEY)),
        "cancelling in float32": (antisymmetric, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), antisymmetric.init(KEY))),
        "zero": (tanh, {**params, "c": jnp.zeros(5)}),
        "chaotic": deep(8.0, jnp.float64),
        "chaotic in float32": deep(8.0, jnp.float32),
        "relu": (lambda p, x: jax.nn.relu(hidden(p, x)) @ p["c"], params),
        "tiny weights": (tanh, jax.tree.map(lambda leaf: 1e-150 * leaf, params)),
        "infinite": (lambda p, x: jnp.exp(1e4 * tanh(p, x)), params),
        "layer normalised": (lambda p, x: jnp.tanh((z := hidden(p, x)) - z.mean(1, keepdims=True)) @ p["c"], params),
    }
    return cases[name]


@pytest.mark.parametrize(
    "name",
    [
        "tanh",
        "outputs of 1e-20",
        "float32",
        "float32 with an offset",
        "cancelling",
        "cancelling in float32",
        "zero",
        "chaotic",
        "chaotic in float32",
        "relu",
        "tiny weights",
        "infinite",
        "layer normalised",
    ],
)
def test_separate_samples_pass(name):
    apply, params = separate(name)
    check_independent(GradientFlow(apply, jd.losses.square, DATA), params)
    mixing = GradientFlow(lambda p, x: (f := getattr(apply, "apply", apply)(p, x)) - jnp.mean(f), jd.losses.square, DATA)
    if name in ("tanh", "outputs of 1e-20", "float32", "relu", "layer normalised", "tiny weights"):  # the same networks do mix if made to
        with pytest.raises(ValueError, match="mixes_samples"):
            check_independent(mixing, params)


def test_it_is_looked_at_once():
    traces = []

    def apply(params, x):
        traces.append(x.shape)
        return jnp.tanh(hidden(params, x)) @ params["c"]

    flow, params = GradientFlow(apply, jd.losses.square, DATA), initial(KEY)
    check_independent(flow, params)
    first = len(traces)
    assert 0 < first <= 6
    for scale in (0.5, 2.0):
        check_independent(flow, jax.tree.map(lambda leaf, scale=scale: scale * leaf, params))
        check_independent(GradientFlow(apply, jd.losses.square, jd.data.points(scale * DATA.x, DATA.y)), params)
    assert len(traces) == first


def test_where_something_is_traced_it_is_left_out():
    flow = GradientFlow(batch_normalised, jd.losses.square, DATA)
    jax.jit(lambda params: (check_independent(flow, params), flow.loss(params))[1])(initial(KEY))


class Sharing(jd.models.AbstractModel):
    """Outputs less a share of their mean."""

    share: jax.Array

    def init(self, key):
        return {"w": jr.normal(key, (3,))}

    def apply(self, params, x):
        f = x @ params["w"]
        return f - self.share * f.mean()


def test_a_network_of_other_numbers_is_looked_at_again():
    """Alone it is separate at a share of 0, and so it is not refused; on a grid every cell is looked at."""
    apart, mixing = (GradientFlow(Sharing(jnp.asarray(share)), jd.losses.square, DATA) for share in (0.0, 1.0))
    params = apart.init(KEY)
    jd.measure.ntk(apart, 0.0, params)
    with pytest.raises(ValueError, match="depends on other samples"):
        jd.measure.ntk(mixing, 0.0, params)
    for shares in ([0.0, 1.0], [0.0, 0.0, 0.5]):
        with pytest.raises(ValueError, match="depends on other samples"):
            jd.sweep(apart, 1, {"model.share": shares}, t1=0.1, record=2, progress=False)


def test_outputs_of_a_subclass_are_differentiated_at_once():
    """Against all derivatives of all outputs."""

    class Less(GradientFlow):
        def outputs(self, y, gates=None):
            f = super().outputs(y, gates)
            return f - f.mean()

    flow = Less(lambda p, x: x @ p["w"], jd.losses.square, DATA)
    params = {"w": jnp.asarray([0.4, -0.7, 0.2])}
    rows = jax.jacrev(flow.outputs)(params)["w"]
    np.testing.assert_allclose(jd.measure.ntk(flow, 0.0, params), rows @ rows.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(flow.jacobian(params)["w"], rows, rtol=1e-12, atol=1e-12)
