"""The neural correlation function and its flows, against numpy, scipy and closed forms."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize as so
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import CorrelationFlow

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(7, 3)), RNG.normal(size=7)
DATA = jd.data.points(X, Y)


def correlation(a, c, power, targets):
    return targets @ (np.maximum(X @ a.T, 0) ** power @ c)


@pytest.mark.parametrize(("loss", "slope"), [("square", 1.0), ("logistic", 0.5), ("exponential", 1.0)])
def test_it_is_the_correlation_with_minus_the_slope_at_zero(loss, slope):
    data = DATA if loss == "square" else jd.data.points(X, np.sign(Y))
    model = jd.models.TwoLayer(width=5, dim=3, bias=False, activation="relu^2", scaling="one")
    flow = CorrelationFlow(model, jd.losses.loss(loss), data, sphere=False)
    params = flow.init(jr.key(0))
    exact = correlation(np.asarray(params["a"]), np.asarray(params["c"]), 2, slope * np.asarray(data.y))
    np.testing.assert_allclose(-flow.loss(params), exact, rtol=1e-13)


@pytest.mark.ci_slow
@pytest.mark.parametrize("activation", [pytest.param("relu", marks=pytest.mark.slow), "relu^2"])
def test_the_sphere_ends_at_a_maximum(activation):
    power = 2 if activation == "relu^2" else 1
    model = jd.models.TwoLayer(width=2, dim=3, bias=False, activation=activation, scaling="one", balanced=True)
    flow = CorrelationFlow(model, jd.losses.square, DATA)
    sol = jd.solve(flow, flow.init(jr.key(1)), 1e4, stop=jd.GradientNormBelow(1e-7))
    assert sol.fate.name == "converged"

    def value(w):
        w = w / np.linalg.norm(w)
        return -correlation(w[:6].reshape(2, 3), w[6:], power, Y)

    found = ravel_pytree(sol.params)[0]
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-4)
    best = so.minimize(value, np.asarray(found), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000})
    np.testing.assert_allclose(sol.certificate.loss_end, best.fun, atol=1e-9)
    assert abs(float(jnp.max(jnp.abs(model.conserved(sol.params))))) < 1e-4  # balanced


@pytest.mark.ci_slow
def test_newton_ends_where_the_flow_does():
    model = jd.models.TwoLayer(width=4, dim=3, bias=False, activation="relu^2", scaling="one")
    flow = CorrelationFlow(model, jd.losses.square, DATA)
    starts = jax.vmap(flow.init)(jr.split(jr.key(2), 4))
    ends = jax.vmap(lambda y: jd.solve(flow, y, 1e3, stop=jd.GradientNormBelow(1e-4)).params)(starts)
    points = jd.polish_lanes(flow, ends, tolerance=1e-12)
    assert bool(jnp.all(points.converged))
    free = CorrelationFlow(model, jd.losses.square, DATA, sphere=False)
    for k in range(4):
        y = jax.tree.map(lambda leaf, k=k: leaf[k], points.params)
        gradient = ravel_pytree(free.vector_field(jnp.zeros(()), flow.weights(y)))[0]
        unit = ravel_pytree(flow.weights(y))[0]
        multiplier = 3 * float(-flow.loss(y))  # Euler
        np.testing.assert_allclose(gradient, multiplier * unit, atol=1e-11)


def test_the_free_flow_blows_up_when_it_should():
    # one neuron on one sample at a KKT point: |w| = d at time (1/d0 - 1/d) / (3 N) for L = 3
    model = jd.models.TwoLayer(width=1, dim=1, bias=False, activation="relu^2", scaling="one")
    flow = CorrelationFlow(model, jd.losses.square, jd.data.points([1.0], [1.0]), sphere=False)
    start = {"a": jnp.full((1, 1), 0.1 * np.sqrt(2 / 3)), "c": jnp.full(1, 0.1 * np.sqrt(1 / 3))}
    best = 2 / 3 * np.sqrt(1 / 3)
    end = 10 / (3 * best)
    sol = jd.solve(flow, start, 2 * end)
    assert sol.fate.name == "diverged"
    np.testing.assert_allclose(sol.t, end, rtol=1e-5)
    half = jd.solve(flow, start, end / 2, rtol=1e-9)
    np.testing.assert_allclose(jnp.linalg.norm(ravel_pytree(half.params)[0]), 0.2, rtol=1e-8)


@pytest.mark.slow
def test_the_sphere_is_the_direction_of_the_free_flow():
    model = jd.models.MLP((3, 3), dim=3, activation="leaky_relu:0.2")
    sphere, free = (CorrelationFlow(model, jd.losses.square, DATA, sphere=on) for on in (True, False))
    start = sphere.init(jr.key(3))
    end = jd.solve(free, start, 0.4, rtol=1e-9).params
    # s = int |w|^(L - 2) dt, and log |w| = int L N ds
    clock = jd.flows.DirectionClock(free.inner, order=3)
    norm = float(jnp.linalg.norm(ravel_pytree(end)[0]))
    stop = jd.StopWhen(lambda flow, t, z: z["log_norm"] >= np.log(norm))
    reached = float(jd.solve(clock, clock.start(start), 10.0, stop=stop, rtol=1e-9).t)
    times = np.linspace(0, reached, 200)
    path = jd.solve(sphere, start, reached, rtol=1e-9, record=times)
    alike = jax.vmap(lambda y: jnp.linalg.norm(ravel_pytree(y)[0] - ravel_pytree(end)[0] / norm))(path.states)
    assert float(jnp.min(alike)) < 2e-2 and float(alike[0]) > 0.05


@pytest.mark.ci_slow
def test_neurons_of_no_weight_hold_up_no_step():
    """The end is slow, for many neurons are nearly as good as the best; those that are not sink to 1e-40 and have kinks by then as well."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=20)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    model = jd.models.TwoLayer(width=20, dim=5, bias=False, activation="relu", scaling="one", balanced=True)
    flow = CorrelationFlow(model, jd.losses.square, jd.data.points(x, y))
    how = {"rtol": 1e-3, "solver": jd.RungeKuttaChebyshev(), "stop": jd.GradientNormBelow(1e-6), "max_steps": 1000}
    sol = jd.solve(flow, flow.init(jr.key(0)), 1e5, **how)
    assert sol.fate.name == "converged"
    assert sol.certificate.num_accepted_steps < 400  # 1206 to t = 400, a third of the way, where each of their kinks ends a step
    a, c = np.asarray(sol.params["a"]), np.asarray(sol.params["c"])
    size = np.linalg.norm(a, axis=1)
    rates = np.sign(c) * (y @ np.maximum(x @ (a / size[:, None]).T, 0))
    # a KKT point: all that have weight grow at the rate of the multiplier, 2 N, and the others more slowly
    np.testing.assert_allclose(rates[size > 1e-2], -2 * float(flow.loss(sol.params)), rtol=1e-5)
    assert np.all(rates <= rates[np.argmax(size)] * (1 + 1e-5))
    assert float(jd.measure.correlation_kkt(flow, sol.params, 1e-5).residual) < 2e-6
