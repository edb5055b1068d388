"""The order of homogeneity: those known, and networks without one."""

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

import jaxdyn as jd

X = jr.normal(jr.key(1), (7, 3))


@pytest.mark.parametrize(
    ("model", "order"),
    [
        (jd.models.TwoLayer(5, dim=3), 2.0),
        (jd.models.TwoLayer(5, dim=3, activation="relu^3", bias=False), 4.0),
        (jd.models.MLP((5, 4), dim=3), 3.0),
        (jd.models.MLP((5, 4), dim=3, activation="relu^2"), 7.0),
        (jd.models.MLP((4,), dim=3, outputs=2), 2.0),
    ],
)
def test_known_orders(model, order):
    params = model.init(jr.key(0))
    assert jd.models.homogeneity(model, params, X) == order
    assert jd.models.homogeneity(model.apply, jax.tree.map(lambda leaf: 1e-150 * leaf, params), X) == order
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    assert jd.models.homogeneity(model, single, X) == order


def test_a_fractional_order_and_samples_at_zero():
    params = {"w": jnp.array([1.0, 2.0, 3.0])}
    x = jnp.concatenate([jnp.zeros((1, 3)), X])
    order = jd.models.homogeneity(lambda p, x: jnp.sum(p["w"] ** 2) ** 0.75 * jnp.sum(x, 1), params, x)
    assert order == pytest.approx(1.5, abs=1e-12)


@pytest.mark.parametrize("model", [jd.models.MLP((5, 4), dim=3, bias=True), jd.models.TwoLayer(5, dim=3, activation="tanh")])
def test_networks_without_an_order(model):
    with pytest.raises(ValueError, match=r"not homogeneous .* lie between \d"):
        jd.models.homogeneity(model, model.init(jr.key(0)), X)  # the biases of MLP are 0 here


def test_no_output():
    with pytest.raises(ValueError, match="0 on all samples"):
        jd.models.homogeneity(lambda p, x: 0 * p["w"] * x[:, 0], {"w": jnp.ones(())}, X)
