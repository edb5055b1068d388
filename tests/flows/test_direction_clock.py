"""Direction, log-norm and time of homogeneous networks, against the plain flow, closed forms and mpmath."""

import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import DirectionClock, GradientFlow

RNG = np.random.default_rng(3)
X = RNG.normal(size=(8, 3))
X /= np.linalg.norm(X, axis=1, keepdims=True)
LABELS = np.sign(X @ np.array([1.0, -0.5, 0.3]))
DATA = jd.data.points(X, LABELS)
MODELS = {
    "relu": (jd.models.TwoLayer(width=6, dim=3, bias=False, scaling="one"), 2),
    "relu^2": (jd.models.TwoLayer(width=6, dim=3, bias=False, activation="relu^2", scaling="one"), 3),
    "deep": (jd.models.MLP((4, 4), dim=3, activation="leaky_relu:0.3"), 3),
    "first_layer": (jd.models.TwoLayer(width=6, dim=3, bias=False, activation="leaky_relu:0.3", scaling="sqrt", trains="a"), 1),
}
CASES = [
    pytest.param("relu", "exponential", marks=pytest.mark.ci_slow),
    pytest.param("relu", "square", marks=pytest.mark.slow),
    ("relu^2", "logistic"),
    pytest.param("deep", "exponential", marks=pytest.mark.slow),
    pytest.param("first_layer", "logistic", marks=pytest.mark.slow),
]


def network(flow, state):
    """The parameters at their own norm."""
    factor = jnp.exp(state["log_norm"])
    moves = flow.inner.trainable(state["direction"])
    return jax.tree.map(lambda v, moving: factor * v if moving else v, flow.weights(state), moves)


@pytest.mark.ci_slow
@pytest.mark.parametrize(("name", "loss"), CASES)
def test_it_is_the_plain_flow_in_another_time(name, loss):
    model, order = MODELS[name]
    inner = GradientFlow(model, jd.losses.loss(loss), DATA)
    flow = DirectionClock(inner)
    assert flow.order == order
    start = model.init(jr.key(1))
    sol = jd.solve(flow, flow.start(start), 2.0, rtol=1e-9)
    t = float(jnp.exp(flow.log_time(sol.params)))
    plain = jd.solve(inner, start, t, rtol=1e-9)
    ends = [ravel_pytree(params)[0] for params in (network(flow, sol.params), plain.params)]
    assert jnp.linalg.norm(ends[0] - ends[1]) <= 2e-7 * jnp.linalg.norm(ends[1])
    logarithm = jnp.log(plain.certificate.loss_end) if flow.log_domain else plain.certificate.loss_end
    np.testing.assert_allclose(flow.loss(sol.params), logarithm, rtol=1e-6)
    assert 0.05 < t < 100  # the comparison is of something


def fixed_point(order):
    """One neuron on one sample, its weights in the ratio that conserves the direction."""
    power = order - 1
    model = jd.models.TwoLayer(width=1, dim=1, bias=False, activation=f"relu^{power}", scaling="one")
    inner = GradientFlow(model, jd.losses.square, jd.data.points([1.0], [1.0]))
    a, c = np.sqrt(power / order), np.sqrt(1 / order)
    return inner, {"a": jnp.full((1, 1), a), "c": jnp.full(1, c)}, a**power * c


@pytest.mark.parametrize("order", [pytest.param(2, marks=pytest.mark.slow), 3, 4])
def test_time_on_a_ray_is_the_closed_form(order):
    inner, ray, best = fixed_point(order)
    log_norm = -100 * np.log(10)
    flow = DirectionClock(inner, log_norm=log_norm)
    stop = jd.StopWhen(lambda flow, t, z: z["log_norm"] >= -50 * np.log(10))
    sol = jd.solve(flow, flow.start(ray), 1e4, stop=stop, rtol=1e-8)
    reached = float(sol.params["log_norm"])
    found = float(flow.log_time(sol.params))
    if order == 2:  # ln(size / start) / (2 N)
        np.testing.assert_allclose(found, np.log((reached - log_norm) / (2 * best)), rtol=1e-7)
    else:  # the blow-up, up to a share (start / size)^(L - 2) of it
        np.testing.assert_allclose(found, -np.log((order - 2) * order * best) - (order - 2) * log_norm, rtol=1e-9)
    np.testing.assert_allclose(reached - log_norm, order * best * float(sol.t), rtol=1e-9)


@pytest.mark.ci_slow
def test_time_to_any_loss_is_the_exponential_integral():
    # a = c on one sample: f = a^2, a' = a exp(-a^2), t = (Ei(f) - Ei(f0)) / 2
    model = jd.models.TwoLayer(width=1, dim=1, bias=False, activation="identity", scaling="one")
    flow = DirectionClock(GradientFlow(model, jd.losses.exponential, jd.data.points([1.0], [1.0])))
    start = {"a": jnp.full((1, 1), 0.1), "c": jnp.full(1, 0.1)}
    sol = jd.solve(flow, flow.start(start), 1e3, stop=jd.LossBelow(-1000 * np.log(10)), rtol=1e-8)
    f = -mpmath.mpf(float(sol.certificate.loss_end))
    assert f > 2302
    exact = mpmath.log((mpmath.ei(f) - mpmath.ei(mpmath.mpf("0.01"))) / 2)
    np.testing.assert_allclose(float(flow.log_time(sol.params)), float(exact), atol=1e-5)


@pytest.mark.parametrize("power", [pytest.param(p, marks=pytest.mark.ci_slow if p == 2 else pytest.mark.slow) for p in (1, 2, 3)])
def test_a_start_of_1e_100_costs_few_steps_more_than_one_of_1e_2(power):
    model = jd.models.TwoLayer(width=12, dim=3, bias=False, activation=f"relu^{power}", scaling="one", balanced=True)
    inner = GradientFlow(model, jd.losses.exponential, DATA)
    stop = jd.StopWhen(_norm_is_one)
    steps = []
    for exponent in (-2, -100):
        flow = DirectionClock(inner, order=power + 1, log_norm=exponent * np.log(10))
        sol = jd.solve(flow, flow.init(jr.key(0)), 1e8, stop=stop)
        assert sol.fate.name == "stopped"
        steps.append(int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps))
    assert steps[1] - steps[0] <= 300


def _norm_is_one(flow, t, z):
    return z["log_norm"] >= 0


@pytest.mark.parametrize("power", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.ci_slow)])
def test_a_loss_of_1e_1000_is_reached_in_a_thousand_steps_and_balanced(power):
    model = jd.models.TwoLayer(width=12, dim=3, bias=False, activation=f"relu^{power}", scaling="one", balanced=True)
    flow = DirectionClock(GradientFlow(model, jd.losses.exponential, DATA), order=power + 1, log_norm=-2 * np.log(10))
    sol = jd.solve(flow, flow.init(jr.key(4)), 1e8, stop=jd.LossBelow(-1000 * np.log(10)))
    assert sol.fate.name == "stopped"
    np.testing.assert_allclose(sol.certificate.loss_end, -1000 * np.log(10), rtol=1e-9)
    assert int(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps) <= 1000
    assert jnp.max(jnp.abs(model.conserved(flow.weights(sol.params)))) <= 1e-8


@pytest.mark.ci_slow
def test_stiffness_is_symmetric_and_minus_the_tangential_derivative():
    model, order = MODELS["relu^2"]
    flow = DirectionClock(GradientFlow(model, jd.losses.logistic, DATA), order=order)
    state = flow.start(model.init(jr.key(2)))
    flat, unravel = ravel_pytree(state)
    own = flow.stiffness(state)
    matrix = np.asarray(jax.vmap(lambda e: ravel_pytree(own(unravel(e)))[0])(jnp.eye(flat.size)))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13)
    field = lambda y: np.asarray(ravel_pytree(flow.vector_field(0.0, unravel(y)))[0])  # noqa: E731
    v = RNG.normal(size=flat.size)
    moving = ravel_pytree({"direction": flow.weights(state), "elapsed": jnp.zeros(()), "log_norm": jnp.zeros(())})[0]
    still = ravel_pytree({
        "direction": jax.tree.map(jnp.zeros_like, state["direction"]),
        "elapsed": jnp.ones(()),
        "log_norm": jnp.ones(()),
    })[0]
    v = np.asarray(v - moving * (moving @ v)) * (1 - np.asarray(still))
    slope = (field(flat + 1e-6 * v) - field(flat - 1e-6 * v)) / 2e-6
    slope -= np.asarray(moving * (moving @ slope))
    inside = np.asarray(still) == 0
    np.testing.assert_allclose((matrix @ v)[inside], -slope[inside], atol=1e-8)


def test_what_cannot_be_is_refused():
    smooth = jd.models.TwoLayer(width=4, dim=3, activation="tanh")
    with pytest.raises(ValueError, match="homogeneous"):
        DirectionClock(GradientFlow(smooth, jd.losses.logistic, DATA))
    model, _ = MODELS["relu"]
    with pytest.raises(ValueError, match="weight_decay"):
        DirectionClock(GradientFlow(model, jd.losses.logistic, DATA, weight_decay=0.1))
