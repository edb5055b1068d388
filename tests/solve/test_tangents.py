"""Perturbations carried along a lane: against formulas, an independent integrator, and finite differences through kinks."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import LinearFlow
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import jaxdyn as jd

DATA = jd.data.sinusoid(6)
TANH = jd.flows.GradientFlow(jd.models.TwoLayer(3, activation="tanh"), jd.losses.square, DATA)
RELU = jd.flows.GradientFlow(jd.models.TwoLayer(5, balanced=True, init_scale=1.5, delta=0.5), jd.losses.square, DATA)
DEEP = jd.flows.GradientFlow(jd.models.MLP((4, 3)), jd.losses.square, DATA)


def directions_at(start, count, seed=0):
    flat, unravel = ravel_pytree(start)
    return jax.vmap(unravel)(jnp.asarray(np.random.default_rng(seed).normal(size=(count, flat.size))))


def rows(tree):
    """A pytree with one leading axis as a matrix."""
    return np.asarray(jax.vmap(lambda leaf: ravel_pytree(leaf)[0])(tree))


def at_end(pushed):
    return rows(jax.tree.map(lambda leaf: leaf[:, -1], pushed))


def test_a_linear_flow_from_where_it_rests():
    """The lane itself never moves, so that only the tangents' own error bounds the steps."""
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    matrix = 3 * (matrix + matrix.T)
    sol, pushed = jd.tangents(LinearFlow(jnp.asarray(matrix)), jnp.zeros(5), jnp.eye(5), 0.5, record=[0.0, 0.1, 0.5], rtol=1e-9)
    assert sol.fate is jd.Outcome.t1_reached
    for k, t in enumerate([0.0, 0.1, 0.5]):
        exact = expm(-t * matrix)
        np.testing.assert_allclose(pushed[:, k].T, exact, rtol=0, atol=1e-8 * np.abs(exact).max())


@pytest.mark.parametrize(
    "solver",
    [None, *(pytest.param(solver, marks=pytest.mark.ci_slow) for solver in (dfx.Dopri8(), dfx.Kvaerno5(), jd.KernelExponential()))],
    ids=["Tsit5", "Dopri8", "Kvaerno5", "KernelExponential"],
)
def test_a_tanh_network_against_scipy(solver):
    start = TANH.init(jr.key(1))
    flat, unravel = ravel_pytree(start)
    along = directions_at(start, 2)
    field = jax.jit(lambda y: ravel_pytree(TANH.vector_field(0.0, unravel(y)))[0])
    slope = jax.jit(lambda y, v: jax.jvp(field, (y,), (v,))[1])

    def variational(t, z):
        y, *v = z.reshape(3, -1)
        return np.concatenate([field(y), *(slope(y, one) for one in v)])

    begin = np.concatenate([flat, rows(along).ravel()])
    exact = solve_ivp(variational, (0.0, 3.0), begin, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1].reshape(3, -1)[1:]
    sol, pushed = jd.tangents(TANH, start, along, 3.0, record=3, rtol=1e-8, solver=solver)
    assert sol.fate is jd.Outcome.t1_reached
    np.testing.assert_allclose(at_end(pushed), exact, rtol=0, atol=1e-6 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.parametrize(("flow", "seed"), [(RELU, 3), pytest.param(DEEP, 5, marks=pytest.mark.slow)], ids=["one layer", "deep"])
def test_through_kinks_against_differences(flow, seed):
    start = flow.init(jr.key(seed))
    flat, unravel = ravel_pytree(start)
    along = directions_at(start, 3)
    ts = [0.5, 1.3, 2.0]
    sol, pushed = jax.jit(lambda start: jd.tangents(flow, start, along, 2.0, record=ts, rtol=1e-12))(start)

    @jax.jit
    def ends(y):
        sol = jd.solve(flow, unravel(y), 2.0, record=ts, rtol=1e-12)
        return rows_of_states(sol.states), sol.certificate.num_kinks

    def rows_of_states(states):
        return jax.vmap(lambda leaf: ravel_pytree(leaf)[0])(states)

    step = 3e-5
    assert int(sol.certificate.num_kinks) > 0
    for k, v in enumerate(rows(along)):
        near = {j: ends(flat + j * step * v) for j in (-2, -1, 1, 2)}
        assert {int(kinks) for _, kinks in near.values()} == {int(sol.certificate.num_kinks)}, "the differences see a kink come or go"
        f = {j: np.asarray(end) for j, (end, _) in near.items()}
        expected = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * step)
        found = rows(jax.tree.map(lambda leaf, k=k: leaf[k], pushed))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[-1], expected[-1], rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale)  # records within a step are those of its dense output


@pytest.mark.ci_slow
def test_the_derivative_of_solve():
    """One direction agrees with jax.jvp of a solve; and under vmap over seeds."""
    starts = jax.vmap(TANH.init)(jr.split(jr.key(0), 3))

    def both(start):
        along = directions_at(start, 1)
        sol, pushed = jd.tangents(TANH, start, along, 2.0, record=3, rtol=1e-9)
        one = jax.tree.map(lambda leaf: leaf[0], along)
        value, slope = jax.jvp(lambda start: jd.solve(TANH, start, 2.0, record=3, rtol=1e-9).params, (start,), (one,))
        return sol.params, jax.tree.map(lambda leaf: leaf[0, -1], pushed), value, slope

    params, pushed, value, slope = jax.vmap(both)(starts)
    np.testing.assert_allclose(rows(params), rows(value), rtol=1e-7)
    np.testing.assert_allclose(rows(pushed), rows(slope), rtol=0, atol=1e-6)


@pytest.mark.ci_slow
def test_the_lane_is_stepped_once():
    """Field evaluations are counted where they happen: as many lanes' worth for thirty directions as for one."""
    counts = []

    class Counting(LinearFlow):
        def vector_field(self, t, y, args):
            jax.debug.callback(lambda: counts.append(1))
            return super().vector_field(t, y, args)

    flow = Counting(jnp.eye(4))
    seen = []
    for count in (1, 30):
        sol, _ = jd.tangents(flow, jnp.ones(4), jnp.ones((count, 4)), 1.0, record=2)
        jax.effects_barrier()
        seen.append((len(counts), int(sol.certificate.num_field_evaluations)))
        counts.clear()
    assert seen[0] == seen[1]


def test_records_after_a_blow_up_are_nan():
    sol, pushed = jd.tangents(LinearFlow(-jnp.eye(2)), jnp.ones(2), jnp.eye(2), 50.0, record=[1.0, 50.0])
    assert sol.fate is jd.Outcome.diverged
    np.testing.assert_allclose(pushed[:, 0], np.e * np.eye(2), rtol=1e-5)
    assert bool(jnp.all(jnp.isnan(pushed[:, 1])))


def test_misuse():
    start, along = jnp.ones(2), jnp.ones((1, 2))
    flow = LinearFlow(jnp.eye(2))
    with pytest.raises(ValueError, match="leading axis `direction`"):
        jd.tangents(flow, start, start, 1.0)
    with pytest.raises(ValueError, match="must be a pytree like the parameters"):
        jd.tangents(flow, start, {"y": along}, 1.0)
    with pytest.raises(ValueError, match="give tangents a number of times"):
        jd.tangents(flow, start, along, 1.0, record="steps")
    with pytest.raises(ValueError, match="'stop' is none of the keywords"):
        jd.tangents(flow, start, along, 1.0, stop=jd.LossBelow(1.0))
