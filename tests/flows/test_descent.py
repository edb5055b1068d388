"""What a step of a descent sees and does, against samples drawn apart, formulas and plain optax."""

import functools

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from population_flows import BIASED, COVARIANCE, TEACHER, student

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, IdentityLinkFlow, LinearisedFlow, PopulationFlow, ReducedFlow, StochasticDescent

ZERO = jnp.asarray(0)
KEY = jr.key(3)
W_STAR = 0.2 * np.random.default_rng(0).normal(size=(3, 3))
POPULATIONS = {
    "relu": PopulationFlow(student(), TEACHER, frozen=("c",)),
    "erf, biased, covariance, twice": PopulationFlow(student("erf", bias=True), BIASED, covariance=COVARIANCE, halved=False),
    "identity link": IdentityLinkFlow(W_STAR),
}


SEE = eqx.filter_jit(lambda descent, y, step: flat(descent.stochastic_gradient(y, KEY, step)))

FIELD = eqx.filter_jit(lambda flow, y: flat(flow.vector_field(0.0, y)))


def flat(tree):
    return jax.flatten_util.ravel_pytree(tree)[0]


@eqx.filter_jit
def gradients(descent, y, keys):
    return jax.vmap(lambda key: flat(descent.stochastic_gradient(y, key, ZERO)))(keys)


class TestFreshSamples:
    @pytest.mark.parametrize("name", POPULATIONS)
    def test_mean_is_the_population_gradient(self, name):
        flow, count = POPULATIONS[name], 6000
        y = flow.init(jr.key(1))
        expected = -np.asarray(FIELD(flow, y))
        found = np.asarray(gradients(StochasticDescent(flow, 0.1, batch=5), y, jr.split(KEY, count)))
        error, moves = found.mean(0) - expected, found.std(0) > 0
        assert np.all(np.abs(error[moves]) < 4 * found.std(0)[moves] / np.sqrt(count))
        assert np.all(error[~moves] == 0) and moves.sum() == (6 if name == "relu" else moves.size)

    def test_covariance_falls_like_one_over_batch(self):
        flow, count, spread = POPULATIONS["relu"], 6000, []
        for batch in (5, 20):
            found = np.asarray(gradients(StochasticDescent(flow, 0.1, batch=batch), flow.init(jr.key(1)), jr.split(KEY, count)))
            distance = ((found - found.mean(0)) ** 2).sum(1)
            spread.append((distance.mean(), distance.std() / np.sqrt(count)))
        (wide, wide_error), (narrow, narrow_error) = spread
        assert abs(wide - 4 * narrow) < 4 * np.hypot(wide_error, 4 * narrow_error)
        assert narrow > 10 * narrow_error

    @pytest.mark.parametrize("name", list(POPULATIONS)[:2])
    def test_samples_are_those_of_gaussian_teacher(self, name):
        flow = POPULATIONS[name]
        y, step = flow.init(jr.key(1)), 7
        descent = StochasticDescent(flow, 0.1, batch=9, label_noise=0.3)
        data = jd.data.gaussian_teacher(9, flow.target, 3, flow.covariance, 0.3, key=jr.fold_in(KEY, step))
        field = GradientFlow(flow.model, jd.losses.mean_square, data, frozen=flow.frozen).vector_field(0.0, y)
        expected = -flat(field) * (1 if flow.halved else 2)
        np.testing.assert_allclose(flat(descent.stochastic_gradient(y, KEY, step)), expected, rtol=1e-13, atol=1e-15)

    def test_without_a_batch_it_is_the_population_gradient(self):
        flow = PopulationFlow(student(), TEACHER, time_scales={"a": 2.0, "c": 0.5})
        y = flow.init(jr.key(1))
        found = StochasticDescent(flow, 0.1).stochastic_gradient(y, KEY, ZERO)
        for name, scale in (("a", 2.0), ("c", 0.5)):
            np.testing.assert_allclose(-scale * found[name], flow.vector_field(0.0, y)[name], rtol=1e-15)


RNG = np.random.default_rng(5)
X, LABELS = RNG.normal(size=(12, 2)), np.sign(RNG.normal(size=12))
TANH = jd.models.TwoLayer(3, 2, activation="tanh")


def own_mean(f, y):
    return jnp.mean(jnp.abs(f - y) ** 3)


own_mean.separable = True


class TestMiniBatches:
    @pytest.mark.parametrize(
        "loss", [jd.losses.square, jd.losses.mean_square, jd.losses.logistic, own_mean], ids=lambda loss: repr(loss)[:12]
    )
    def test_an_epoch_s_mean_is_the_gradient_of_the_loss(self, loss):
        flow = GradientFlow(TANH, loss, jd.data.points(X, LABELS), weight_decay=0.3, frozen=("b",))
        descent = StochasticDescent(flow, 0.1, batch=4)
        y = flow.init(jr.key(0))
        found = np.asarray([SEE(descent, y, jnp.asarray(step)) for step in (3, 4, 5)])
        expected = -np.asarray(FIELD(flow, y))
        np.testing.assert_allclose(found.mean(0), expected, rtol=1e-13, atol=1e-15)
        assert np.abs(found - expected).max() > 0.1

    def test_several_outputs(self):
        labels = np.arange(6) % 3
        model = jd.models.MLP((4,), dim=2, outputs=3, activation="tanh")
        flow = GradientFlow(model, jd.losses.cross_entropy, jd.data.points(X[:6], labels))
        descent, y = StochasticDescent(flow, 0.1, batch=2), model.init(jr.key(0))
        found = np.mean([SEE(descent, y, jnp.asarray(step)) for step in range(3)], axis=0)
        np.testing.assert_allclose(found, -FIELD(flow, y), rtol=1e-12, atol=1e-15)

    def test_with_replacement_the_mean_is_right_too(self):
        flow = GradientFlow(TANH, jd.losses.square, jd.data.points(X, LABELS))
        y, count = flow.init(jr.key(0)), 4000
        found = np.asarray(gradients(StochasticDescent(flow, 0.1, batch=30, replacement=True), y, jr.split(KEY, count)))
        error = found.mean(0) + FIELD(flow, y)
        assert np.all(np.abs(error) < 4 * found.std(0) / np.sqrt(count))
        assert found.std(0).min() > 0

    def test_of_the_linearised_flow(self):
        flow = LinearisedFlow(GradientFlow(TANH, jd.losses.square, jd.data.points(X, LABELS)))
        descent, y = StochasticDescent(flow, 0.1, batch=4), flow.init(jr.key(0))
        found = np.mean([SEE(descent, y, jnp.asarray(step)) for step in range(3)], axis=0)
        np.testing.assert_allclose(found, -FIELD(flow, y), rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("replacement", [False, True])
    def test_which_samples(self, replacement):
        """On the unit vectors the gradient tells which samples were seen, and how often."""
        n, batch, epochs = 7, 3, 200
        flow = GradientFlow(lambda w, x: x @ w, jd.losses.square, jd.data.points(np.eye(n), np.ones(n)))
        descent = StochasticDescent(flow, 0.1, batch=batch, replacement=replacement)
        see = jax.jit(jax.vmap(lambda step: descent.stochastic_gradient(jnp.zeros(n), KEY, step)))
        seen = np.rint(-np.asarray(see(jnp.arange(2 * epochs))) * batch / n).astype(int)
        assert np.all(seen.sum(1) == batch)
        by_epoch = seen.reshape(epochs, 2, n).sum(1)
        if replacement:
            assert seen.max() > 1
        else:
            assert seen.max() == 1 and by_epoch.max() == 1 and np.all(by_epoch.sum(1) == 6)
            assert len({row.tobytes() for row in by_epoch}) == n  # which one is left out
        share = seen.mean(0)  # every sample as often as the others
        assert np.all(np.abs(share - batch / n) < 4 * seen.std() / np.sqrt(len(seen)))

    def test_label_noise_is_new_in_each_step(self):
        """On the unit vectors the gradient of the sum of squares is w - y - noise."""
        n, noise = 50, 0.5
        flow = GradientFlow(lambda w, x: x @ w, jd.losses.square, jd.data.points(np.eye(n), np.ones(n)))
        descent = StochasticDescent(flow, 0.1, label_noise=noise)
        added = -1 - np.asarray([SEE(descent, jnp.zeros(n), jnp.asarray(step)) for step in range(40)])
        assert abs(added.mean()) < 4 * noise / np.sqrt(added.size)
        assert abs(added.var() - noise**2) < 4 * noise**2 * np.sqrt(2 / added.size)
        assert np.unique(added).size == added.size


class TestUpdates:
    FLOW = GradientFlow(TANH, jd.losses.mean_square, jd.data.points(X, LABELS), time_scales={"a": 1.0, "b": 0.1, "c": 3.0}, frozen=("b",))

    @pytest.mark.parametrize(
        "optimiser", [optax.sgd, optax.adam, functools.partial(optax.adamw, weight_decay=0.5)], ids=["sgd", "adam", "adamw"]
    )
    def test_time_scales_multiply_updates_and_frozen_leaves_rest(self, optimiser):
        descent, plain = (
            StochasticDescent(flow, 0.1, optimiser=optimiser) for flow in (self.FLOW, eqx.tree_at(lambda f: f.time_scales, self.FLOW, None))
        )
        y = self.FLOW.init(jr.key(0))
        (after, state), (without, _) = (d.update(y, d.begin(y, KEY)) for d in (descent, plain))
        for name, scale in (("a", 1.0), ("b", 0.0), ("c", 3.0)):
            np.testing.assert_allclose(after[name] - y[name], scale * (without[name] - y[name]), rtol=1e-13, atol=1e-15)
        assert np.abs(after["c"] - y["c"]).max() > 1e-3 and int(state.step) == 1

    def test_a_module_makes_its_hyperparameters_leaves(self):
        class Momentum(eqx.Module):
            decay: jax.Array

            def __call__(self, rate):
                return optax.sgd(rate, momentum=self.decay)

        descent = StochasticDescent(self.FLOW, 0.1, optimiser=Momentum(jnp.asarray(0.9)))
        assert any(leaf is descent.optimiser.decay for leaf in jax.tree.leaves(descent))

    def test_everything_else_is_the_flow_s(self):
        descent, y = StochasticDescent(self.FLOW, 0.1, batch=2), self.FLOW.init(jr.key(0))
        assert descent.data is self.FLOW.data and descent.convention.startswith(self.FLOW.convention)
        np.testing.assert_array_equal(descent.outputs(y), self.FLOW.outputs(y))
        np.testing.assert_array_equal(descent.loss(y), self.FLOW.loss(y))
        with pytest.raises(AttributeError, match="nonsense"):
            _ = descent.nonsense


class TestMisuse:
    FLOW = GradientFlow(TANH, jd.losses.square, jd.data.points(X, LABELS))
    REDUCED = ReducedFlow(jd.models.TwoLayer(width=4, balanced=True, delta=-1.0), jd.losses.square, jd.data.sinusoid(n=5))

    @pytest.mark.parametrize(
        ("flow", "settings", "sentence"),
        [
            (REDUCED, {}, "ReducedFlow has neither samples nor a teacher"),
            (FLOW, {"learning_rate": 0.0}, "the learning rate must be positive and finite; 0.0 was given"),
            (FLOW, {"learning_rate": -1}, "must be positive"),
            (FLOW, {"learning_rate": np.nan}, "must be positive"),
            (FLOW, {"learning_rate": np.inf}, "must be positive and finite"),
            (FLOW, {"learning_rate": [0.1, 0.2]}, "must be one number, not of shape .2,.: use time_scales"),
            (FLOW, {"batch": 0}, "batch must be an integer of at least 1; 0 was given"),
            (FLOW, {"batch": 2.0}, "batch must be an integer of at least 1; 2.0 was given"),
            (FLOW, {"batch": True}, "batch must be an integer of at least 1; True was given"),
            (FLOW, {"batch": 13}, "batch=13 is more than the 12 samples: take batch=None"),
            (FLOW, {"optimiser": optax.adam(0.1)}, r"optax\.adam and not optax\.adam\(0\.1\)"),
            (FLOW, {"optimiser": lambda rate: rate}, "must make an optax transformation .* but made a"),
            (FLOW, {"optimiser": "adam"}, "must make an optax transformation .* but raised TypeError"),
            (FLOW, {"label_noise": -0.1}, "label_noise=-0.1 must be zero or positive, and finite"),
            (POPULATIONS["relu"], {"label_noise": 0.1}, "does not feel label_noise: give a batch"),
            (GradientFlow(TANH, lambda f, y: jnp.mean((f - y) ** 2), FLOW.data), {"batch": 2}, "give it the attribute separable = True"),
        ],
    )
    def test_is_said_in_a_sentence(self, flow, settings, sentence):
        with pytest.raises(ValueError, match=sentence):
            StochasticDescent(flow, **{"learning_rate": 0.1} | settings)

    def test_an_optimiser_that_draws(self):
        descent = StochasticDescent(self.FLOW, 0.1, optimiser=lambda rate: optax.noisy_sgd(rate, key=jr.key(0)))
        with pytest.raises(ValueError, match="random numbers of its own, the same in all lanes"):
            descent.begin(self.FLOW.init(jr.key(0)), KEY)

    def test_an_optimiser_that_searches_along_a_line(self):
        with pytest.raises(ValueError, match="needs more than a gradient"):
            StochasticDescent(self.FLOW, 0.1, optimiser=optax.lbfgs).begin(self.FLOW.init(jr.key(0)), KEY)

    def test_a_batch_as_large_as_it_likes_with_replacement(self):
        assert StochasticDescent(self.FLOW, 0.1, batch=13, replacement=True).batch == 13
