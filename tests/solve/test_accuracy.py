"""Errors against scipy at the smallest tolerance, orders of convergence, and agreement with diffeqsolve."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest
import scipy.integrate
import scipy.linalg
from formula_flows import FormulaFlow, LinearFlow
from jax.flatten_util import ravel_pytree

import jaxdyn as jd

RNG = np.random.default_rng(0)
LINE = jd.data.sinusoid(8)
CLOUD = jd.data.points(RNG.normal(size=(10, 3)), RNG.normal(size=10))
TWO_LAYER = jd.models.TwoLayer
NETWORKS = {
    "tanh": (TWO_LAYER(6, activation="tanh"), LINE),
    "erf": (TWO_LAYER(6, activation="erf"), LINE),
    "softplus": (TWO_LAYER(6, activation="softplus"), LINE),
    "tanh_3d": (TWO_LAYER(6, dim=3, activation="tanh"), CLOUD),
    "mlp": (jd.models.MLP((5, 5), dim=3, bias=True, activation="tanh"), CLOUD),
}
FACTOR = 1.0
SLOW = pytest.mark.slow  # more of the same, each with a compilation or two of its own


def reference(flow, params, ts):
    """The trajectory at ts by scipy's DOP853 with rtol = atol = 1e-12, as rows of flat parameters."""
    flat, unravel = ravel_pytree(params)
    field = jax.jit(lambda y: ravel_pytree(flow.vector_field(0.0, unravel(y), None))[0])
    ts = np.asarray(ts)
    sol = scipy.integrate.solve_ivp(lambda t, y: np.asarray(field(y)), (0.0, ts[-1]), flat, "DOP853", ts, rtol=1e-12, atol=1e-12)
    assert sol.success
    return sol.y.T


def rows(states):
    return np.asarray(jax.vmap(lambda state: ravel_pytree(state)[0])(states))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "tanh" else SLOW) for n in NETWORKS])
def test_error_at_every_record_is_within_the_tolerance(name, record_property):
    """The largest error over the dense output, relative to the largest |y|, at rtol 1e-6 and 1e-8.

    The controller bounds the error of a step, not of the trajectory; a gradient flow contracts most of what it
    gathers: measured 0.04 to 0.4 times rtol.
    """
    model, data = NETWORKS[name]
    flow = jd.flows.GradientFlow(model, jd.losses.square, data)
    params = model.init(jr.key(1))
    ts = np.concatenate([[0.0], np.geomspace(1e-3, 20.0, 30)])
    expected = reference(flow, params, ts)
    for rtol in (1e-6, 1e-8):
        sol = jd.solve(flow, params, t1=20.0, rtol=rtol, record=ts)
        error = np.abs(rows(sol.states) - expected).max() / np.abs(expected).max()
        record_property(f"error_over_rtol_{rtol:g}", float(error / rtol))
        assert error <= FACTOR * rtol
        assert sol.fate.name == "t1_reached"


@pytest.mark.parametrize(
    ("solver", "order", "steps"),
    [
        (dfx.Euler(), 1, (200, 400, 800)),
        (dfx.Heun(), 2, (50, 100, 200)),
        (dfx.Tsit5(), 5, (40, 80, 160)),
        (dfx.Dopri8(), 8, (12, 18, 27)),
        (dfx.Kvaerno5(root_finder=optx.Newton(rtol=1e-12, atol=1e-12)), 5, (16, 32, 64)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, dfx.AbstractSolver) else None,
)
def test_orders_of_convergence(solver, order, steps):
    """From y = 1, y' = y^2 up to y = 4 at t = 3/4: the slope of log error against log step."""
    errors = []
    for n in steps:
        start = {"y": jnp.ones(1)}
        controller = dfx.ConstantStepSize()
        sol = jd.solve(FormulaFlow("square"), start, t1=0.75, solver=solver, controller=controller, dt0=0.75 / n, record=2)
        assert sol.certificate.num_accepted_steps == n
        errors.append(abs(float(sol.params["y"][0]) - 4.0))
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.4, f"{errors} have slope {slope}"


def test_dense_output_keeps_fourth_order():
    """Between steps Tsit5's interpolant has order 4: halving the step divides the error by 16 or more."""
    ts = np.linspace(0.0, 4.0, 101)
    errors = []
    for n in (20, 40, 80):
        sol = jd.solve(FormulaFlow("clock"), {"y": jnp.ones(1)}, t1=4.0, controller=dfx.ConstantStepSize(), dt0=4.0 / n, record=ts)
        errors.append(np.abs(np.asarray(sol.states["y"])[:, 0] - np.exp(np.sin(ts))).max())
    slope = np.polyfit(np.log([4 / 20, 4 / 40, 4 / 80]), np.log(errors), 1)[0]
    assert 3.7 < slope < 5.3, errors


STIFF = scipy.linalg.orth(RNG.normal(size=(6, 6)))
STIFF = jnp.asarray(STIFF @ np.diag([1e4, 1e3, 100.0, 10.0, 1.0, 0.1]) @ STIFF.T)


@pytest.mark.parametrize(
    ("solver", "steps"), [(dfx.Kvaerno5(), 200), pytest.param(dfx.Kvaerno3(), 2000, marks=SLOW)], ids=["Kvaerno5", "Kvaerno3"]
)
def test_implicit_solvers_on_a_stiff_linear_flow(solver, steps):
    """Condition 1e5 up to t = 10: an explicit method would need 3e4 steps for stability alone."""
    flow = LinearFlow(0.5 * (STIFF + STIFF.T))
    start = jnp.ones(6)
    sol = jd.solve(flow, start, t1=10.0, solver=solver, rtol=1e-6, record=2)
    expected = scipy.linalg.expm(-10.0 * np.asarray(flow.matrix)) @ np.ones(6)
    assert sol.fate.name == "t1_reached"
    assert sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps < steps
    assert sol.certificate.num_field_evaluations == -1
    np.testing.assert_allclose(sol.params, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("solver", "controller", "dt0"),
    [
        (dfx.Tsit5(), dfx.PIDController(rtol=1e-7, atol=1e-9, pcoeff=0.2, icoeff=0.4, dcoeff=0.1, dtmax=0.2), 0.1),
        pytest.param(dfx.Heun(), dfx.ConstantStepSize(), 0.0625, marks=SLOW),
        pytest.param(dfx.Kvaerno3(), dfx.PIDController(rtol=1e-5, atol=1e-5), 0.01, marks=SLOW),
        (dfx.Tsit5(), dfx.ClipStepSizeController(dfx.PIDController(rtol=1e-7, atol=1e-9), step_ts=[0.3, 2.0], jump_ts=[1.7]), 0.01),
    ],
    ids=["tsit5_pid", "heun_constant", "kvaerno3", "tsit5_clipped"],
)
def test_same_steps_and_same_result_as_diffeqsolve(solver, controller, dt0):
    """With the first step given: diffeqsolve wraps its term and then starts with 0.01 whatever the field."""
    flow, start = FormulaFlow("clock"), {"y": jnp.asarray([1.0, -0.5])}
    theirs = dfx.diffeqsolve(
        dfx.ODETerm(flow.vector_field), solver, 0.0, 3.0, dt0, start, stepsize_controller=controller, adjoint=dfx.ForwardMode()
    )
    ours = jd.solve(flow, start, t1=3.0, solver=solver, controller=controller, dt0=dt0, record=2)
    assert int(ours.certificate.num_accepted_steps) == int(theirs.stats["num_accepted_steps"])
    assert int(ours.certificate.num_rejected_steps) == int(theirs.stats["num_rejected_steps"])
    np.testing.assert_allclose(ours.params["y"], theirs.ys["y"][-1], rtol=1e-12 if isinstance(solver, dfx.Kvaerno3) else 1e-13)


def test_step_times_are_met():
    flow, start = FormulaFlow("clock"), {"y": jnp.ones(1)}
    wanted = [0.1, 0.7, 1.9]
    controller = dfx.ClipStepSizeController(dfx.PIDController(rtol=1e-6, atol=1e-8), step_ts=wanted)
    sol = jd.solve(flow, start, t1=3.0, t0=0.05, controller=controller, record="steps", max_steps=200)
    nearest = np.nanmin(np.abs(np.asarray(sol.ts)[:, None] - np.asarray(wanted)[None]), axis=0)
    np.testing.assert_allclose(nearest, 0.0, atol=1e-15)
    assert sol.certificate.num_accepted_steps < 60
