"""Every wrong call is a ValueError with a sentence that names the mend."""

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import FormulaFlow

import jaxdyn as jd
from jaxdyn.solve import Tolerances, check_flow, make_settings

FLOW = FormulaFlow("decay")
START = {"y": jnp.ones(2)}
PID = dfx.PIDController(rtol=1e-6, atol=1e-6)
CONSTANT = dfx.ConstantStepSize()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"t1": 0.0}, "t1=0.0 must be a time after t0=0.0"),
        ({"t1": -1.0}, "must be a time after"),
        ({"t1": 1.0, "t0": 2.0}, "must be a time after t0=2.0"),
        ({"t1": np.nan}, "must be a time after"),
        ({"t1": -np.inf}, "must be a time after t0=0.0, or jax.numpy.inf"),
        ({"t1": "10"}, "must be a time after"),
        ({"t1": [1.0, 2.0]}, "must be a time after"),
        ({"t0": np.nan}, "t0=nan must be a finite time"),
        ({"rtol": -1e-3}, "rtol=-0.001 must be positive"),
        ({"rtol": 0.0}, "rtol=0 must be positive"),
        ({"rtol": np.nan}, "rtol=nan must be"),
        ({"rtol": "fine"}, "rtol='fine' must be"),
        ({"rtol": 1e-17}, "finer than float64 holds"),
        ({"atol": -1.0}, "atol=-1.0 must be zero or positive"),
        ({"atol": np.nan}, "atol=nan must be"),
        ({"dt0": 0.0}, "dt0=0.0 must be positive"),
        ({"dt0": np.inf}, "dt0=inf must be positive"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
        ({"norm_bound": -1.0}, "norm_bound=-1.0 must be positive"),
        ({"controller": PID, "rtol": 1e-6}, "either a controller"),
        ({"controller": PID, "atol": 1e-6}, "either a controller"),
        ({"controller": dfx.PIDController(rtol=0.0, atol=1e-6)}, "rtol=0 must be positive"),
        ({"controller": CONSTANT}, "needs its length: give dt0="),
        ({"controller": "PI"}, "the controller must be one of diffrax's"),
        ({"solver": dfx.Euler()}, "Euler has no error estimate: give controller=diffrax.ConstantStepSize"),
        ({"solver": dfx.Euler(), "controller": PID}, "Euler has no error estimate"),
        ({"solver": dfx.Euler(), "controller": CONSTANT}, "give dt0="),
        ({"solver": "tsit5"}, "the solver must be one of diffrax's"),
        ({"solver": dfx.Tsit5}, "the solver must be one of diffrax's"),
        ({"solver": dfx.KenCarp4()}, "KenCarp4 needs a field in several parts"),
        ({"solver": dfx.SemiImplicitEuler(), "controller": CONSTANT, "dt0": 0.1}, "needs a field in several parts"),
        ({"solver": dfx.Kvaerno5(), "controller": CONSTANT, "dt0": 0.1}, "root finder"),
        ({"observe": ["loss"]}, "dictionary"),
        ({"observe": {"loss": lambda y: y}}, "must take"),
        ({"record": "all"}, "is not known"),
        ({"stop": "loss"}, "stop takes rules"),
    ],
)
def test_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        jd.solve(FLOW, START, **{"t1": 1.0} | settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "the parameters are empty"),
        (None, "the parameters are empty"),
        ({"y": jnp.arange(2)}, "array of real floats, but there is a int"),
        ({"y": 1.0}, "array of real floats, but there is a float"),
        ({"y": jnp.ones(2, complex)}, "array of real floats, but there is a complex"),
        ({"y": [1.0, 2.0]}, "array of real floats"),
        ({"z": jnp.ones(2)}, "does not take these parameters"),
        (jnp.ones(2), "does not take these parameters"),
    ],
)
def test_parameters(params, sentence):
    with pytest.raises(ValueError, match=sentence):
        jd.solve(FLOW, params, t1=1.0)


def test_an_equinox_module_with_functions_in_it():
    network = eqx.nn.MLP(1, 1, 3, 1, key=jr.key(0))
    with pytest.raises(ValueError, match=r"equinox\.partition"):
        jd.solve(FLOW, network, t1=1.0)


def test_a_network_of_another_width():
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(3, dim=2), jd.losses.square, jd.data.points(np.ones((4, 2)), np.ones(4)))
    with pytest.raises(ValueError, match=r"\(3, 3\)|does not take|dim|shape"):
        jd.solve(flow, {"a": jnp.ones((3, 3)), "b": jnp.ones(3), "c": jnp.ones(3)}, t1=1.0)


class Halves:
    """A flow with one part wrong."""

    def __init__(self, velocity=lambda y: -y, loss=lambda y: jnp.sum(y)):
        self.velocity, self.value = velocity, loss

    def vector_field(self, t, y, args):
        return self.velocity(y)

    def loss(self, y):
        return self.value(y)


class NoLoss:
    def vector_field(self, t, y, args):
        return -y


@pytest.mark.parametrize(
    ("flow", "sentence"),
    [
        (None, "NoneType has no vector_field"),
        (lambda t, y, args: -y, "function has no vector_field"),
        (NoLoss(), "NoLoss has no loss"),
        (Halves(velocity=lambda y: y[:1]), r"shaped like the parameters, \[\(2,\)\], but is \[\(1,\)\]"),
        (Halves(velocity=lambda y: {"y": y}), "must be a pytree like the parameters"),
        (Halves(loss=lambda y: y), r"the loss must be a scalar, but has shape \(2,\)"),
        (Halves(velocity=lambda y: y["a"]), "does not take these parameters"),
    ],
)
def test_flows(flow, sentence):
    with pytest.raises(ValueError, match=sentence):
        jd.solve(flow, jnp.ones(2), t1=1.0)
    with pytest.raises(ValueError, match=sentence):
        check_flow(flow, jnp.ones(2))


def test_a_flow_without_a_start_is_solved_and_not_swept():
    class Decay(jd.flows.AbstractFlow):
        def vector_field(self, t, y, args=None):
            return -y

        def loss(self, y):
            return jnp.sum(y**2)

    np.testing.assert_allclose(jd.solve(Decay(), jnp.ones(2), t1=1.0).params, np.exp(-1.0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"Decay has no init\(key\)"):
        jd.sweep(Decay(), 2, t1=1.0, progress=False)


def test_a_plain_object_with_weakly_typed_parameters_is_enough():
    start = jnp.full(2, 0.5)
    assert start.weak_type
    sol = jd.solve(Halves(), start, t1=1.0, record=2)
    np.testing.assert_allclose(sol.params, 0.5 * np.exp(-1.0), rtol=1e-5)


def test_defaults_follow_the_precision():
    for dtype, rtol in ((jnp.float64, 1e-6), (jnp.float32, 1e-4)):
        controller = make_settings(jnp.dtype(dtype), 1.0, (), Tolerances()).controller
        np.testing.assert_allclose([controller.rtol, controller.atol], [rtol, 0.01 * rtol], rtol=1e-6)
