"""The certificate's numbers against independent counts and recomputation."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.experimental import io_callback

import jaxdyn as jd
from jaxdyn.solve import GradientNormBelow

CALLS = []


class CountingFlow(eqx.Module):
    """y' = -y^3 whose field reports every evaluation to the host."""

    def vector_field(self, t, y, args):
        io_callback(lambda _: CALLS.append(1), None, t, ordered=False)
        return -(y**3)

    def loss(self, y):
        return jnp.sum(y**4) / 4


@pytest.mark.parametrize(
    ("solver", "how", "at_start", "each"),
    [
        (dfx.Tsit5(), {"dt0": 0.1}, 1, 6),
        (dfx.Tsit5(), {"stop": GradientNormBelow(1e-3)}, 2, 6),
        (dfx.Heun(), {"stop": [GradientNormBelow(1e-3), GradientNormBelow(1e-4)]}, 2, 3),
        (dfx.Euler(), {"controller": dfx.ConstantStepSize(), "dt0": 0.1}, 1, 1),
    ],
    ids=["tsit5_dt0", "tsit5_rule", "heun_rules", "euler"],
)
def test_field_evaluations_are_counted(solver, how, at_start, each):
    CALLS.clear()
    sol = jd.solve(CountingFlow(), jnp.asarray([1.0, 0.5]), t1=2.0, record=2, solver=solver, **how)
    jax.block_until_ready(sol)
    jax.effects_barrier()
    steps = int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps)
    assert int(sol.certificate.num_field_evaluations) == len(CALLS) == at_start + each * steps


@pytest.fixture(scope="module")
def relu_lane():
    """A ReLU network at a coarse tolerance, so that the loss does rise now and then."""
    model = jd.models.TwoLayer(width=6, init_scale=2.0)
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.square_wave(10))
    return flow, jd.solve(flow, model.init(jr.key(3)), t1=50.0, rtol=3e-2, atol=3e-2, record="steps", max_steps=2000)


@pytest.mark.slow
def test_loss_drift_and_norm_are_those_of_the_recorded_steps(relu_lane):
    flow, sol = relu_lane
    n = int(sol.certificate.num_accepted_steps) + 1
    states = jax.tree.map(lambda leaf: leaf[:n], sol.states)
    losses = np.asarray(jax.vmap(flow.loss)(states))
    a, b, c = (np.asarray(states[k]) for k in "abc")
    balance = c**2 - (a**2).sum(2) - b**2
    certificate = sol.certificate
    assert n > 20
    np.testing.assert_allclose([certificate.loss_start, certificate.loss_end], losses[[0, -1]], rtol=1e-12)
    rise = max(np.diff(losses).max(), 0.0)
    assert rise > 1e-4, "the loss never rose: take a coarser tolerance"
    np.testing.assert_allclose(certificate.largest_loss_increase, rise, rtol=1e-9)
    drift = np.abs(balance - balance[0]).max()
    assert drift > 1e-4
    np.testing.assert_allclose(certificate.conserved_drift, drift, rtol=1e-9)
    norms = np.sqrt((a**2).sum((1, 2)) + (b**2).sum(1) + (c**2).sum(1))
    np.testing.assert_allclose(certificate.largest_norm, norms.max(), rtol=1e-12)


@pytest.mark.ci_slow
def test_drift_falls_with_the_tolerance():
    model = jd.models.TwoLayer(width=4, activation="relu^2")
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.sinusoid(6))
    drifts = [
        float(jd.solve(flow, model.init(jr.key(0)), t1=5.0, rtol=r, record=2).certificate.conserved_drift) for r in (1e-4, 1e-6, 1e-8)
    ]
    assert drifts[0] > 10 * drifts[1] > 100 * drifts[2] > 0


def test_drift_is_nan_where_nothing_is_conserved():
    sol = jd.solve(CountingFlow(), jnp.asarray([1.0, 0.5]), t1=2.0, record=2, dt0=0.1)
    assert np.isnan(sol.certificate.conserved_drift)
    assert sol.certificate.largest_loss_increase == 0.0
