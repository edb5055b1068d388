"""The second derivative's breaks, on functions of known shape and on a network trained in the kernel regime."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.measure import second_derivative_residual

SAMPLES = np.array([-0.8, -0.2, 0.3, 0.9])
KNOTS = np.random.default_rng(0).uniform(-1.0, 1.0, 300)


def bent_at(breaks, seed=1):
    weights = np.random.default_rng(seed).normal(size=len(breaks))
    return np.maximum(np.asarray(breaks) - KNOTS[:, None], 0) @ weights


def test_breaks_at_the_samples_fit_exactly():
    residual = second_derivative_residual(KNOTS, bent_at(SAMPLES), SAMPLES[:, None])
    assert residual.at_samples < 1e-24 and residual.at_midpoints > 1e-3


def test_breaks_at_the_midpoints_fit_the_other():
    residual = second_derivative_residual(KNOTS, bent_at((SAMPLES[1:] + SAMPLES[:-1]) / 2), SAMPLES)
    assert residual.at_samples > 1e-3 and residual.at_midpoints < 1e-24


def test_what_is_not_piecewise_linear_leaves_a_residual():
    noise = np.random.default_rng(2).normal(size=KNOTS.size)
    residual = second_derivative_residual(KNOTS, noise, SAMPLES)
    # noise keeps a share (neurons - numbers fitted) / (neurons - 1) of its variance, with a deviation of about 1 %
    np.testing.assert_allclose(residual, [294 / 299, 295 / 299], atol=0.03)
    smooth = second_derivative_residual(KNOTS, np.sin(12 * KNOTS), SAMPLES)
    assert min(smooth) > 0.3


def test_residual_is_one_minus_r_squared_whatever_the_units():
    change = bent_at(SAMPLES) + 0.1 * np.sin(40 * KNOTS)
    design = np.column_stack([np.ones_like(KNOTS), KNOTS, *(np.maximum(KNOTS - s, 0) for s in SAMPLES)])
    error = change - design @ np.linalg.lstsq(design, change, rcond=None)[0]
    expected = np.sum(error**2) / np.sum((change - change.mean()) ** 2)
    residual = second_derivative_residual(KNOTS, change, SAMPLES)
    np.testing.assert_allclose(residual.at_samples, expected, rtol=1e-9)
    np.testing.assert_allclose(second_derivative_residual(5 * KNOTS, 1e-6 * change - 3e-6, 5 * SAMPLES), residual, rtol=1e-7)


def test_gaps_without_knots_do_no_harm():
    keep = (KNOTS < -0.2) | (KNOTS > 0.3)
    samples = np.array([-0.8, -0.2, -0.1, 0.0, 0.3, 0.9, 4.0])
    assert second_derivative_residual(KNOTS[keep], bent_at(SAMPLES)[keep], samples).at_samples < 1e-24


def test_output_weights_trained_alone_change_piecewise_linearly():
    data = jd.data.square_wave(6, periods=1.5)
    model = jd.models.TwoLayer(100, trains="c", knots=(-1.2, 1.2), orientation=1, antisymmetric=True)
    flow = jd.flows.GradientFlow(model, jd.losses.square, data)
    start = eqx.filter_jit(flow.init)(jr.key(0))

    def euler(_, y):  # its steps, too, are combinations of the features
        return jax.tree.map(lambda leaf, v: leaf + 0.1 * v, y, flow.vector_field(jnp.zeros(()), y))

    end = jax.jit(lambda y: jax.lax.fori_loop(0, 5000, euler, y))(start)
    assert flow.loss(end) < 0.5 * flow.loss(start)
    at, change = np.asarray(start["b"] / start["a"][:, 0]), np.asarray(end["c"] - start["c"])
    residual = second_derivative_residual(at, change, np.asarray(data.x))
    assert residual.at_samples < 1e-20 and residual.at_midpoints > 1e-4


def test_no_number_where_there_is_none():
    assert all(np.isnan(second_derivative_residual(KNOTS, np.ones_like(KNOTS), SAMPLES)))
    assert all(np.isnan(second_derivative_residual(KNOTS, np.full_like(KNOTS, np.nan), SAMPLES)))


def test_misuse():
    with pytest.raises(ValueError, match="one weight change a neuron"):
        second_derivative_residual(KNOTS, KNOTS[:-1], SAMPLES)
    with pytest.raises(ValueError, match="finite inputs"):
        second_derivative_residual(KNOTS, KNOTS, np.ones((3, 2)))
    with pytest.raises(ValueError, match="wider network"):
        second_derivative_residual(KNOTS[:5], KNOTS[:5], SAMPLES)
