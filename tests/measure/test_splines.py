"""Splines against scipy, quadrature and the flow that learns them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_banded

import jaxdyn as jd
from jaxdyn.measure import clamped_cubic_spline, cubic_spline_distance, linear_spline_distance, natural_cubic_spline

X = np.array([-0.9, 0.7, -0.4, 0.1, 0.95])  # not sorted
Y = np.array([0.3, -1.0, 2.0, 0.5, 0.8])
ORDER = np.argsort(X)
DATA = jd.data.points(X, Y)
FLOW = jd.flows.GradientFlow(jd.models.TwoLayer(6), jd.losses.square, DATA)


def drawn(seed):
    rng = np.random.default_rng(seed)
    return {"a": jnp.asarray(rng.normal(size=(6, 1))), "b": jnp.asarray(rng.normal(size=6)), "c": jnp.asarray(rng.normal(size=6))}


def test_distances_are_root_mean_squares_on_a_grid():
    params = drawn(0)
    a, b, c = (np.asarray(params[k]) for k in "abc")
    for points in (200, 31):
        grid = np.linspace(-0.9, 0.95, points)
        f = np.maximum(grid[:, None] * a[:, 0] - b, 0) @ c / np.sqrt(6)
        extra = {} if points == 200 else {"points": points}
        linear = np.sqrt(np.mean((f - np.interp(grid, X[ORDER], Y[ORDER])) ** 2))
        cubic = np.sqrt(np.mean((f - CubicSpline(X[ORDER], Y[ORDER], bc_type="natural")(grid)) ** 2))
        np.testing.assert_allclose(linear_spline_distance(DATA, **extra)(FLOW, 0.0, params), linear, rtol=1e-12)
        np.testing.assert_allclose(cubic_spline_distance(DATA, **extra)(FLOW, 0.0, params), cubic, rtol=1e-12)


def test_a_network_that_is_the_linear_spline_has_distance_zero():
    x, y = X[ORDER], Y[ORDER]
    slopes = np.diff(y) / np.diff(x)
    # the first neuron switches far to the left and, with the second, makes the affine part
    a, b = np.ones(6), np.concatenate([[-9.0, -8.0], x[:-1]])
    c = np.concatenate([[0.0, 0.0], [slopes[0]], np.diff(slopes)])
    base = y[0]
    c[0], c[1] = base, -base  # relu(x + 9) - relu(x + 8) = 1
    params = {"a": jnp.asarray(a)[:, None], "b": jnp.asarray(b), "c": jnp.asarray(c) * np.sqrt(6)}
    assert linear_spline_distance(DATA)(FLOW, 0.0, params) < 1e-14
    assert cubic_spline_distance(DATA)(FLOW, 0.0, params) > 0.1
    reduced = jd.flows.ReducedFlow(FLOW.model, jd.losses.square, DATA)
    assert linear_spline_distance(DATA)(reduced, 0.0, jd.flows.reduce_univariate(params)) < 1e-13


def test_natural_spline_and_its_straight_ends():
    spline, reference = natural_cubic_spline(X, Y), CubicSpline(X[ORDER], Y[ORDER], bc_type="natural")
    inside = np.linspace(-0.9, 0.95, 57)
    for derivative in range(3):
        np.testing.assert_allclose(spline(inside, derivative), reference(inside, derivative), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(spline(-2.0), Y[0] + reference(-0.9, 1) * (-1.1), rtol=1e-12)
    np.testing.assert_allclose(spline(3.0), 0.8 + reference(0.95, 1) * 2.05, rtol=1e-12)


def test_clamped_spline_against_scipys_on_one_more_point():
    low = -1.3
    spline = clamped_cubic_spline(X, Y, low)
    reference = CubicSpline([low, *X[ORDER]], [0.0, *Y[ORDER]], bc_type=((1, 0.0), (2, 0.0)))
    inside = np.linspace(low, 0.95, 101)
    for derivative in range(3):
        np.testing.assert_allclose(spline(inside, derivative), reference(inside, derivative), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(spline(np.array([low, low])), 0.0, atol=1e-14)
    np.testing.assert_array_equal(spline(np.array([-5.0, -1.4])), 0.0)
    np.testing.assert_allclose(spline(4.0), reference(0.95) + 3.05 * reference(0.95, 1), rtol=1e-9)


def test_clamped_spline_against_a_boundary_value_problem():
    """The moments f'' at the nodes of f'''' = 0, by the three-term recurrence with the boundary conditions written in."""
    low = -2.0
    nodes, values = np.concatenate([[low], X[ORDER]]), np.concatenate([[0.0], Y[ORDER]])
    h, n = np.diff(nodes), nodes.size
    bands, right = np.zeros((3, n)), np.zeros(n)
    bands[1, 0], bands[0, 1], right[0] = h[0] / 3, h[0] / 6, (values[1] - values[0]) / h[0]  # f'(A) = 0
    for i in range(1, n - 1):
        bands[2, i - 1], bands[1, i], bands[0, i + 1] = h[i - 1] / 6, (h[i - 1] + h[i]) / 3, h[i] / 6
        right[i] = (values[i + 1] - values[i]) / h[i] - (values[i] - values[i - 1]) / h[i - 1]
    bands[1, -1] = 1.0  # f'' = 0 at the last sample
    np.testing.assert_allclose(clamped_cubic_spline(X, Y, low)(nodes, 2), solve_banded((1, 1), bands, right), rtol=1e-10, atol=1e-10)


def test_wide_network_with_fixed_knots_learns_the_clamped_spline():
    """Only c moves from f = 0, knots on a uniform grid of [A, B]: the least-norm solution is the spline."""
    low, high, width = -1.2, 1.2, 4000
    at = low + (np.arange(width) + 0.5) * (high - low) / width
    features = np.maximum(X[:, None] - at, 0)
    c = np.linalg.lstsq(features, Y, rcond=None)[0]
    grid = np.linspace(-1.2, 1.1, 41)
    learned = np.maximum(grid[:, None] - at, 0) @ c
    np.testing.assert_allclose(learned, clamped_cubic_spline(X, Y, low)(grid), atol=1e-4)


@pytest.mark.parametrize("build", [linear_spline_distance, cubic_spline_distance])
def test_bad_samples(build):
    with pytest.raises(ValueError, match="same x"):
        build(jd.data.points(np.array([0.0, 1.0, 0.0]), np.zeros(3)))
    with pytest.raises(ValueError, match="one input each"):
        build(jd.data.points(np.eye(2), np.zeros(2)))
    with pytest.raises(ValueError, match="two or more points"):
        build(jd.data.points(np.zeros(1), np.zeros(1)))
    with pytest.raises(ValueError, match="points must be an integer of at least 2; 1 was given"):
        build(DATA, points=1)


def test_bad_points():
    with pytest.raises(ValueError, match="not finite"):
        natural_cubic_spline([0.0, 1.0], [0.0, np.nan])
    for low in (-0.9, 0.0, np.nan):
        with pytest.raises(ValueError, match="below all inputs"):
            clamped_cubic_spline(X, Y, low)
    with pytest.raises(ValueError, match="shapes"):
        jd.measure.SplineDistance(np.zeros((3, 1)), np.zeros(4))
