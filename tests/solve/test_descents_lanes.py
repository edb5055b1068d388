"""Descents as lanes: stop rules, keys, going on, files, precision, misuse."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from descended import DATA, FLOW, KEY, LABELS, START, X, euler, loss_of, tanh_network

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, PopulationFlow, StochasticDescent
from jaxdyn.solve import Descent, LossBelow, Outcome, load_solution

NOISY = StochasticDescent(FLOW, 0.05, batch=3, optimiser=optax.adam)


def assert_same_bits(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


class TestLanes:
    @pytest.mark.ci_slow
    def test_stop_rules_look_after_every_step(self):
        losses = [loss_of(*point) for point in euler(200, 0.1)]
        threshold = 0.5 * losses[0]
        first = int(np.argmax(np.asarray(losses) <= threshold))
        sol = jd.solve(StochasticDescent(FLOW, 0.1), START, t1=20.0, record=2, stop=LossBelow(threshold))
        assert sol.fate is Outcome.stopped and int(sol.certificate.num_accepted_steps) == first > 3
        slow = jd.solve(StochasticDescent(FLOW, 0.1), START, t1=100.0, record=2, stop=jd.GradientNormBelow(0.03))
        points = np.asarray([np.append(a, c) for a, c in euler(1000, 0.1)])
        speeds = np.linalg.norm(np.diff(points, axis=0), axis=1) / 0.1
        assert slow.fate is Outcome.converged and int(slow.certificate.num_accepted_steps) == np.argmax(speeds <= 0.03) > 10

    @pytest.mark.ci_slow
    def test_the_key_decides_the_samples(self):
        run = jax.vmap(lambda key: jd.solve(NOISY, START, t1=1.0, record=2, key=key).params["a"])
        one, other, again = run(jnp.stack([jr.key(0), jr.key(1), jr.key(0)]))
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).max() > 1e-3
        np.testing.assert_allclose(jd.solve(NOISY, START, t1=1.0, record=2).params["a"], one, rtol=1e-13)

    @pytest.mark.ci_slow
    def test_paused_saved_and_gone_on_to_the_same_bits(self, tmp_path):
        how = {"t1": 2.0, "record": 3, "key": KEY}
        whole, half = jd.solve(NOISY, START, **how), jd.solve(NOISY, START, **how, max_steps=17)
        assert half.fate is Outcome.max_steps
        half.save(tmp_path / "lane.npz")
        loaded = load_solution(tmp_path / "lane.npz", NOISY, like=START)
        for part in (half, loaded):
            rest = jd.solve(NOISY, part, t1=2.0, record=3)
            assert_same_bits((rest.params, rest.t, rest.certificate, rest.state), (whole.params, whole.t, whole.certificate, whole.state))

    def test_going_on_beyond_t1_makes_the_same_steps(self):
        first = jd.solve(NOISY, START, t1=0.33, record=2, key=KEY)
        assert_same_bits(jd.solve(NOISY, first, t1=1.0, record=2).params, jd.solve(NOISY, START, t1=1.0, record=2, key=KEY).params)

    @pytest.mark.ci_slow
    def test_float32(self):
        start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), START)
        flow = GradientFlow(tanh_network, jd.losses.mean_square, jd.data.points(X.astype(np.float32), LABELS.astype(np.float32)))
        sol = jd.solve(StochasticDescent(flow, 0.1), start, t1=5.0, record=2)
        assert sol.params["a"].dtype == jnp.float32 and int(sol.certificate.num_accepted_steps) == 50
        np.testing.assert_allclose(sol.params["a"], euler(50, 0.1)[-1][0], rtol=1e-4, atol=1e-5)
        fresh = StochasticDescent(
            PopulationFlow(jd.models.TwoLayer(3, 2, False), np.eye(2), covariance=2 * np.eye(2)), 0.1, batch=4, label_noise=0.1
        )
        end = jd.solve(fresh, start, t1=1.0, record=2).params
        assert end["a"].dtype == jnp.float32 and np.isfinite(end["a"]).all()

    def test_kinks_are_stepped_over_and_the_certificate_says_so(self):
        flow = GradientFlow(jd.models.TwoLayer(3, 2), jd.losses.square, DATA)
        sol = jd.solve(StochasticDescent(flow, 0.01), flow.init(jr.key(0)), t1=1.0, record=2)
        assert sol.method == "Descent, ConstantStepSize, steps over kinks" and int(sol.certificate.num_kinks) == -1

    def test_is_differentiable_by_the_rate(self):
        def end(rate):
            return jd.solve(StochasticDescent(FLOW, rate), START, t1=1.0, record=2).params["c"].sum()

        numeric = (euler(10, 0.1 + 1e-6)[-1][1].sum() - euler(10, 0.1 - 1e-6)[-1][1].sum()) / 2e-6
        np.testing.assert_allclose(jax.jvp(end, (0.1,), (1.0,))[1], numeric, rtol=1e-8)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rtol": 1e-3}, "makes its own steps, a learning rate long: leave out rtol"),
        ({"dt0": 0.1, "solver": dfx.Euler()}, "leave out solver, dt0"),
        ({"t1": jnp.inf}, "give a finite t1, or solve its flow"),
        ({"key": 3}, "is not a single random key"),
    ],
)
def test_misuse(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        jd.solve(NOISY, START, **{"t1": 1.0} | settings)


def test_what_does_not_step_by_itself():
    with pytest.raises(ValueError, match="needs begin, update and rate: name another solver"):
        jd.solve(FLOW, START, t1=1.0, solver=Descent(), controller=dfx.ConstantStepSize())
    with pytest.raises(ValueError, match="steps by itself"):
        jd.tangents(NOISY, START, jax.tree.map(lambda leaf: leaf[None], START), t1=1.0)


def test_going_on_with_another_optimiser():
    half = jd.solve(NOISY, START, t1=0.5, record=2)
    with pytest.raises(ValueError, match=r"flow\.optimiser"):
        jd.solve(eqx.tree_at(lambda d: d.optimiser, NOISY, optax.sgd), half, t1=1.0)
