"""Spectrum, condition, alignment, angle and velocity of the kernel against numpy and finite differences."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

DATA = jd.data.sinusoid(5)
FLOW = jd.flows.GradientFlow(jd.models.TwoLayer(7, activation="tanh"), jd.losses.square, DATA)
T = jnp.zeros(())


def points():
    return FLOW.init(jr.key(0)), FLOW.init(jr.key(1))


def test_spectrum_and_condition():
    params, _ = points()
    kernel = np.asarray(measure.ntk(FLOW, T, params))
    values = np.sort(np.linalg.eigvals(kernel).real)[::-1]
    np.testing.assert_allclose(measure.ntk_spectrum(FLOW, T, params), values, atol=1e-12 * values[0])
    np.testing.assert_allclose(measure.ntk_condition(FLOW, T, params), np.linalg.cond(kernel), rtol=1e-6)


def test_a_repeated_sample_has_no_finite_condition():
    x = np.array([0.1, 0.1, 0.7])
    flow = jd.flows.GradientFlow(FLOW.model, jd.losses.square, jd.data.points(x, x))
    assert measure.ntk_condition(flow, T, points()[0]) == np.inf


def test_alignment():
    params, _ = points()
    kernel, y = np.asarray(measure.ntk(FLOW, T, params)), np.asarray(DATA.y)
    expected = np.sum(kernel * np.outer(y, y)) / np.linalg.norm(kernel) / np.linalg.norm(np.outer(y, y))
    np.testing.assert_allclose(measure.ntk_alignment(FLOW, T, params), expected, rtol=1e-13)
    # a linear model of one input has the kernel x x^T: aligned where y is x
    line = jd.flows.GradientFlow(lambda w, x: x[:, 0] * w, jd.losses.square, jd.data.points(DATA.x, 2 * DATA.x[:, 0]))
    np.testing.assert_allclose(measure.ntk_alignment(line, T, jnp.asarray(3.0)), 1.0, rtol=1e-14)


def test_angle():
    params, start = points()
    now, first = (np.asarray(measure.ntk(FLOW, T, at)) for at in (params, start))
    cosine = np.sum(now * first) / np.linalg.norm(now) / np.linalg.norm(first)
    np.testing.assert_allclose(measure.ntk_angle(FLOW, T, params, start), np.arccos(cosine), rtol=1e-10)
    assert measure.ntk_angle(FLOW, T, start, start) == 0
    # twice the outer weights and half the function's share of inner ones only scale a linear model's kernel
    product = jd.flows.GradientFlow(lambda w, x: x[:, 0] * w["a"] * w["b"], jd.losses.square, DATA)
    turned = measure.ntk_angle(product, T, {"a": jnp.asarray(2.0), "b": jnp.asarray(1.0)}, {"a": jnp.asarray(0.1), "b": jnp.asarray(5.0)})
    np.testing.assert_allclose(turned, 0.0, atol=1e-15)


def test_velocity():
    """Against the kernels a little before and after on the flow."""
    params, _ = points()
    h = 1e-5
    velocity = FLOW.vector_field(T, params)
    sides = [measure.ntk(FLOW, T, jax.tree.map(lambda p, v, s=s: p + s * h * v, params, velocity)) for s in (1, -1)]
    expected = np.linalg.norm(np.asarray(sides[0] - sides[1])) / (2 * h) / np.linalg.norm(np.asarray(measure.ntk(FLOW, T, params)))
    np.testing.assert_allclose(measure.ntk_velocity(FLOW, T, params), expected, rtol=1e-8)


@pytest.mark.ci_slow
def test_recorded_along_a_lane():
    watch = {name: getattr(measure, name) for name in ("ntk_spectrum", "ntk_condition", "ntk_alignment", "ntk_angle", "ntk_velocity")}
    ds = jd.sweep(FLOW, 2, t1=1.0, record=3, observe=watch, progress=False, devices=jax.devices()[:1])
    assert ds["ntk_spectrum"].dims[-1] == "mode" and np.all(np.isfinite(ds["ntk_velocity"])) and np.all(ds["ntk_angle"][..., 0] < 1e-15)


def test_a_flow_without_data_has_no_alignment():
    class Bare:
        pass

    with pytest.raises(ValueError, match="no data"):
        measure.ntk_alignment(Bare(), T, jnp.ones(1))
