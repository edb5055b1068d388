"""Starts of 1e-12 and less: the default absolute tolerance follows their size; against scipy at tolerances far below the start."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

import jaxdyn as jd
from jaxdyn.solve.lane import Lane
from jaxdyn.solve.settings import Tolerances, make_settings

DATA = jd.data.sinusoid(6)


def network(scale, **how):
    return jd.flows.GradientFlow(jd.models.TwoLayer(width=6, activation="tanh", init_scale=scale), jd.losses.square, DATA, **how)


def by_scipy(flow, start, times, atol):
    flat, unravel = ravel_pytree(start)
    field = jax.jit(lambda y: ravel_pytree(flow.vector_field(0.0, unravel(y)))[0])
    sol = solve_ivp(lambda t, y: np.asarray(field(y)), (0.0, times[-1]), np.asarray(flat), "DOP853", times, rtol=1e-10, atol=atol)
    return sol.y.T


@pytest.mark.parametrize("scale", [1e-8, 1e-12, 1e-30])
@pytest.mark.parametrize("solver", [None, dfx.Kvaerno5()])
def test_growth_from_a_tiny_start(scale, solver):
    """At every record time the error is some tolerances of the size that the network has then, however small."""
    flow = network(scale)
    start = flow.init(jr.key(1))
    times = np.asarray([0.0, 1.0, 5.0, 10.0, 20.0])
    sol = jd.solve(flow, start, times[-1], record=times, solver=solver)
    found = np.asarray(jax.vmap(lambda y: ravel_pytree(y)[0])(sol.states))
    true = by_scipy(flow, start, times, 1e-6 * scale)
    errors = np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)
    assert np.all(errors < 3e-5), errors


@pytest.mark.ci_slow
def test_the_time_of_escape():
    """It grows like the logarithm of the start's size; with an absolute tolerance of 1e-8 it was off by 6 from 1e-12 on."""
    late = {}
    for scale in (1e-6, 1e-12):
        flow = network(scale)
        start = flow.init(jr.key(0))
        sol = jd.solve(flow, start, 1e3, stop=jd.LossBelow(0.9 * float(flow.loss(start))))
        late[scale] = float(sol.t)
        flat, unravel = ravel_pytree(start)
        field = jax.jit(lambda y, unravel=unravel, flow=flow: ravel_pytree(flow.vector_field(0.0, unravel(y)))[0])
        loss = jax.jit(lambda y, unravel=unravel, flow=flow: flow.loss(unravel(y)))

        def event(t, y, loss=loss, level=0.9 * float(flow.loss(start))):
            return float(loss(y)) - level

        event.terminal = True
        true = solve_ivp(
            lambda t, y, f=field: np.asarray(f(y)), (0, 1e3), np.asarray(flat), "DOP853", rtol=1e-10, atol=1e-6 * scale, events=event
        )
        assert abs(late[scale] - true.t[-1]) < 0.2, (late, true.t[-1])
    assert late[1e-12] > late[1e-6] + 5


@pytest.mark.ci_slow
def test_what_follows_and_what_does_not():
    """The factor is the largest entry of what moves, at most 1; 1 for starts of 0, given tolerances and directions of norm 1."""
    start = {"a": jnp.asarray([1e-5, -3e-4]), "b": jnp.asarray([5.0])}

    def factor(flow, start, **how):
        settings = make_settings(jnp.dtype(float), 1e-3, (), Tolerances(**how))
        return float(jax.jit(lambda y: Lane(flow, settings, start).start(y).atol_factor)(start))

    def apply(p, x):
        return p["b"] * jnp.tanh(x @ p["a"])

    data = jd.data.points([[1.0, 2.0], [0.0, 1.0]], [1.0, -1.0])
    plain, frozen = (jd.flows.GradientFlow(apply, jd.losses.square, data, frozen=names) for names in ((), ("b",)))
    assert factor(plain, start) == 1.0 and factor(frozen, start) == 3e-4
    assert factor(frozen, start, atol=1e-8) == 1.0
    assert factor(frozen, start, controller=dfx.PIDController(rtol=1e-6, atol=1e-8)) == 1.0
    assert factor(frozen, jax.tree.map(jnp.zeros_like, start)) == 1.0
    clock = jd.flows.DirectionClock(jd.flows.GradientFlow(jd.models.TwoLayer(4, init_scale=1e-9), jd.losses.square, DATA))
    assert factor(clock, clock.init(jr.key(0))) == 1.0
    on = jd.solve(network(1e-9), jd.solve(network(1e-9), network(1e-9).init(jr.key(0)), 1.0), 2.0)
    assert 1e-11 < float(on.state.atol_factor) < 1e-8  # goes on with the tolerance of the first start


@pytest.mark.ci_slow
def test_each_lane_of_a_sweep_has_its_own():
    flow = network(1.0)
    ds = jd.sweep(flow, 2, {"model.init_scale": [1e-12, 1e-6, 1.0]}, t1=20.0, progress=False, observe={"loss": jd.measure.loss})
    for scale in (1e-12, 1e-6, 1.0):
        for seed in (0, 1):
            one = network(scale)
            true = by_scipy(one, one.init(jr.fold_in(jr.key(0), seed)), np.asarray([0.0, 20.0]), 1e-6 * scale)[-1]
            found = ds["params"].sel(init_scale=scale, seed=seed).values
            assert np.linalg.norm(found - true) < 3e-5 * np.linalg.norm(true)


def test_denormal_starts_do_not_make_the_tolerance_zero():
    flow = network(1e-304)
    sol = jd.solve(flow, flow.init(jr.key(0)), 5.0)
    assert sol.fate is jd.Outcome.t1_reached and np.all(np.isfinite(ravel_pytree(sol.params)[0]))
