"""The neural correlation function against numpy, and its KKT residual against scipy and closed forms."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import least_squares, lsq_linear

import jaxdyn as jd
from jaxdyn import measure

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=8)
DATA = jd.data.points(X, Y)
MODEL = jd.models.TwoLayer(6, dim=3, bias=False, scaling="one")
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA)
kkt = eqx.filter_jit(measure.correlation_kkt)


class Clock(jd.flows.AbstractWrapper):
    """A flow around another, whose state holds the other's params."""

    other: Any

    @property
    def wrapped(self):
        return self.other

    def init(self, key):
        return {"direction": self.other.init(key)}

    def weights(self, y):
        return y["direction"]

    def loss(self, y):
        return self.other.loss(y["direction"])

    def vector_field(self, t, y, args=None):
        return {"direction": self.other.vector_field(t, y["direction"], args)}


def drawn(model, seed=0):
    return jax.tree.map(jnp.asarray, model.init(jr.key(seed)))


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def pinned(seed=0):
    """Neuron 0 at zero on samples 0 and 1, neuron 2 on sample 4."""
    params = drawn(MODEL, seed)
    a = params["a"].at[0].set(np.cross(X[0], X[1]))
    a = a.at[2].add(-(a[2] @ X[4]) * X[4] / (X[4] @ X[4]))
    return {"a": a, "c": params["c"]}


@pytest.mark.ci_slow
def test_correlation_of_unit_directions():
    params = drawn(MODEL)
    a, c = (np.asarray(params[k]) / np.linalg.norm(flat(params)) for k in "ac")
    expected = Y @ (np.maximum(X @ a.T, 0) @ c)  # minus the derivative of (f - y)^2 / 2 at 0 is y
    np.testing.assert_allclose(measure.correlation(FLOW, 0.0, params), expected, rtol=1e-13)
    gradient = np.concatenate([(((X @ a.T > 0) * Y[:, None]).T @ X * c[:, None]).ravel(), np.maximum(X @ a.T, 0).T @ Y])
    cosine = 2 * expected / np.linalg.norm(gradient)
    for scale in (1e-200, 1.0, 1e150):
        scaled = jax.tree.map(lambda leaf, scale=scale: scale * leaf, params)
        np.testing.assert_allclose(measure.correlation(FLOW, 0.0, scaled), expected, rtol=1e-12)
        np.testing.assert_allclose(measure.correlation_cosine(FLOW, 0.0, scaled), cosine, rtol=1e-12)
        # away from kinks the residual is the sine
        np.testing.assert_allclose(measure.correlation_kkt_residual(FLOW, 0.0, scaled), np.sqrt(1 - cosine**2), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "y", "weights"),
    [
        (jd.losses.logistic, np.sign(Y), np.sign(Y) / 2),
        (jd.losses.exponential, np.sign(Y), np.sign(Y)),
        (lambda f, y: jnp.sum((f - y) ** 2), Y, 2 * Y),
    ],
)
def test_the_loss_gives_the_weights(loss, y, weights):
    flow = jd.flows.GradientFlow(MODEL, loss, jd.data.points(X, y))
    params = drawn(MODEL)
    params = jax.tree.map(lambda leaf: leaf / np.linalg.norm(flat(params)), params)
    np.testing.assert_allclose(measure.correlation(flow, 0.0, params), weights @ MODEL.apply(params, X), rtol=1e-12)


def best_by_scipy(params, x, y, slope=0.0):
    """The least |gradient - multiplier w| over gates, neuron by neuron."""
    norm = np.linalg.norm(flat(params))
    a, c = (np.asarray(params[k]) / norm for k in "ac")
    z = x @ a.T
    free = np.abs(z) < 1e-9
    act = np.where(z > 0, z, slope * z)
    multiplier = 2 * y @ act @ c
    total = np.sum((act.T @ y - multiplier * c) ** 2)
    gradient = np.sum((act.T @ y) ** 2)
    for j in range(len(c)):
        opened = np.where(z[:, j] > 0, 1.0, slope)
        opened[free[:, j]] = slope
        closed = c[j] * (opened * y) @ x
        columns = (c[j] * (1 - slope) * y[free[:, j], None] * x[free[:, j]]).T
        wanted = multiplier * a[j] - closed
        g = lsq_linear(columns, wanted, (0, 1), method="bvls", tol=1e-15).x if free[:, j].any() else np.zeros(0)
        total += np.sum((columns @ g - wanted) ** 2)
        gradient += np.sum((closed + columns @ g) ** 2)
    return np.sqrt(total / gradient)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_residual_on_kinks_against_scipy(slope):
    name = f"leaky_relu:{slope}" if slope else "relu"
    model = jd.models.TwoLayer(6, dim=3, bias=False, scaling="one", activation=name)
    flow = jd.flows.GradientFlow(model, jd.losses.square, DATA)
    for seed in range(4):
        params = pinned(seed)
        found = kkt(flow, params)
        assert found.num_free == 3
        np.testing.assert_allclose(found.residual, best_by_scipy(params, X, Y, slope), rtol=1e-10)
        np.testing.assert_allclose(found.multiplier, 2 * measure.correlation(flow, 0.0, params), rtol=1e-9)
        deep = jd.flows.GradientFlow(jd.models.MLP((6,), dim=3, activation=name), jd.losses.square, DATA)
        layers = kkt(deep, [{"w": params["a"]}, {"w": params["c"][None]}])
        np.testing.assert_allclose(layers.residual, found.residual, rtol=1e-9)


@pytest.mark.ci_slow
def test_a_maximum_on_a_kink():
    # ybar = (-2, 1, 1), x_1 and x_2 at 30 degrees on both sides of e_1, x_0 = (0.1, 1): the best direction is orthogonal to x_0
    x = np.array([[0.1, 1.0], [1.0, 0.6], [1.0, 0.5]])
    y = np.array([-2.0, 1.0, 1.0])
    model = jd.models.TwoLayer(1, dim=2, bias=False, scaling="one")
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(x, y))
    along = np.array([1.0, -0.1]) / np.hypot(1, 0.1)
    params = {"a": jnp.asarray(along[None]), "c": jnp.ones(1)}
    gate = ((x[1] + x[2]) @ x[0]) / (2 * x[0] @ x[0])  # with it the gradient is along a
    found = kkt(flow, params)
    assert found.residual < 1e-15
    np.testing.assert_allclose(found.gates, [[gate], [1.0], [1.0]], rtol=1e-12)
    assert measure.correlation_cosine(flow, 0.0, params) < 0.95
    many = jax.jit(jax.vmap(lambda s: measure.correlation_kkt_residual(flow, 0.0, jax.tree.map(lambda leaf: s * leaf, params))))
    assert np.all(many(jnp.array([1e-200, 1.0, 1e100])) < 1e-14)
    assert measure.correlation_kkt(flow, params, slots=1).residual < 1e-14
    # a little beside the kink, within the tolerance or without
    beside = {"a": params["a"] + 1e-8 * x[:1], "c": params["c"]}
    assert kkt(flow, beside).residual < 1e-7
    assert kkt(flow, beside, 1e-10).residual > 0.2


@pytest.mark.slow
def test_a_deep_network_against_scipy():
    # layer 1 pinned at samples 0 and 1, layer 2 at sample 5: gates of both layers are multiplied
    model = jd.models.MLP((4, 3), dim=3)
    flow = jd.flows.GradientFlow(model, jd.losses.square, DATA)
    several = 0
    for seed in range(4):
        first, second, last = (np.array(layer["w"]) for layer in drawn(model, seed))
        first[0], first[1] = np.cross(X[0], X[1]), X[5] + 0.1  # the second is open at sample 5
        hidden = np.maximum(X @ first.T, 0)
        second[1] -= (second[1] @ hidden[5]) * hidden[5] / (hidden[5] @ hidden[5])
        params = [{"w": jnp.asarray(w)} for w in (first, second, last)]
        w = jax.tree.map(lambda leaf, norm=np.linalg.norm(flat(params)): leaf / norm, params)
        found = kkt(flow, params)
        z = model.preactivations(w, jnp.asarray(X))
        free = [np.abs(leaf) < 1e-12 for leaf in z]

        @jax.jit
        def gradient(values, w=w, z=z, free=free):
            gates, at = [], 0
            for leaf, open_ in zip(z, free, strict=True):
                number = int(open_.sum())
                gates.append((leaf > 0).astype(float).at[np.nonzero(open_)].set(values[at : at + number]))
                at += number
            tree = jax.grad(lambda w: jnp.asarray(Y) @ model.apply(w, jnp.asarray(X), tuple(gates)))(w)
            return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])

        number = sum(int(leaf.sum()) for leaf in free)
        multiplier = 3 * float(jnp.asarray(Y) @ model.apply(w, jnp.asarray(X)))
        best = least_squares(lambda g, u=multiplier * flat(w), go=gradient: np.asarray(go(g)) - u, np.full(number, 0.5), bounds=(0, 1))
        expected = np.sqrt(2 * best.cost) / np.linalg.norm(gradient(jnp.asarray(best.x)))
        assert found.num_free <= number  # those at a sample that a whole layer stops do not count
        several += int(found.num_free) > 2
        np.testing.assert_allclose(found.residual, expected, rtol=1e-7)
    assert several


@pytest.mark.parametrize("widths", [(1, 1), *(pytest.param(w, marks=pytest.mark.slow) for w in ((3, 2), (1, 2, 1)))])
def test_a_deep_maximum_on_a_kink(widths):
    # the network of the test before with more layers of rank one: what it was at sample 0 is now the product of the gates
    x = np.array([[0.1, 1.0], [1.0, 0.6], [1.0, 0.5]])
    y = np.array([-2.0, 1.0, 1.0])
    sides = [np.array([1.0, -0.1]) / np.hypot(1, 0.1), *(np.linspace(1, 2, n) / np.linalg.norm(np.linspace(1, 2, n)) for n in widths)]
    params = [{"w": jnp.asarray(np.outer(b, a))} for a, b in zip(sides, [*sides[1:], np.ones(1)], strict=True)]
    flow = jd.flows.GradientFlow(jd.models.MLP(widths, dim=2), jd.losses.square, jd.data.points(x, y))
    found = kkt(flow, params)
    assert found.num_free == sum(widths)
    assert found.residual < 1e-12
    single = eqx.filter_jit(lambda p: measure.correlation_kkt(flow, p).residual)(
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    )
    assert single.dtype == jnp.float32 and single < 1e-5


@pytest.mark.slow
def test_many_slots_are_an_upper_bound():
    params = pinned()
    few, all_ = (measure.correlation_kkt(FLOW, params, slots=slots).residual for slots in (1, 8))
    assert few >= all_ * (1 - 1e-12)


def test_smooth_networks_have_no_gates():
    model = jd.models.TwoLayer(4, dim=3, activation="relu^2", bias=False)
    found = kkt(jd.flows.GradientFlow(model, jd.losses.square, DATA), drawn(model))
    cosine = measure.correlation_cosine(jd.flows.GradientFlow(model, jd.losses.square, DATA), 0.0, drawn(model))
    assert found.gates is None and found.num_free == 0
    np.testing.assert_allclose(found.residual, np.sqrt(1 - cosine**2), rtol=1e-10)


def test_flows_that_wrap():
    params = pinned()
    clock = Clock(Clock(FLOW))
    state = {"direction": {"direction": params}}
    for own in (measure.correlation, measure.correlation_kkt_residual, measure.stable_rank, measure.function_on(X), measure.neuron_angles):
        np.testing.assert_array_equal(own(clock, 0.0, state), own(FLOW, 0.0, params))


def test_frozen_params_are_no_part_of_the_direction():
    flow = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, frozen=("c",))
    params = pinned()
    a = params["a"] / jnp.linalg.norm(params["a"])
    np.testing.assert_allclose(measure.correlation(flow, 0.0, params), Y @ MODEL.apply({**params, "a": a}, jnp.asarray(X)), rtol=1e-12)
    found = kkt(flow, params)
    np.testing.assert_allclose(found.multiplier, measure.correlation(flow, 0.0, params), rtol=1e-10)
    assert found.residual < kkt(flow, params, 0.0).residual


def test_misuse():
    with pytest.raises(ValueError, match="holds no network"):
        measure.correlation(object(), 0.0, {"w": jnp.ones(2)})


def test_several_outputs():
    model = jd.models.MLP((4,), dim=3, outputs=3)
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    flow = jd.flows.GradientFlow(model, jd.losses.cross_entropy, jd.data.points(X, labels))
    params = drawn(model)
    towards = np.eye(3)[labels] - 1 / 3  # minus the derivative of the sum of -log softmax at 0
    unit = jax.tree.map(lambda leaf: leaf / np.linalg.norm(flat(params)), params)
    expected = np.sum(towards * model.apply(unit, X))
    np.testing.assert_allclose(measure.correlation(flow, 0.0, params), expected, rtol=1e-12)
    cosine = measure.correlation_cosine(flow, 0.0, params)
    np.testing.assert_allclose(kkt(flow, params).residual, np.sqrt(1 - cosine**2), rtol=1e-10)
