"""Infinite-width kernels against quadrature and against networks of growing width."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
from scipy.special import erf

import jaxdyn as jd
from jaxdyn.measure.infinite import _erf_moments, _relu_moments, infinite_kernels

pytestmark = pytest.mark.ci_slow

X = np.random.default_rng(0).normal(size=(4, 3))
VARIANCES = [(1.0, 1.0, 0.3), (0.5, 2.0, -0.9), (3.0, 0.2, 0.0), (1.0, 1.0, -0.99)]
KINDS = {
    "relu": (_relu_moments, lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "erf": (_erf_moments, erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
}


def expected(function, k, l, q):  # noqa: E741
    """E[g(u) g(v)] by integrals over v for given u; the half lines apart, where a ReLU is smooth."""

    def density(v, u):
        rest = l - q**2 / k
        return np.exp(-(u**2) / (2 * k) - (v - q * u / k) ** 2 / (2 * rest)) / (2 * np.pi * np.sqrt(k * rest))

    far, total = 9.0, 0.0
    ends = [(-far * np.sqrt(k), 0), (0, far * np.sqrt(k))]
    for a, b in ends:
        for c, d in [(-far * np.sqrt(l), 0), (0, far * np.sqrt(l))]:
            found = scipy.integrate.dblquad(lambda v, u: function(u) * function(v) * density(v, u), a, b, c, d, epsabs=1e-10, epsrel=1e-10)
            total += found[0]
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variances", VARIANCES[:3])
def test_moments(kind, variances):
    moments, value, slope = KINDS[kind]
    k, l, r = variances  # noqa: E741
    q = r * np.sqrt(k * l)
    found = moments(*(jnp.asarray(v) for v in (k, l, q)))
    np.testing.assert_allclose(found[0], expected(value, k, l, q), atol=1e-8)
    np.testing.assert_allclose(found[1], expected(slope, k, l, q), atol=1e-8)


def test_parallel_and_zero_inputs():
    """At angle 0 the ReLU's moments are k/2 and 1/2; an input of zeros without a bias has no kernel."""
    product, slope = _relu_moments(jnp.asarray(2.0), jnp.asarray(2.0), jnp.asarray(2.0))
    np.testing.assert_allclose([product, slope], [1.0, 0.5], rtol=1e-15)
    nngp, ntk = infinite_kernels(jnp.zeros((1, 3)), depth=3)
    assert float(nngp[0, 0]) == 0 and float(ntk[0, 0]) == 0


@pytest.mark.slow
def test_two_layer_networks_tend_to_it():
    """Mean over seeds within four standard errors; each seed's distance falls like 1/sqrt(m)."""
    flow_at = lambda m: jd.flows.GradientFlow(jd.models.TwoLayer(m, dim=3), jd.losses.square, jd.data.points(X, X[:, 0]))  # noqa: E731
    limit = infinite_kernels(jnp.asarray(X), bias_variance=(1.0, 0.0))
    distances = []
    widths = (32, 128, 512, 2048)
    for m in widths:
        flow = flow_at(m)
        kernels = jax.vmap(lambda key, flow=flow: jd.measure.ntk(flow, jnp.zeros(()), flow.init(key)))(jr.split(jr.key(m), 64))
        gap = np.asarray(kernels) - np.asarray(limit.ntk)[None]
        distances.append(np.sqrt(np.mean(gap**2)))
        assert np.all(np.abs(gap.mean(0)) <= 4.5 * gap.std(0) / 8)
    slope = np.polyfit(np.log(widths), np.log(distances), 1)[0]
    assert -0.6 <= slope <= -0.4, slope


@pytest.mark.parametrize("activation", [pytest.param("relu", marks=pytest.mark.slow), "erf"])
def test_deep_networks_tend_to_it(activation):
    """Three hidden layers of 512 with biases, by Jacobians; the NNGP is the outputs' covariance."""
    m, depth, act = 512, 3, {"relu": jax.nn.relu, "erf": jax.scipy.special.erf}[activation]
    variance, bias = 1.4, 0.3
    sizes = [3, *[m] * depth, 1]

    def f(params, x):
        h = x
        for k, (w, b) in enumerate(params):
            z = (variance / w.shape[1]) ** 0.5 * h @ w.T + bias**0.5 * b[None]
            h = act(z) if k < depth else z
        return h[:, 0]

    def one(key):
        keys = jr.split(key, 2 * len(sizes))
        pairs = zip(sizes[:-1], sizes[1:], keys[::2][: depth + 1], keys[1::2][: depth + 1], strict=True)
        params = [(jr.normal(kw, (o, i)), jr.normal(kb, (o,))) for i, o, kw, kb in pairs]
        rows = jax.jacrev(f)(params, jnp.asarray(X))
        flat = jnp.concatenate([leaf.reshape(4, -1) for leaf in jax.tree.leaves(rows)], axis=1)
        return flat @ flat.T, f(params, jnp.asarray(X))

    kernels, outputs = jax.jit(lambda keys: jax.lax.map(one, keys))(jr.split(jr.key(0), 48))
    limit = infinite_kernels(
        jnp.asarray(X), activation=activation, depth=depth, weight_variance=variance, bias_variance=bias, normalise_inputs=True
    )
    error = np.asarray(kernels).std(0) / 48**0.5
    # besides the spread, a bias of order depth / m
    np.testing.assert_array_less(np.abs(np.asarray(kernels).mean(0) - limit.ntk), 4.5 * error + 3 * depth / m * np.abs(limit.ntk).max())
    covariance = np.asarray(outputs).T @ np.asarray(outputs) / 48
    assert np.abs(covariance - limit.nngp).max() <= 4.5 * np.sqrt(2 / 48) * np.asarray(limit.nngp).max()


def test_rows_and_columns():
    whole = infinite_kernels(jnp.asarray(X), depth=2, bias_variance=0.1)
    part = infinite_kernels(jnp.asarray(X[:1]), jnp.asarray(X), depth=2, bias_variance=0.1)
    np.testing.assert_allclose(part.ntk, whole.ntk[:1], rtol=1e-12)
    np.testing.assert_allclose(whole.ntk, whole.ntk.T, rtol=1e-12)
    assert np.linalg.eigvalsh(whole.ntk)[0] > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation": "tanh"}, "no closed form"),
        ({"depth": 0}, "depth must be an integer of at least 1; 0 was given"),
        ({"bias_variance": (1.0,)}, "need 2"),
    ],
)
def test_misuse(changes, words):
    with pytest.raises(ValueError, match=words):
        infinite_kernels(jnp.asarray(X), **changes)
