"""Saddle points are no limits: the flow leaves them, or it is said that it rests there."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import LinearFlow
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import AbstractFlow
from jaxdyn.solve import Outcome


def tiny(activation, scale):
    return jd.flows.GradientFlow(jd.models.TwoLayer(10, activation=activation, init_scale=scale), jd.losses.square, jd.data.sinusoid(6))


@pytest.mark.ci_slow
def test_a_network_with_a_tiny_start_goes_on_to_a_minimum():
    """A long run of an explicit solver with tight tolerances ends at the same minimum, to the loss of digits of the escape."""
    flow = tiny("tanh", 1e-8)
    start = flow.init(jax.random.key(0))
    sol = jd.solve(flow, start, t1=jnp.inf, rtol=1e-8, atol=1e-18)
    assert sol.fate is Outcome.t1_reached and sol.certificate.saddle_index == 0
    assert sol.certificate.loss_end < 1e-25
    reference = jd.solve(flow, start, t1=60.0, rtol=1e-10, atol=1e-20, record=2, solver=jd.KernelExponential())
    there = jd.solve(flow, start, t1=60.0, rtol=1e-10, atol=1e-20, record=2, solver=dfx.Tsit5(), max_steps=100_000)
    np.testing.assert_allclose(ravel_pytree(reference.params)[0], ravel_pytree(there.params)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "scale", "dtype"),
    [pytest.param("relu", 1e-8, jnp.float64, marks=pytest.mark.slow), pytest.param("tanh", 1e-6, jnp.float32, marks=pytest.mark.ci_slow)],
)
def test_kinks_and_float32(activation, scale, dtype):
    flow = tiny(activation, scale)
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), flow.init(jax.random.key(0)))
    sol = jd.solve(flow, start, t1=jnp.inf, max_steps=20_000)
    assert sol.fate is Outcome.t1_reached
    if activation == "relu":  # which ends in a minimum that is no global one
        late = jd.solve(flow, start, t1=3000.0, solver=dfx.Tsit5())
        np.testing.assert_allclose(sol.certificate.loss_end, late.certificate.loss_end, rtol=1e-8)
    else:
        assert sol.certificate.loss_end < 1e-6


@pytest.mark.ci_slow
def test_sweeps_leave_saddles_too():
    ds = jd.sweep(tiny("tanh", 1e-8), 2, t1=jnp.inf, solver=jd.KernelExponential(), progress=False)
    assert set(ds["outcome"].values) == {int(Outcome.t1_reached)}
    assert np.all(ds["loss_end"] < 1e-20) and np.all(ds["saddle_index"] == 0)


def test_a_start_at_zero_rests_at_a_saddle_of_known_index():
    """Every neuron (a, b, c) has the Hessian [[0, 0, g], [0, 0, h], [g, h, 0]]: one negative eigenvalue."""
    flow = tiny("tanh", 1.0)
    zero = jax.tree.map(jnp.zeros_like, flow.init(jax.random.key(0)))
    sol = jd.solve(flow, zero, t1=jnp.inf)
    assert (sol.fate, float(sol.t), int(sol.certificate.saddle_index)) == (Outcome.saddle, np.inf, 10)


def quadratic(eigenvalues, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return LinearFlow(jnp.asarray(basis @ np.diag(eigenvalues) @ basis.T)), basis


@pytest.mark.ci_slow
@pytest.mark.parametrize("size", [5, 300])
def test_a_quadratic_saddle_is_left_by_any_deviation_above_rounding(size):
    """In one direction, e^t from 1e-9 to the bound of the norm. Beyond 256 parameters the index is that of a Krylov space."""
    eigenvalues = np.linspace(0.5, 2.0, size)
    eigenvalues[:2] = -1.0, -0.5
    flow, basis = quadratic(eigenvalues)
    on = jnp.asarray(basis[:, 2] + basis[:, -1])
    left = jd.solve(flow, on + 1e-9 * basis[:, 0], t1=jnp.inf)
    assert left.fate is Outcome.diverged
    np.testing.assert_allclose(left.t, np.log(1e8 * (1 + np.sqrt(2)) / 1e-9), rtol=0.05)


def test_a_start_on_the_stable_manifold_rests_at_the_saddle():
    flow = LinearFlow(jnp.diag(jnp.asarray([1.0, 2.0, -1.0, -0.5])))
    sol = jd.solve(flow, jnp.asarray([1.0, 1.0, 0.0, 0.0]), t1=jnp.inf)
    assert sol.fate is Outcome.saddle and sol.certificate.saddle_index == 2
    np.testing.assert_allclose(sol.params, 0.0, atol=1e-12)
    flat = LinearFlow(jnp.diag(jnp.asarray([1.0, 0.0, 1e-3, 0.0])))
    limit = jd.solve(flat, jnp.ones(4), t1=jnp.inf)
    assert limit.fate is Outcome.t1_reached and limit.certificate.saddle_index == 0
    np.testing.assert_allclose(limit.params, [0.0, 1.0, 0.0, 1.0], atol=1e-6)


class DeepProduct(AbstractFlow):
    """L = (1 - u v w)^2 / 2, whose Hessian vanishes at the saddle 0."""

    def loss(self, y):
        return 0.5 * (1 - jnp.prod(y)) ** 2

    def vector_field(self, t, y, args=None):
        return -jax.grad(self.loss)(y)

    def init(self, key):
        return 1e-4 * jnp.asarray([1.0, 1.1, 1.2])


@pytest.mark.parametrize("atol", [1e-6, 1e-12])
def test_the_origin_of_a_deep_network_is_left(atol):
    """Also where the tolerance is coarse beside the start."""
    flow = DeepProduct()
    sol = jd.solve(flow, flow.init(None), t1=jnp.inf, rtol=1e-6, atol=atol)
    assert sol.fate is Outcome.t1_reached and sol.certificate.saddle_index == 0
    np.testing.assert_allclose(jnp.prod(sol.params), 1.0, atol=1e-8)
