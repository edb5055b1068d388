"""The doctor's own lanes must be able to fail."""

import jax
import numpy as np
import pytest

from jaxdyn.data import points
from jaxdyn.flows import GradientFlow
from jaxdyn.losses import square
from jaxdyn.models import TwoLayer
from jaxdyn.report import doctor


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_field_by_hand_is_the_gradient(activation):
    x, y = np.linspace(-1, 1, 4), np.array([1.0, -1.0, 0.5, 2.0])
    flow = GradientFlow(TwoLayer(width=3, activation=activation), square, points(x, y))
    params = flow.init(jax.random.key(3))
    velocity = flow.vector_field(0.0, params)
    flat = [np.concatenate([np.ravel(tree[name]) for name in "abc"]) for tree in (params, velocity)]
    np.testing.assert_allclose(doctor._field(flat[0], x, y, activation), flat[1], rtol=1e-12, atol=1e-14)


def test_a_lane_that_disagrees_is_told(monkeypatch):
    right = doctor._field
    monkeypatch.setattr(doctor, "_field", lambda *args: right(*args) * 1.001)
    check = doctor._check_lane("tanh")
    assert not check.passed
    assert "disagrees with scipy" in check.detail
    assert doctor.INSTALL in check.detail


def test_float32_is_told():
    jax.config.update("jax_enable_x64", False)
    try:
        check = doctor._check_precision()
    finally:
        jax.config.update("jax_enable_x64", True)
    assert not check.passed
    assert "jax_enable_x64" in check.detail
