"""Activations against numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as sp

from jaxdyn.models import Activation, activation

Z = np.array([-3.0, -0.7, -1e-9, 0.0, 1e-9, 0.4, 2.5])

FORMULAS = {
    "relu": lambda z: np.maximum(z, 0),
    "relu^2": lambda z: np.maximum(z, 0) ** 2,
    "relu^3": lambda z: np.maximum(z, 0) ** 3,
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "leaky_relu:0.2": lambda z: np.where(z > 0, z, 0.2 * z),
    "leaky_relu:-1": np.abs,
    "leaky_relu:5e-1^2": lambda z: np.where(z > 0, z, 0.5 * z) ** 2,
    "identity": lambda z: z,
    "tanh": np.tanh,
    "erf": sp.erf,
    "gelu": lambda z: z * sp.ndtr(z),
    "softplus": lambda z: np.log1p(np.exp(z)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_and_derivative(name):
    act = activation(name)
    np.testing.assert_allclose(act(jnp.asarray(Z)), FORMULAS[name](Z), rtol=1e-14, atol=1e-16)
    away = Z[np.abs(Z) > 1e-3]
    slope = jax.jit(jax.vmap(jax.grad(act)))(away)
    h = 1e-6
    np.testing.assert_allclose(slope, (FORMULAS[name](away + h) - FORMULAS[name](away - h)) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
def test_degree_is_the_homogeneity(name):
    act = activation(name)
    ratio = np.asarray(act(3.0 * jnp.asarray(Z[[0, 1, 5, 6]])) / act(jnp.asarray(Z[[0, 1, 5, 6]])))
    ratio = ratio[np.isfinite(ratio)]  # A ReLU is 0/0 below zero.
    if act.degree is None:
        assert np.ptp(ratio) > 1e-2
    else:
        np.testing.assert_allclose(ratio, 3.0**act.degree, rtol=1e-13)


@pytest.mark.parametrize(("name", "at_zero"), [("relu", 0.0), ("relu^2", 0.0), ("leaky_relu:0.2", 0.2)])
def test_derivative_at_the_kink(name, at_zero):
    assert jax.grad(activation(name))(jnp.asarray(0.0)) == at_zero


@pytest.mark.parametrize(("name", "slopes"), [("relu", (0.0, 1.0)), ("leaky_relu:0.2", (0.2, 1.0))])
def test_gates(name, slopes):
    act = activation(name)
    assert act.slopes == slopes
    z = jnp.asarray(Z)
    np.testing.assert_array_equal(act.gated(z, act.gates(z)), act(z))
    np.testing.assert_array_equal(act.gates(z), Z > 0)
    gates = jnp.linspace(0.0, 1.0, Z.size)
    expected = [u * (slopes[0] * (1 - g) + slopes[1] * g) for u, g in zip(Z, np.asarray(gates), strict=True)]
    np.testing.assert_allclose(act.gated(z, gates), expected, rtol=1e-15)


def test_only_piecewise_linear_activations_are_gated():
    for name in ("relu^2", "tanh", "identity", "gelu"):
        assert activation(name).slopes is None
        with pytest.raises(ValueError, match="has no gates"):
            activation(name).gated(jnp.zeros(3), jnp.zeros(3))
        with pytest.raises(ValueError, match="has no gates"):
            activation(name).gates(jnp.zeros(3))


def test_not_a_number_passes_through():
    assert all(jnp.isnan(activation(name)(jnp.asarray(jnp.nan))) for name in FORMULAS)


@pytest.mark.parametrize("name", ["swish", "relu^0", "relu^-1", "relu^1.5", "relu:0.2", "", None, "tanh^2"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="known ones are relu"):
        activation(name)


@pytest.mark.parametrize("name", ["leaky_relu:x", "leaky_relu:nan", "leaky_relu:inf"])
def test_bad_slopes_are_refused(name):
    with pytest.raises(ValueError, match="finite number"):
        activation(name)


def test_gates_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape of the pre-activations"):
        activation("relu").gated(jnp.zeros((3, 2)), jnp.zeros((3, 1)))


def test_activations_are_equal_by_value():
    assert activation("relu^2") == Activation("relu^2")
    assert activation("relu^2") != Activation("relu")
    assert hash(activation("relu^2")) == hash(Activation("relu^2"))
    assert activation(activation("tanh")).name == "tanh"
