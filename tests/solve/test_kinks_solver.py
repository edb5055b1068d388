"""Kinks with all that a solve offers: records, going on, sweeps, other solvers, fixed steps, float32, and where they are not located."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from kinked import drawn, error, table

import jaxdyn as jd
from jaxdyn.solve import Outcome, load_solution

pytestmark = [pytest.mark.ci_slow, pytest.mark.usefixtures("optimised")]

PROBLEM = drawn(4, n=5, d=1, m=3, t1=4.0)
"""A flip and two slides."""
TIMES = np.array([0.05, 0.3, 0.9, 2.0, 4.0])
STEPS = np.array([0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125])


@pytest.fixture(scope="module")
def whole():
    return PROBLEM.solved(1e-8, record=TIMES)


@pytest.fixture(scope="module")
def paused(whole):
    return PROBLEM.solved(1e-8, record=TIMES, max_steps=int(whole.certificate.num_accepted_steps) // 4)


def assert_same_bits(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_records_inside_steps():
    """The dense output through kinks, at many times of few long steps, against the judge at each."""
    times = np.linspace(0.02, 4.0, 5)
    for start in (0.0, 0.1, 0.2, 0.37, 0.55):
        solution = PROBLEM.solved(1e-6, record=np.minimum(times + start, 4.0))
        assert int(solution.certificate.num_accepted_steps) < 60
        for t, recorded in zip(np.asarray(solution.ts), table(solution.states), strict=True):
            truth = PROBLEM.judged(float(t))[0]
            assert np.max(np.abs(recorded - truth) / (1 + np.abs(truth))) <= 100e-6, t


def test_a_paused_lane_goes_on_to_the_same_bits(whole, paused, tmp_path):
    """The pause is between the kinks; saved and loaded in between."""
    assert paused.fate is Outcome.max_steps and 0 < int(paused.certificate.num_kinks) < int(whole.certificate.num_kinks)
    paused.save(tmp_path / "lane.npz")
    loaded = load_solution(tmp_path / "lane.npz", PROBLEM.flow)
    assert_same_bits(loaded, paused)
    rest = jd.solve(PROBLEM.flow, loaded, t1=4.0, rtol=1e-8, record=TIMES[-2:])
    assert rest.fate is Outcome.t1_reached
    for name in ("params", "t", "certificate"):
        assert_same_bits(getattr(rest, name), getattr(whole, name))
    assert_same_bits(rest.state.kinks, whole.state.kinks)


def test_a_lane_located_goes_not_on_without(paused):
    with pytest.raises(ValueError, match="was solved by Tsit5, PIDController, kinks located, not"):
        jd.solve(PROBLEM.flow, paused, t1=4.0, record=2, locate_kinks=False)


@pytest.mark.slow
def test_a_sweep_is_solve():
    """Each lane of a batch, whose others have their kinks at other times (measured: to 7e-12, as step sizes follow rounding)."""
    flow, seeds = PROBLEM.flow, 6
    ds = jd.sweep(flow, seeds, t1=4.0, rtol=1e-8, record=TIMES, width=4, devices=jax.devices()[:1], progress=False)
    kinks = []
    for seed in range(seeds):
        alone = jd.solve(flow, flow.init(jr.fold_in(jr.key(0), seed)), t1=4.0, rtol=1e-8, record=TIMES)
        params = jd.final_params(ds, flow, seed)
        np.testing.assert_allclose(table(params), table(alone.params), rtol=0, atol=1e-9)
        kinks.append(int(alone.certificate.num_kinks))
    assert len(set(kinks)) > 2


@pytest.mark.slow
def test_float32():
    """To its own tolerance, without a promotion."""
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PROBLEM.start)
    single = jd.solve(PROBLEM.flow, start, t1=4.0, record=TIMES, rtol=1e-5)
    assert single.fate is Outcome.t1_reached
    assert {leaf.dtype for leaf in jax.tree.leaves((single.params, single.states))} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in (single.state.kinks.gates, single.state.kinks.jump, single.state.y)} == {jnp.dtype("float32")}
    truth, events = PROBLEM.truth
    assert error(single.params, truth) <= 100e-5 and int(single.certificate.num_kinks) == len(events)


@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(dfx.Dopri5(), marks=pytest.mark.slow),
        pytest.param(dfx.Bosh3(), marks=pytest.mark.ci_slow),
        pytest.param(dfx.Dopri8(), marks=pytest.mark.slow),
    ],
    ids=lambda solver: type(solver).__name__,
)
def test_other_solvers(solver):
    """Of order 5, 3 and 8; the corrections at kinks do not rest on the solver's order, only on its dense output."""
    truth, events = PROBLEM.truth
    for rtol in (1e-4, 1e-7):
        end = PROBLEM.solved(rtol, record=TIMES, solver=solver)
        assert end.fate is Outcome.t1_reached and error(end.params, truth) <= 100 * rtol
        assert int(end.certificate.num_kinks) == len(events)


@pytest.mark.parametrize("seed", [3, 4])
def test_order_in_the_step(seed):
    """Steps of fixed length: measured slopes 2.6 and 3.4 through two flips and a slide, and a flip and two slides; plainly 1.4 and 1.1."""
    problem = drawn(seed, n=5, d=1, m=3, t1=4.0)
    slopes = {}
    for locate in (True, False):
        ends = [problem.solved(None, record=TIMES, controller=dfx.ConstantStepSize(), dt0=dt0, locate_kinks=locate) for dt0 in STEPS]
        errors = [error(end.params, problem.truth[0]) for end in ends]
        slopes[locate] = np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
        assert {int(end.certificate.num_kinks) for end in ends} == {len(problem.truth[1]) if locate else -1}
    assert ends[0].method == "Tsit5, ConstantStepSize, plain stepping through kinks, as asked"
    assert slopes[True] >= 1.8 and slopes[False] <= 1.8, slopes


def test_a_network_without_kinks():
    model = jd.models.TwoLayer(3, activation="tanh")
    end = jd.solve(jd.flows.GradientFlow(model, jd.losses.square, PROBLEM.flow.data), PROBLEM.start, t1=0.1, record=2)
    assert end.method == "Tsit5, PIDController, plain stepping" and end.state.kinks is None
    assert (int(end.certificate.num_kinks), int(end.certificate.num_slides), int(end.certificate.num_ambiguous_kinks)) == (0, 0, 0)


def test_a_controller_of_absolute_times():
    """It is stepped plainly and says so; the answer is right to the tolerance all the same."""
    controller = dfx.ClipStepSizeController(dfx.PIDController(rtol=1e-6, atol=1e-8), step_ts=jnp.asarray([0.5, 1.0]))
    end = PROBLEM.solved(None, t1=1.2, record=2, controller=controller)
    assert "plain stepping through kinks (ClipStepSizeController looks at absolute times)" in end.method
    assert (int(end.certificate.num_kinks), int(end.certificate.num_slides), int(end.certificate.num_ambiguous_kinks)) == (-1, -1, -1)
    assert error(end.params, PROBLEM.judged(1.2)[0]) <= 100e-6


def test_two_hidden_layers():
    """Whether the kinks of deeper networks are located or not, the certificate does not count what was not looked at."""
    flow = jd.flows.GradientFlow(jd.models.MLP((3, 3)), jd.losses.square, PROBLEM.flow.data)
    end = jd.solve(flow, flow.init(jr.key(0)), t1=0.5, record=2)
    assert (int(end.certificate.num_kinks) == -1) == ("plain stepping through kinks" in end.method)
