"""Descents under `solve`: against loops of numpy and of optax, and against the flow."""

import functools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, PopulationFlow, StochasticDescent
from jaxdyn.flows.descent import STREAM
from jaxdyn.solve import Descent, LossBelow, Outcome, load_solution

RNG = np.random.default_rng(2)
X, LABELS = RNG.normal(size=(8, 2)), RNG.normal(size=8)
DATA = jd.data.points(X, LABELS)
START = {"a": jnp.asarray(RNG.normal(size=(3, 2))), "c": jnp.asarray(RNG.normal(size=3))}
KEY = jr.key(5)


def tanh_network(params, x):
    return jnp.tanh(x @ params["a"].T) @ params["c"]


FLOW = GradientFlow(tanh_network, jd.losses.mean_square, DATA)


def loss_of(a, c):
    return 0.5 * np.mean((np.tanh(X @ a.T) @ c - LABELS) ** 2)


def euler(steps, rate):
    """Gradient descent in numpy: all points."""
    a, c = np.asarray(START["a"]), np.asarray(START["c"])
    found = [(a, c)]
    for _ in range(steps):
        hidden = np.tanh(X @ a.T)
        residual = (hidden @ c - LABELS) / len(X)
        pull = ((residual[:, None] * c[None, :]) * (1 - hidden**2)).T @ X
        a, c = a - rate * pull, c - rate * hidden.T @ residual
        found.append((a, c))
    return found


def assert_same_bits(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


class TestWholeGradient:
    def test_is_euler_s_method(self):
        sol = jd.solve(StochasticDescent(FLOW, 0.2), START, t1=20.0, record="steps")
        expected = euler(100, 0.2)
        assert sol.fate is Outcome.t1_reached and int(sol.certificate.num_accepted_steps) == 100
        for name, k in (("a", 0), ("c", 1)):
            np.testing.assert_allclose(sol.states[name][:101], np.asarray([point[k] for point in expected]), rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(sol.ts[:101], 0.2 * np.arange(101), rtol=1e-15)
        assert int(sol.certificate.num_field_evaluations) == 101
        np.testing.assert_allclose(sol.certificate.loss_end, loss_of(*expected[-1]), rtol=1e-13)

    def test_with_the_sum_of_squares_the_rate_is_that_of_the_sum(self):
        by_sum = GradientFlow(tanh_network, jd.losses.square, DATA)
        sol = jd.solve(StochasticDescent(by_sum, 0.2 / 8), START, t1=10 * 0.2 / 8, record=2)
        np.testing.assert_allclose(sol.params["a"], euler(10, 0.2)[-1][0], rtol=1e-13)

    def test_tends_to_the_flow_in_the_first_order(self):
        exact = jd.solve(FLOW, START, t1=2.0, rtol=1e-10, record=2).params["a"]
        rates = 2.0 / np.array([20, 40, 80, 160])
        errors = [np.abs(jd.solve(StochasticDescent(FLOW, rate), START, t1=2.0, record=[2.0]).params["a"] - exact).max() for rate in rates]
        slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
        assert abs(slope - 1) < 0.05 and errors[-1] < 1e-2


class TestTime:
    def test_records_are_exact_at_steps_and_lie_on_lines_between(self):
        sol = jd.solve(StochasticDescent(FLOW, 0.1), START, t1=1.0, record=[0.0, 0.3, 0.7, 0.725, 1.0])
        points = [a for a, _ in euler(10, 0.1)]
        expected = np.asarray([points[0], points[3], points[7], 0.75 * points[7] + 0.25 * points[8], points[10]])
        np.testing.assert_allclose(sol.states["a"], expected, rtol=0, atol=1e-14)

    @pytest.mark.parametrize(("t1", "steps"), [(0.3, 3), (0.8, 8), (1000.0, 10000), (0.25, 3), (0.01, 1), (0.3001, 4)])
    def test_the_last_step_is_whole(self, t1, steps):
        """0.1 is no binary fraction: ten thousand of it are 1000 nevertheless."""
        sol = jd.solve(StochasticDescent(FLOW, 0.1), START, t1=t1, record=[t1])
        assert sol.fate is Outcome.t1_reached and int(sol.certificate.num_accepted_steps) == steps
        np.testing.assert_allclose(sol.t, 0.1 * steps, rtol=1e-15)
        assert np.isfinite(sol.states["a"]).all()
        if steps < 10:
            points = [a for a, _ in euler(steps, 0.1)]
            share = steps - t1 / 0.1
            np.testing.assert_allclose(sol.params["a"], points[-1], rtol=1e-14)
            np.testing.assert_allclose(sol.states["a"][0], share * points[-2] + (1 - share) * points[-1], rtol=0, atol=1e-14)

    def test_a_schedule_s_time_is_the_sum_of_its_rates(self):
        schedule = optax.exponential_decay(0.5, transition_steps=1, decay_rate=0.8)
        sol = jd.solve(StochasticDescent(FLOW, schedule), START, t1=2.2, record="steps")
        rates = 0.5 * 0.8 ** np.arange(12)
        steps = int(np.argmax(np.cumsum(rates) >= 2.2)) + 1
        assert int(sol.certificate.num_accepted_steps) == steps == 10
        np.testing.assert_allclose(sol.ts[: steps + 1], np.append(0, np.cumsum(rates[:steps])), rtol=1e-14)
        y = START
        for rate in rates[:steps]:
            y = jax.tree.map(lambda p, v, rate=rate: p + rate * v, y, FLOW.vector_field(0.0, y))
        np.testing.assert_allclose(sol.params["a"], y["a"], rtol=1e-13)

    def test_a_schedule_that_dies_ends_the_lane(self):
        sol = jd.solve(StochasticDescent(FLOW, optax.linear_schedule(0.1, 0.0, 10)), START, t1=2.0, record=2)
        assert sol.fate is Outcome.step_too_small and int(sol.certificate.num_accepted_steps) == 10

    def test_another_rate_compiles_nothing(self):
        traces = []

        def network(params, x):
            traces.append(1)
            return tanh_network(params, x)

        flow = GradientFlow(network, jd.losses.mean_square, DATA)
        for rate in (0.1, 0.05, 0.02):
            jd.solve(StochasticDescent(flow, rate), START, t1=1.0, record=2)
            traces, before = [], traces
        assert len(before) == 0


OPTIMISERS = {
    "momentum": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "adam": optax.adam,
    "clipped": lambda rate: optax.chain(optax.clip_by_global_norm(0.3), optax.adamw(rate, weight_decay=0.1)),
}


class TestOptimisers:
    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_is_a_plain_loop_of_optax(self, name):
        """On fresh samples, drawn by `gaussian_teacher` from the documented keys; steps and optimiser are optax's alone."""
        model = jd.models.TwoLayer(3, 2, bias=False)
        flow = PopulationFlow(model, np.eye(2))
        start = flow.init(jr.key(1))
        sol = jd.solve(StochasticDescent(flow, 0.05, optimiser=OPTIMISERS[name], batch=6), start, t1=2.0, record=2, key=KEY)
        stream = jr.wrap_key_data(jr.bits(jr.fold_in(KEY, STREAM), (2,), jnp.uint32))
        optimiser = OPTIMISERS[name](0.05)

        @jax.jit
        def step(k, carry):
            y, state = carry
            data = jd.data.gaussian_teacher(6, flow.target, 2, key=jr.fold_in(stream, k))
            gradient = jax.grad(lambda y: 0.5 * jnp.mean((model.apply(y, data.x) - data.y) ** 2))(y)
            updates, state = optimiser.update(gradient, state, y)
            return optax.apply_updates(y, updates), state

        y, _ = jax.lax.fori_loop(0, 40, step, (start, optimiser.init(start)))
        for leaf in y:
            np.testing.assert_allclose(sol.params[leaf], y[leaf], rtol=1e-12, atol=1e-13)

    def test_a_rate_that_is_too_long_diverges(self):
        quadratic = GradientFlow(lambda w, x: x @ w, jd.losses.square, jd.data.points(np.eye(2), np.ones(2)))
        sol = jd.solve(StochasticDescent(quadratic, 2.5), jnp.zeros(2), t1=1e4, record=2)
        assert sol.fate is Outcome.diverged
        assert jd.solve(StochasticDescent(quadratic, 1.5), jnp.zeros(2), t1=100.0, record=2).certificate.loss_end < 1e-12


NOISY = StochasticDescent(FLOW, 0.05, batch=3, optimiser=optax.adam)


class TestLanes:
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

    def test_the_key_decides_the_samples(self):
        run = jax.vmap(lambda key: jd.solve(NOISY, START, t1=1.0, record=2, key=key).params["a"])
        one, other, again = run(jnp.stack([jr.key(0), jr.key(1), jr.key(0)]))
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).max() > 1e-3
        np.testing.assert_allclose(jd.solve(NOISY, START, t1=1.0, record=2).params["a"], one, rtol=1e-13)

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
    with pytest.raises(ValueError, match="another optimiser"):
        jd.solve(eqx.tree_at(lambda d: d.optimiser, NOISY, optax.sgd), half, t1=1.0)
