"""Float32: time that does not stall, tolerances that fit, with and without float64 in the process."""

import subprocess
import sys

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import pytest
from formula_flows import FormulaFlow, LinearFlow

import jaxdyn as jd

SINGLE = jnp.float32


def start(*values):
    return {"y": jnp.asarray(values, SINGLE)}


@pytest.mark.parametrize("t0", [1e3, 1e5])
def test_float32_steps_far_below_the_spacing_of_float32_times_add_up(t0):
    """Steps of 1e-3 and 1e-5: one float32 spacing at 1e5 is 8e-3, so that float32 time would stand still."""
    h = 1e-3 if t0 == 1e3 else 1e-5
    controller = dfx.ConstantStepSize()
    sol = jd.solve(FormulaFlow("decay"), start(1.0, 2.0), t0=t0, t1=t0 + 500 * h, controller=controller, dt0=h, record=3, max_steps=1000)
    assert sol.fate.name == "t1_reached"
    assert abs(int(sol.certificate.num_accepted_steps) - 500) <= 1
    np.testing.assert_allclose(sol.params["y"], np.exp(-500 * h) * np.asarray([1.0, 2.0]), rtol=5e-5)
    np.testing.assert_allclose(sol.states["y"][-1], sol.params["y"])


def test_float32_lane_to_late_times():
    """A stiff decay up to 1e5 / lambda: default tolerances, no stall, and the slow direction is right."""
    flow = LinearFlow(jnp.diag(jnp.asarray([1.0, 1e-5], SINGLE)))
    sol = jd.solve(flow, jnp.ones(2, SINGLE), t1=1e4, record=20)
    assert sol.fate.name == "t1_reached"
    assert sol.params.dtype == SINGLE
    np.testing.assert_allclose(sol.params[1], np.exp(-0.1), rtol=1e-3)
    assert abs(float(sol.params[0])) < 1e-4
    assert np.isfinite(sol.ts).all()


@pytest.mark.ci_slow
def test_everything_that_is_a_parameter_stays_float32():
    model = jd.models.TwoLayer(width=4, activation="tanh")
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.sinusoid(5), weight_decay=0.1)
    params = {"a": jnp.ones((4, 1), SINGLE), "b": jnp.arange(4, dtype=SINGLE), "c": jnp.ones(4, SINGLE)}
    sol = jd.solve(flow, params, t1=1.0, rtol=1e-5, record=3, observe={"loss": lambda flow, t, y: flow.loss(y)})
    double = jd.solve(flow, {k: v.astype(float) for k, v in params.items()}, t1=1.0, rtol=1e-9, record=3)
    for name in "abc":
        assert sol.params[name].dtype == sol.states[name].dtype == SINGLE
        np.testing.assert_allclose(sol.params[name], double.params[name], rtol=0, atol=2e-5)
    assert sol.t.dtype == jnp.float64


@pytest.mark.parametrize("how", [{"rtol": 1e-9}, {"controller": dfx.PIDController(rtol=1e-9, atol=1e-9)}])
def test_a_tolerance_that_float32_cannot_hold_is_refused(how):
    with pytest.raises(ValueError, match="jax_enable_x64"):
        jd.solve(FormulaFlow("decay"), start(1.0, 2.0), t1=1.0, **how)


def test_controllers_of_absolute_times_need_float64():
    controller = dfx.ClipStepSizeController(dfx.PIDController(rtol=1e-4, atol=1e-6), step_ts=[0.5])
    with pytest.raises(ValueError, match="ClipStepSizeController looks at absolute times.*jax_enable_x64"):
        jd.solve(FormulaFlow("decay"), start(1.0, 2.0), t1=1.0, controller=controller)


WITHOUT_X64 = """
import diffrax as dfx, jax.numpy as jnp, numpy as np, jaxdyn as jd

class Flow:
    def vector_field(self, t, y, args):
        return -y
    def loss(self, y):
        return 0.5 * jnp.sum(y**2)

assert jnp.result_type(float) == jnp.float32
h, t0 = 2.0**-10, 2.0**17  # the spacing of float32 numbers is 2^-6 there: time stands still unless it is kept in two parts
sol = jd.solve(Flow(), jnp.ones(2), t0=t0, t1=t0 + 1, controller=dfx.ConstantStepSize(), dt0=h, record=[t0, t0 + 0.5, t0 + 1])
assert sol.fate.name == "t1_reached", sol
assert int(sol.certificate.num_accepted_steps) == 1024, sol
np.testing.assert_allclose(sol.params, np.exp(-1.0), rtol=1e-4)
np.testing.assert_allclose(sol.states[:, 0], np.exp([0.0, -0.5, -1.0]), rtol=1e-2)  # times are rounded to 2^-7
try:
    jd.solve(Flow(), jnp.ones(2), t1=1.0, rtol=1e-9)
except ValueError as error:
    assert "jax_enable_x64" in str(error)
else:
    raise AssertionError("rtol=1e-9 passed in float32")
print("sound")
"""


@pytest.mark.ci_slow
def test_a_process_without_float64(tmp_path):
    command = [sys.executable, "-c", WITHOUT_X64]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "sound"
