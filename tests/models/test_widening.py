"""One neuron more: the function stays, and so do critical points."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.models import TwoLayer, add_neuron, split_neuron

X = jr.normal(jr.key(0), (20, 3))


@pytest.mark.parametrize("scaling", ["one", "sqrt", "linear"])
@pytest.mark.parametrize(("activation", "inner"), [("tanh", False), ("relu", False), ("relu", True)])
def test_the_function_stays(scaling, activation, inner):
    model = TwoLayer(4, 3, activation=activation, scaling=scaling, output_multiplier=1.7)
    params = model.init(jr.key(1))
    for wider, grown in (
        split_neuron(model, params, 2, 0.3, inner=inner),
        add_neuron(model, params, jr.key(2)),
        add_neuron(model, params, jr.key(2), inner_scale=0.0, outer=0.4),
    ):
        assert wider.width == 5 and grown["a"].shape == (5, 3)
        np.testing.assert_allclose(wider.apply(grown, X), model.apply(params, X), atol=1e-14)
    _, halves = split_neuron(model, params, 2, 0.3, inner=inner)
    name = "a" if inner else "c"
    np.testing.assert_allclose(halves[name][2] * 7, halves[name][4] * 3, rtol=1e-12)
    assert np.abs(halves[name][4]).max() > 0


def test_a_new_neuron_adds_its_share():
    """With an output weight the function changes by that times the activation, whatever the scaling."""
    model = TwoLayer(3, 3, bias=False, activation="erf", scaling="linear")
    params = model.init(jr.key(1))
    wider, grown = add_neuron(model, params, jr.key(2), outer=0.25)
    expected = model.apply(params, X) + 0.25 * jax.scipy.special.erf(X @ grown["a"][-1])
    np.testing.assert_allclose(wider.apply(grown, X), expected, atol=1e-13)


def test_a_split_critical_point_stays_critical():
    """And its Hessian gets a null direction, along the share (Fukumizu & Amari 2000)."""
    data = jd.data.points(X, jnp.sin(X[:, 0]) + 0.3 * jr.normal(jr.key(3), (20,)))
    model = TwoLayer(1, 3, activation="tanh", scaling="one")
    found = jd.polish(jd.flows.GradientFlow(model, jd.losses.mean_square, data), model.init(jr.key(4)), method="products", max_steps=300)
    assert bool(found.converged) and float(found.loss) > 1e-3
    wider, grown = split_neuron(model, found.params, 0, jnp.asarray(1.6))
    flow = jd.flows.GradientFlow(wider, jd.losses.mean_square, data)
    assert np.linalg.norm(ravel_pytree(flow.vector_field(0.0, grown))[0]) < 1e-11
    values = np.abs(jd.measure.hessian_spectrum(flow, 0.0, grown))
    assert np.sort(values)[0] < 1e-11 < 1e-5 < np.sort(values)[1]


def test_misuse():
    model = TwoLayer(2, 3, activation="tanh")
    with pytest.raises(ValueError, match="inner=False"):
        split_neuron(model, model.init(jr.key(0)), 0, inner=True)
