"""Conserved quantities that sink below the rounding of their terms."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import AbstractFlow

X = jnp.asarray([[2.64575131, 0.0], [3.92792202, 1.88982237]])
Y = X @ jnp.asarray([-0.2, 2.0])


class Diagonal(AbstractFlow):
    """The diagonal network beta = u v with mean squares: u^2 - v^2 is conserved."""

    def loss(self, y):
        return 0.5 * jnp.mean((X @ (y["u"] * y["v"]) - Y) ** 2)

    def vector_field(self, t, y, args=None):
        return jax.tree.map(jnp.negative, jax.grad(self.loss)(y))

    def conserved(self, y):
        return y["u"] ** 2 - y["v"] ** 2

    def conserved_terms(self, y):
        return y["u"] ** 2, y["v"] ** 2

    def init(self, key):
        return self.start(0.1)

    def start(self, size):
        return {"u": jnp.full(2, jnp.sqrt(2.0) * size), "v": jnp.zeros(2)}


def test_the_time_at_which_a_diagonal_network_is_unresolved():
    """While beta is small, u = sqrt(2) a cosh(g t) with g the gradient at 0, so that eps u^2 = 2 a^2 at cosh(g t) = 1 / sqrt(eps)."""
    flow, step = Diagonal(), 0.01
    sol = jd.solve(flow, flow.start(1e-10), t1=20.0, record=2, controller=dfx.ConstantStepSize(), dt0=step)
    rate = float(np.max(np.abs(np.asarray(X.T @ Y)))) / 2
    exact = np.arccosh(np.finfo(float).eps ** -0.5) / rate
    assert exact - 1e-3 * step <= sol.certificate.unresolved_since <= exact + 1.001 * step
    assert "unresolved since t = " in repr(sol)
    coarse = jd.solve(flow, flow.start(0.1), t1=20.0, record=2, controller=dfx.ConstantStepSize(), dt0=step)
    assert coarse.certificate.unresolved_since == np.inf and "unresolved" not in repr(coarse)


def test_a_balanced_start_is_not_unresolved_and_silence_is_nan():
    """U = v is conserved at zero; so is what differs by rounding only."""
    flow = Diagonal()
    even = {"u": jnp.full(2, 1e-10), "v": jnp.full(2, 1e-10 * (1 + 2e-16))}
    assert jd.solve(flow, even, t1=20.0, record=2).certificate.unresolved_since == np.inf
    tanh = jd.flows.GradientFlow(jd.models.TwoLayer(2, activation="tanh"), jd.losses.square, jd.data.sinusoid(3))
    assert np.isnan(jd.solve(tanh, tanh.init(jax.random.key(0)), t1=0.1).certificate.unresolved_since)


def wrapped():
    data = jd.data.sinusoid(4)
    two = jd.flows.GradientFlow(jd.models.TwoLayer(3), jd.losses.square, data)
    deep = jd.flows.GradientFlow(jd.models.MLP((3, 2)), jd.losses.square, data)
    clock = jd.flows.Clock(two, jd.flows.arc_length)
    return {"TwoLayer": two, "MLP": deep, "Clock": clock, "Descent": jd.flows.StochasticDescent(two, 0.1)}


@pytest.mark.parametrize("name", list(wrapped()))
def test_terms_are_those_of_the_conserved_quantities(name):
    flow = wrapped()[name]
    params = flow.init(jax.random.key(0))
    outer, inner = flow.conserved_terms(params)
    np.testing.assert_allclose(outer - inner, flow.conserved(params), rtol=1e-12)
    assert np.all(np.asarray(outer) > 0) and np.all(np.asarray(inner) > 0)


def test_terms_of_another_shape_are_refused():
    class Wrong(Diagonal):
        def conserved_terms(self, y):
            return y["u"][0], y["v"][0]

    with pytest.raises(ValueError, match="conserved_terms must return terms"):
        jd.solve(Wrong(), Wrong().start(0.1), t1=1.0)
