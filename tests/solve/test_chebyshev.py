"""The stabilised explicit solver against closed forms, other solvers and the judge of kinks."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import LinearFlow
from kinked import drawn, error

import jaxdyn as jd
from jaxdyn.solve.chebyshev import DAMPING, _stages

CHEBYSHEV = jd.RungeKuttaChebyshev()


def committee(k):
    model = jd.models.TwoLayer(k, k, False, "relu", "one", "a", committee=True, init_scale=1 / np.sqrt(k))
    return jd.flows.PopulationFlow(model, np.eye(k))


@pytest.mark.parametrize("stages", [2, 3, 7, 40])
def test_a_step_is_the_damped_chebyshev_polynomial(stages):
    """A + b T_s(w0 + w1 z) of z = h lambda, by numpy's own polynomials; stable, damped, and of order 2."""
    T = np.polynomial.chebyshev.Chebyshev.basis(stages)
    w0 = 1 + DAMPING / stages**2
    w1, b = T.deriv(1)(w0) / T.deriv(2)(w0), T.deriv(2)(w0) / T.deriv(1)(w0) ** 2
    z = np.append(np.linspace(-(stages**2 - 1) / 1.54, 0, 500), -1e-3)
    taken = jax.jit(jax.vmap(lambda z: _stages(lambda _, y: z * y, jnp.ones(1), z * jnp.ones(1), 1.0, jnp.asarray(stages))[0]))
    got = np.asarray(taken(jnp.asarray(z)))
    np.testing.assert_allclose(got, 1 - b * T(w0) + b * T(w0 + w1 * z), rtol=0, atol=1e-11)
    damped = z < -3 if stages > 2 else z < -1.9
    assert np.abs(got).max() <= 1 + 1e-12 and np.abs(got[damped]).max() < 0.97
    np.testing.assert_allclose(got[-1], np.exp(-1e-3), rtol=0, atol=1e-9)


def test_stages_are_taken_at_their_times():
    """Y' = 3 t^2 from t = 0, of which a method of order 2 makes t^3 up to the cube of the step; the field sees fractions of it."""
    ends = []
    for h in (0.2, 0.1):
        end = _stages(lambda c, y, h=h: 3 * (1 + c * h) ** 2 * jnp.ones(1), jnp.ones(1), 3 * jnp.ones(1), h, jnp.asarray(6))
        ends.append(abs(float(end[0]) - (1 + h) ** 3))
    assert ends[0] < 0.2**3 and 7 < ends[0] / ends[1] < 9


def test_a_stiff_linear_flow_in_few_steps():
    """Rates from 1e-2 to 1e4, one of them unknown to the start; Tsit5 would need T * 1e4 / 3.3 steps."""
    rates = np.logspace(-2, 4, 25)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(25, 25)))[0]
    flow, y = LinearFlow(jnp.asarray(basis * rates @ basis.T)), jnp.asarray(basis @ np.append(np.ones(24), 1e-9))
    end = jd.solve(flow, y, 10.0, rtol=1e-5, solver=CHEBYSHEV)
    exact = basis @ (np.exp(-10 * rates) * np.append(np.ones(24), 1e-9))
    assert end.fate is jd.Outcome.t1_reached and np.abs(end.params - exact).max() < 1e-4
    assert int(end.certificate.num_accepted_steps) < 600 and int(end.certificate.num_rejected_steps) < 30
    assert int(end.certificate.num_field_evaluations) == -1 and "RungeKuttaChebyshev" in end.method


@pytest.mark.ci_slow
def test_order_and_dense_output():
    """Error over the step squared, at the end and at a record inside of a step."""
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(8, activation="tanh"), jd.losses.square, jd.data.sinusoid(6))
    y, times = flow.init(jr.key(0)), np.array([0.613, 1.0])
    truth = jd.solve(flow, y, 1.0, record=times, rtol=1e-12, solver=dfx.Dopri8()).states
    found = []
    for steps in (40, 80, 160):
        sol = jd.solve(flow, y, 1.0, record=times, solver=CHEBYSHEV, controller=dfx.ConstantStepSize(), dt0=1 / steps)
        apart = jax.tree.map(lambda a, b: jnp.abs(a - b).reshape(2, -1).max(axis=1), sol.states, truth)
        found.append(np.max(jax.tree.leaves(apart), axis=0))
    orders = np.log2(np.asarray(found)[:-1] / np.asarray(found)[1:])
    assert np.all(orders > 1.7) and np.all(orders < 2.4)


@pytest.mark.ci_slow
def test_a_population_flow_in_few_evaluations():
    """To where the gradient is small, by the stop rule that asks for the velocity; one lane and many."""
    flow = committee(6)
    how = {"stop": jd.GradientNormBelow(1e-3), "max_steps": 5000}
    ds = jd.sweep(flow, 3, t1=1e4, record=2, rtol=1e-3, solver=CHEBYSHEV, progress=False, **how)
    for seed in range(3):
        y = flow.init(jr.fold_in(jr.key(0), seed))
        fine = jd.solve(flow, y, 1e4, rtol=1e-8, **how)
        one = jd.solve(flow, y, 1e4, rtol=1e-3, solver=CHEBYSHEV, **how)
        assert one.fate is jd.Outcome.converged
        assert float(jd.measure.gradient_norm(flow, one.t, one.params)) <= 1e-3 * (1 + 1e-6)  # the zero of the rule is located
        assert int(ds["num_accepted_steps"][seed]) == int(one.certificate.num_accepted_steps)
        # both are within the gradient over the smallest curvature of the minimum
        np.testing.assert_allclose(one.params["a"], fine.params["a"], rtol=0, atol=5e-3)
        assert int(one.certificate.num_accepted_steps) < 0.8 * int(fine.certificate.num_accepted_steps)


@pytest.mark.ci_slow
def test_kinks_are_located():
    """Their number, and the end, by the judge that follows one gate pattern at a time."""
    problem = drawn(1, n=6, d=1, m=3, t1=4.0)
    truth, events = problem.truth
    end = problem.solved(1e-5, solver=CHEBYSHEV)
    assert end.fate is jd.Outcome.t1_reached and error(end.params, truth) < 1e-3
    assert int(end.certificate.num_kinks) == len(events)
