"""The population flow as a flow: conservation, covariance, samples, transformations, misuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from population_flows import BIASED, COVARIANCE, EACH, FLOWS, RNG, ROOT, TEACHER, evaluate, student

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, PopulationFlow

pytestmark = pytest.mark.ci_slow


@pytest.mark.parametrize("name", ["relu with biases", "erf with biases"])
def test_a_covariance_is_a_change_of_inputs(name):
    flow = FLOWS[name]
    white = PopulationFlow(flow.model, flow.teacher | {"a": flow.teacher["a"] @ ROOT})
    y = flow.init(jr.key(3))
    seen = y | {"a": y["a"] @ ROOT}
    (loss, velocity), (expected, whitened) = evaluate(flow, y), evaluate(white, seen)
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    np.testing.assert_allclose(velocity["a"], whitened["a"] @ ROOT.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(velocity["c"], whitened["c"], rtol=1e-12, atol=1e-14)
    assert np.abs(velocity["a"] - evaluate(PopulationFlow(flow.model, flow.teacher), y)[1]["a"]).max() > 1e-2


@pytest.mark.parametrize("name", ["relu with biases", "square", "softplus"])
def test_many_samples_give_the_same_flow(name):
    """Losses and fields on n samples lie within five standard errors."""
    flow = FLOWS[name]
    y = flow.init(jr.key(4))
    data = jd.data.gaussian_teacher(200_000, flow.target, 3, flow.covariance, key=jr.key(0))
    empirical = GradientFlow(flow.model, jd.losses.mean_square, data)
    factor = 1.0 if flow.halved else 2.0
    squares = (empirical.outputs(y) - data.y) ** 2 / 2
    loss, velocity = evaluate(flow, y)
    assert abs(loss / factor - empirical.loss(y)) < 5 * squares.std() / np.sqrt(200_000)
    per_sample = jax.vmap(jax.grad(lambda y, x, t: (flow.model.apply(y, x[None])[0] - t) ** 2 / 2), in_axes=(None, 0, 0))(y, data.x, data.y)
    sampled = empirical.vector_field(0.0, y)
    for part in y:
        error = np.abs(velocity[part] / factor - sampled[part])
        assert (error < 5 * per_sample[part].std(axis=0) / np.sqrt(200_000)).all()
    assert flow.trainable(y) == empirical.trainable(y)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.3", "square", "identity"])
def test_balancedness_is_conserved(activation):
    flow = PopulationFlow(student(activation), TEACHER, covariance=COVARIANCE)
    y = flow.init(jr.key(5))
    solution = jd.solve(flow, y, t1=5.0, rtol=1e-10)
    degree = 2 if activation == "square" else 1
    balance = [degree * p["c"] ** 2 - (p["a"] ** 2).sum(axis=1) for p in (y, solution.params)]
    assert evaluate(flow, solution.params)[0] < 0.9 * evaluate(flow, y)[0]
    np.testing.assert_allclose(flow.conserved(y), balance[0], rtol=1e-14)
    np.testing.assert_allclose(balance[1], balance[0], rtol=0, atol=1e-8)
    for changed in (PopulationFlow(flow.model, TEACHER, frozen="c"), PopulationFlow(flow.model, TEACHER, time_scales=0.5)):
        assert changed.conserved(y) is None


def test_time_scales_frozen_leaves_and_conventions():
    plain = FLOWS["relu with biases"]
    y = plain.init(jr.key(6))
    loss, velocity = evaluate(plain, y)
    for changes, factors in (
        ({"frozen": ("b",)}, {"a": 1.0, "b": 0.0, "c": 1.0}),
        ({"time_scales": 3.0}, dict.fromkeys("abc", 3.0)),
        ({"time_scales": {"a": 1.0, "b": 0.5, "c": 2.0}, "halved": False}, {"a": 2.0, "b": 1.0, "c": 4.0}),
    ):
        flow = PopulationFlow(plain.model, BIASED, covariance=COVARIANCE, **changes)
        (value, scaled), mobility = evaluate(flow, y), flow.mobility(y)
        for name, factor in factors.items():
            np.testing.assert_allclose(scaled[name], factor * velocity[name], rtol=1e-15)
            np.testing.assert_allclose(mobility[name], factor / (1.0 if flow.halved else 2.0), rtol=1e-15)
        np.testing.assert_allclose(value, loss * (1.0 if flow.halved else 2.0), rtol=1e-15)
    assert "1/2 E[(f - f*)^2] over x ~ N(0, covariance)" in plain.convention
    assert "without 1/2" in FLOWS["square"].convention and "N(0, I)" in FLOWS["square"].convention


def test_leaves_can_be_differentiated_and_batched():
    """By the teacher and the covariance; and a batch of teachers is a batch of flows."""
    flow = FLOWS["relu with biases"]
    y = flow.init(jr.key(7))

    @jax.jit
    def loss(teacher, covariance):
        return PopulationFlow(flow.model, teacher, covariance=covariance).loss(y)

    by_teacher, by_covariance = jax.jit(jax.grad(loss, argnums=(0, 1)))(flow.teacher, flow.covariance)
    direction = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape)), flow.teacher)
    tilt = jnp.asarray(np.diag([1.0, -0.5, 0.3]) + 0.1)
    slope = sum(jnp.sum(by_teacher[name] * direction[name]) for name in direction) + jnp.sum(by_covariance * tilt)

    def moved(step):
        return float(loss(jax.tree.map(lambda t, d: t + step * d, flow.teacher, direction), flow.covariance + step * tilt))

    np.testing.assert_allclose(slope, (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-7)
    teachers = jnp.stack([flow.teacher["a"], 2 * flow.teacher["a"]])
    flows = eqx.filter_vmap(lambda a: PopulationFlow(flow.model, flow.teacher | {"a": a}, covariance=flow.covariance))(teachers)
    losses = eqx.filter_jit(eqx.filter_vmap(lambda flow: flow.loss(y)))(flows)
    for a, got in zip(teachers, losses, strict=True):
        np.testing.assert_allclose(got, loss(flow.teacher | {"a": a}, flow.covariance), rtol=1e-13)
    starts = jax.vmap(flow.init)(jr.split(jr.key(0), 3))
    batch = eqx.filter_jit(eqx.filter_vmap(lambda y: flow.vector_field(0.0, y)))(starts)
    for i in range(3):
        one = evaluate(flow, jax.tree.map(lambda leaf, i=i: leaf[i], starts))[1]
        for name in one:
            np.testing.assert_allclose(batch[name][i], one[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EACH)
def test_float32_stays_float32(name):
    flow = FLOWS[name]
    y = flow.init(jr.key(8))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), y)
    (loss, velocity), (_, expected) = evaluate(flow, single), evaluate(flow, y)
    assert loss.dtype == jnp.float32
    for part in y:
        assert velocity[part].dtype == jnp.float32
        np.testing.assert_allclose(velocity[part], expected[part], rtol=0, atol=2e-5)


def test_labels_of_gaussian_samples():
    data = jd.data.gaussian_teacher(50_000, lambda x: x[:, 0] ** 2, 3, COVARIANCE, 0.5, key=jr.key(1))
    np.testing.assert_allclose(np.cov(np.asarray(data.x).T), COVARIANCE, atol=0.03)
    noise = np.asarray(data.y - data.x[:, 0] ** 2)
    np.testing.assert_allclose([noise.mean(), noise.std()], [0.0, 0.5], atol=0.01)
    exact = jd.data.gaussian_teacher(10, lambda x: x.sum(axis=1), 2, key=jr.key(1))
    np.testing.assert_array_equal(exact.y, exact.x.sum(axis=1))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: PopulationFlow(jd.models.MLP((3,)), TEACHER), "use GradientFlow on samples"),
        (lambda: PopulationFlow(student(), np.zeros((0, 3))), "at least one row"),
        (lambda: PopulationFlow(student(), np.ones(3)), "one row a neuron"),
        (lambda: PopulationFlow(student(), {"w": np.ones((2, 3))}), 'must be {"a"'),
        (lambda: PopulationFlow(student(), np.ones((2, 4))), "same dim"),
        (lambda: PopulationFlow(student(), {"a": np.ones((2, 3)), "c": np.ones(3)}), "one number a neuron"),
        (lambda: PopulationFlow(student(), np.full((2, 3), np.nan)), "finite weights"),
        (lambda: PopulationFlow(student(), np.array([[1.0, 0, 0], [0, 0, 0]])), "neuron 1 of the teacher is zero"),
        (lambda: PopulationFlow(student(), TEACHER, covariance=np.eye(2)), "shape \\(3, 3\\)"),
        (lambda: PopulationFlow(student(), TEACHER, covariance=np.eye(3) + np.eye(3, k=1)), "must be symmetric"),
        (lambda: PopulationFlow(student(), TEACHER, covariance=np.diag([1.0, 1.0, 0.0])), "positive definite"),
        (lambda: PopulationFlow(student("leaky_relu:0.1^2"), TEACHER), "cannot resolve its kink"),
        (lambda: PopulationFlow(student("relu^2"), BIASED), "relu\\^2 with biases"),
        (lambda: PopulationFlow(student("relu^3", bias=True), TEACHER), "relu\\^3 with biases"),
        (lambda: PopulationFlow(student("sigmoid"), TEACHER), "no activation 'sigmoid'"),
        (lambda: PopulationFlow(student(), TEACHER, frozen="b"), "frozen names b"),
        (lambda: PopulationFlow(student(), TEACHER, time_scales={"a": 1.0}), "time_scales must give each"),
        (lambda: PopulationFlow(student(), TEACHER, nodes=0), "nodes must be an integer"),
        (lambda: jd.data.gaussian_teacher(0, np.sum, 3, key=jr.key(0)), "n must be an integer of at least 1; 0 was given"),
        (lambda: jd.data.gaussian_teacher(2, np.sum, 3, noise=-1.0, key=jr.key(0)), "noise=-1.0 must be zero or positive, and finite"),
        (lambda: jd.data.gaussian_teacher(2, np.sum, 3, np.eye(2), key=jr.key(0)), "shape \\(3, 3\\)"),
        (lambda: jd.data.gaussian_teacher(2, np.sum, 3, -np.eye(3), key=jr.key(0)), "positive definite"),
    ],
)
def test_misuse_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
