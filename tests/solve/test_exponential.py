"""The kernel-exponential solver against scipy, closed forms and the judge of kinks."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
from jax.flatten_util import ravel_pytree
from kinked import drawn, error

import jaxdyn as jd
from jaxdyn.solve import KernelExponential, Outcome

RNG = np.random.default_rng(1)
LINE = jd.data.sinusoid(6)
SIGNS = jd.data.points(LINE.x, np.sign(LINE.y + 0.1))
NETWORK = jd.models.TwoLayer(8, activation="tanh")
TIMES = np.array([0.3, 2.0, 30.0])


def flows():
    """Losses, penalties and coordinates."""
    gradient = jd.flows.GradientFlow
    twice = jd.data.points(np.concatenate([LINE.x, LINE.x[:2]]), np.append(LINE.y, [0.3, -0.3]))
    return {
        "square": gradient(NETWORK, jd.losses.square, LINE),
        "repeated samples": gradient(NETWORK, jd.losses.mean_square, twice),
        "logistic": gradient(NETWORK, jd.losses.logistic, SIGNS),
        "decay": gradient(NETWORK, jd.losses.square, LINE, weight_decay=0.05),
        "scales": gradient(NETWORK, jd.losses.square, LINE, time_scales={"a": 1.0, "b": 2.0, "c": 0.1}, weight_decay=0.05, frozen=("b",)),
        "own loss": gradient(NETWORK, lambda f, y: jnp.sum((f - y) ** 2) + jnp.sum(f) ** 4, LINE),
        "more samples than parameters": gradient(jd.models.TwoLayer(2, activation="tanh"), jd.losses.square, jd.data.sinusoid(30)),
        "linearised": jd.flows.LinearisedFlow(gradient(NETWORK, jd.losses.square, LINE)),
        "classes": gradient(
            jd.models.MLP((5,), activation="tanh", outputs=3), jd.losses.cross_entropy, jd.data.points(LINE.x, np.arange(6) % 3)
        ),
        "rows": gradient(
            jd.models.MLP((5,), activation="tanh", outputs=2), jd.losses.square, jd.data.points(LINE.x, np.stack([LINE.y, LINE.x[:, 0]], 1))
        ),
        "mlp": gradient(jd.models.MLP((4, 4), activation="tanh", bias=True), jd.losses.square, LINE),
    }


def reference(flow, params, ts, rtol=1e-12):
    """The trajectory by scipy's Radau with the exact Jacobian, as rows of flat parameters."""
    flat, unravel = ravel_pytree(params)
    field = jax.jit(lambda y: ravel_pytree(flow.vector_field(0.0, unravel(y), None))[0])
    slope = jax.jit(jax.jacfwd(field))
    sol = scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(field(y)), (0.0, ts[-1]), flat, "Radau", ts, rtol=rtol, atol=rtol, jac=lambda t, y: np.asarray(slope(y))
    )
    assert sol.success
    return sol.y.T


def rows(states):
    return np.asarray(jax.vmap(lambda state: ravel_pytree(state)[0])(states))


@pytest.mark.ci_slow
@pytest.mark.parametrize("name", flows())
def test_error_at_every_record_is_within_the_tolerance(name):
    """Measured: .001 to .5 times rtol."""
    flow = flows()[name]
    params = flow.init(jr.key(1))
    expected = reference(flow, params, TIMES)
    for rtol in (1e-5, 1e-8):
        sol = jd.solve(flow, params, t1=30.0, rtol=rtol, record=TIMES, solver=KernelExponential())
        assert sol.fate is Outcome.t1_reached
        found = np.abs(rows(sol.states) - expected).max() / np.abs(expected).max()
        assert found <= 2 * rtol, (rtol, found / rtol)
    assert "KernelExponential" in sol.method and int(sol.certificate.num_field_evaluations) > 0


def test_a_frozen_kernel_is_solved_at_any_length():
    """A linearised network to T = 1e9, by steps that grow as they may, against the kernel's eigenbasis in numpy."""
    flow = jd.flows.GradientFlow(NETWORK, jd.losses.square, LINE)
    start = flow.init(jr.key(2))
    linearised = jd.flows.LinearisedFlow(flow, start)
    flat, unravel = ravel_pytree(start)
    jacobian = np.asarray(jax.jacfwd(lambda v: flow.outputs(unravel(v)))(flat))
    left, sizes, right = np.linalg.svd(jacobian, full_matrices=False)
    residual = np.asarray(flow.outputs(start)) - LINE.y
    for t in (1e2, 1e9):
        expected = flat + right.T @ (np.expm1(-(sizes**2) * t) / sizes * (left.T @ residual))
        sol = jd.solve(linearised, start, t1=t, rtol=1e-8, record=2, solver=KernelExponential())
        np.testing.assert_allclose(ravel_pytree(sol.params)[0], expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
        assert int(sol.certificate.num_accepted_steps) <= 30


@pytest.mark.ci_slow
def test_a_stiff_flow_in_few_steps():
    """T = 1e5, where an explicit solver takes some 1e6 steps."""
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(12, activation="tanh", init_scale=2.0), jd.losses.square, LINE)
    params = flow.init(jr.key(0))
    expected = reference(flow, params, np.array([1e5]), 1e-10)[-1]
    sol = jd.solve(flow, params, t1=1e5, rtol=1e-7, record=2, solver=KernelExponential())
    found = np.abs(np.asarray(ravel_pytree(sol.params)[0]) - expected).max() / np.abs(expected).max()
    assert found <= 2e-7 and int(sol.certificate.num_accepted_steps) <= 300, (found, sol.certificate.num_accepted_steps)


def test_the_order():
    """Fixed steps on a flow that is not stiff; measured: 4.8."""
    flow = jd.flows.GradientFlow(NETWORK, jd.losses.square, LINE)
    params, steps = flow.init(jr.key(1)), np.array([0.1, 0.05, 0.025, 0.0125])
    expected = reference(flow, params, np.array([2.0]), 1e-13)[-1]

    def end(dt):
        how = {"controller": dfx.ConstantStepSize(), "dt0": dt, "solver": KernelExponential(), "record": 2}
        return ravel_pytree(jd.solve(flow, params, t1=2.0, **how).params)[0]

    errors = np.abs(np.asarray(jax.vmap(end)(jnp.asarray(steps))) - expected).max(axis=1)
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 4.6 <= slope <= 5.6, (slope, errors)


@pytest.mark.parametrize(
    ("family", "seed"),
    [
        pytest.param({"n": 5, "d": 1, "m": 3}, 4, marks=pytest.mark.slow),
        pytest.param({"n": 6, "d": 2, "m": 3, "bias": False}, 2, marks=pytest.mark.slow),
    ],
)
def test_kinks_are_located(family, seed):
    """Flips and slides, against the judge of piecewise.py."""
    problem = drawn(seed, t1=4.0, **family)
    for rtol in (1e-5, 1e-8):
        sol = jd.solve(problem.flow, problem.start, t1=4.0, rtol=rtol, record=2, solver=KernelExponential())
        truth, events = problem.truth
        assert error(sol.params, truth) <= 100 * rtol, error(sol.params, truth) / rtol
        assert int(sol.certificate.num_kinks) == len(events)


@pytest.mark.slow
def test_reduced_coordinates():
    """A mobility that depends on the state; located one kink at a time."""
    model = jd.models.TwoLayer(6, balanced=True, delta=-1.0)
    params = model.init(jr.key(3))
    reduced = jd.flows.ReducedFlow(model, jd.losses.square, LINE)
    start = jd.flows.reduce_univariate(params)
    one, two = (jd.solve(reduced, start, t1=3.0, rtol=1e-8, record=2, solver=solver) for solver in (KernelExponential(), None))
    np.testing.assert_allclose(reduced.outputs(one.params), reduced.outputs(two.params), atol=1e-6)


@pytest.mark.slow
def test_float32():
    flow = jd.flows.GradientFlow(NETWORK, jd.losses.square, LINE)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), flow.init(jr.key(1)))
    sol = jd.solve(flow, params, t1=1e3, rtol=1e-4, record=2, solver=KernelExponential())
    exact = jd.solve(flow, flow.init(jr.key(1)), t1=1e3, rtol=1e-8, record=2, solver=KernelExponential())
    assert {leaf.dtype for leaf in jax.tree.leaves(sol.params)} == {jnp.dtype("float32")} and sol.fate is Outcome.t1_reached
    np.testing.assert_allclose(ravel_pytree(sol.params)[0], ravel_pytree(exact.params)[0], atol=1e-3)


@pytest.mark.slow
def test_a_sweep_is_solve():
    flow = jd.flows.GradientFlow(NETWORK, jd.losses.square, LINE)
    how = {"t1": 1e3, "rtol": 1e-7, "solver": KernelExponential(), "record": 3}
    ds = jd.sweep(flow, 5, devices=jax.devices()[:1], width=2, progress=False, **how)
    for seed in range(5):
        alone = jd.solve(flow, flow.init(jr.fold_in(jr.key(0), seed)), **how)
        np.testing.assert_allclose(ravel_pytree(jd.final_params(ds, flow, seed))[0], ravel_pytree(alone.params)[0], atol=1e-7)


def test_a_flow_without_outputs_is_refused():
    class Bare(jd.flows.AbstractFlow):
        def init(self, key):
            return jr.normal(key, (3,))

        def loss(self, y):
            return jnp.sum(y**2)

        def vector_field(self, t, y, args=None):
            return -2 * y

    with pytest.raises(ValueError, match="needs a flow with outputs"):
        jd.solve(Bare(), jnp.ones(3), t1=1.0, solver=KernelExponential())


@pytest.mark.slow
def test_stiffness_and_kinks_together():
    """The kernel regime to T = 1e5: Tsit5 chatters at its stability bound and would take 1e6 steps; errors measured: 3 to 40 times rtol."""
    x = np.linspace(-1, 1, 20)
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(128, init_scale=3.0), jd.losses.square, jd.data.points(x, np.sin(3 * x)))
    params = flow.init(jr.key(0))

    def end(rtol, t1, solver):
        sol = jd.solve(flow, params, t1=t1, rtol=rtol, record=2, solver=solver)
        return ravel_pytree(sol.params)[0], sol.certificate, sol.outcome

    short, fine = jax.jit(lambda: end(1e-9, 10.0, None))(), jax.jit(lambda: end(1e-10, 10.0, KernelExponential()))()
    np.testing.assert_allclose(fine[0], short[0], atol=1e-7)
    assert int(fine[1].num_kinks) == int(short[1].num_kinks)
    long = jax.jit(lambda rtol: end(rtol, 1e5, KernelExponential()))
    truth = long(1e-10)[0]
    for rtol in (1e-5, 1e-6, 1e-7, 1e-8):
        found, certificate, outcome = long(rtol)
        assert int(outcome) == Outcome.t1_reached and np.abs(found - truth).max() <= 100 * rtol
        steps = int(certificate.num_accepted_steps + certificate.num_rejected_steps)
        assert steps <= 2 * int(certificate.num_kinks) + 300


@pytest.mark.ci_slow
def test_gates_that_have_just_changed_stay():
    """Next to its surface a pre-activation is of either sign; a gate that is taken back there is wrong for a whole step."""
    model = jd.models.TwoLayer(64, init_scale=0.1)
    x = jnp.linspace(-1.0, 1.0, 20)[:, None]
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(x, jnp.sin(3 * x[:, 0])))
    start = flow.init(jr.key(0))
    judge = jd.solve(flow, start, t1=1.0, rtol=1e-9, record=2, solver=dfx.Tsit5())
    for rtol in (1e-5, 1e-6):
        sol = jd.solve(flow, start, t1=1.0, rtol=rtol, record=2, solver=KernelExponential())
        np.testing.assert_allclose(ravel_pytree(sol.params)[0], ravel_pytree(judge.params)[0], rtol=0, atol=1e-6)
        assert int(sol.certificate.num_kinks) == int(judge.certificate.num_kinks)
