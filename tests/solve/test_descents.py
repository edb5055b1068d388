"""Descents under `solve`: against loops of numpy and of optax, and against the flow."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from descended import DATA, FLOW, KEY, START, euler, loss_of, tanh_network

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, PopulationFlow, StochasticDescent
from jaxdyn.flows.descent import STREAM
from jaxdyn.solve import Outcome


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
