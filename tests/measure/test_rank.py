"""Stable rank against numpy."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import jaxdyn as jd
from jaxdyn import measure

stable_rank = jax.jit(measure.stable_rank, static_argnums=0)


def reference(matrix):
    return np.linalg.norm(matrix, "fro") ** 2 / np.linalg.norm(matrix, 2) ** 2


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), jax.eval_shape(model.init, jr.key(0)))


@pytest.mark.parametrize("bias", [True, False])
def test_first_layer_of_two(bias):
    params = drawn(jd.models.TwoLayer(9, dim=3, bias=bias))
    matrix = np.column_stack([params["a"], params["b"]]) if bias else np.asarray(params["a"])
    np.testing.assert_allclose(stable_rank(None, 0.0, params), reference(matrix), rtol=1e-12)
    np.testing.assert_allclose(stable_rank(None, 0.0, {"now": params, "start": {}}), reference(matrix), rtol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_every_layer_of_an_mlp(bias):
    params = drawn(jd.models.MLP((6, 5), dim=3, bias=bias))
    matrices = [np.column_stack([layer["w"], layer["b"]]) if bias else np.asarray(layer["w"]) for layer in params]
    np.testing.assert_allclose(stable_rank(None, 0.0, params), [reference(m) for m in matrices], rtol=1e-12)


def test_extremes():
    aligned = {"a": jnp.outer(jnp.arange(1.0, 5.0), jnp.array([1.0, 2.0])), "c": jnp.ones(4)}
    np.testing.assert_allclose(stable_rank(None, 0.0, aligned), 1.0, rtol=1e-12)
    np.testing.assert_allclose(stable_rank(None, 0.0, {"a": 1e-200 * jnp.eye(3), "c": jnp.ones(3)}), 3.0, rtol=1e-12)
    assert np.isnan(stable_rank(None, 0.0, {"a": jnp.zeros((3, 2)), "c": jnp.ones(3)}))
    assert np.isnan(stable_rank(None, 0.0, {"a": jnp.full((3, 2), jnp.nan), "c": jnp.ones(3)}))


def test_jit_and_vmap():
    rng = np.random.default_rng(0)
    batch = {"a": rng.normal(size=(4, 9, 3)), "b": rng.normal(size=(4, 9)), "c": rng.normal(size=(4, 9))}
    many = jax.vmap(lambda p: stable_rank(None, 0.0, p))(batch)
    expected = [reference(np.column_stack([a, b])) for a, b in zip(batch["a"], batch["b"], strict=True)]
    np.testing.assert_allclose(many, expected, rtol=1e-12)


@pytest.mark.parametrize("params", [np.ones(3), {"w": np.ones((2, 2))}, [], [np.ones((2, 2))]])
def test_another_network(params):
    with pytest.raises(ValueError, match="know the parameters of"):
        measure.stable_rank(None, 0.0, params)


def test_shares_ranks_and_values():
    mlp = jd.models.MLP((6, 5), dim=3, bias=True)
    params = drawn(mlp)
    matrices = [np.column_stack([layer["w"], layer["b"]]) for layer in params]
    norm = np.sqrt(sum(np.sum(m**2) for m in matrices))
    for scale in (1e-200, 1.0, 1e200):
        scaled = jax.tree.map(lambda leaf, scale=scale: scale * leaf, params)
        values = [np.linalg.svd(m, compute_uv=False) for m in matrices]
        found = measure.singular_values(None, 0.0, scaled)
        np.testing.assert_allclose(found, [np.pad(v / norm, (0, 5 - len(v))) for v in values], rtol=1e-12, atol=1e-15)
        entropies = [scipy.stats.entropy(v) for v in values]
        np.testing.assert_allclose(measure.effective_rank(None, 0.0, scaled), np.exp(entropies), rtol=1e-12)
        share = [np.linalg.norm(m, 2) ** 2 / np.sum(m**2) for m in matrices]
        np.testing.assert_allclose(measure.rank_one_share(None, 0.0, scaled), share, rtol=1e-12)
        np.testing.assert_allclose(measure.layer_shares(None, 0.0, scaled), [np.sum(m**2) / norm**2 for m in matrices], rtol=1e-12)


def test_shares_of_two_layers():
    params = drawn(jd.models.TwoLayer(9, dim=3))
    inner, outer = sum(np.sum(params[k] ** 2) for k in "ab"), np.sum(params["c"] ** 2)
    np.testing.assert_allclose(measure.layer_shares(None, 0.0, params), np.array([inner, outer]) / (inner + outer), rtol=1e-13)
    matrix = np.column_stack([params["a"], params["b"]])
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(measure.singular_values(None, 0.0, params), values / np.sqrt(inner + outer), rtol=1e-12)
    equal = {"a": jnp.eye(4), "c": jnp.ones(4)}
    np.testing.assert_allclose(measure.effective_rank(None, 0.0, equal), 4, rtol=1e-13)
    one = {"a": jnp.outer(jnp.arange(1.0, 5.0), jnp.array([1.0, 2.0])), "c": jnp.ones(4)}
    np.testing.assert_allclose([f(None, 0.0, one) for f in (measure.effective_rank, measure.rank_one_share)], [1, 1], rtol=1e-12)
