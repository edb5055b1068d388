"""Every wrong call is refused at once, before anything is compiled, in one sentence that names the mend."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_flows import HOW, Decay, Net, net_flow

import jaxdyn as jd

NET = net_flow()
TWO = jd.flows.GradientFlow(jd.models.TwoLayer(width=4), jd.losses.square, jd.data.sinusoid(n=5))


class NoStart(eqx.Module):
    def vector_field(self, t, y, args=None):
        return -y

    def loss(self, y):
        return jnp.sum(y**2)


class Single(Decay):
    """Parameters in float32."""

    def init(self, key):
        return jnp.ones(2, jnp.float32)


def needs_more(flow, t, params):
    return params["no such weight"]


def badly_shaped(flow, t, params):
    return params["a"] @ jnp.ones(99)


def named_wrongly(flow, t, params):
    return params["a"]


named_wrongly.dims = ("x", "y")


def sized_otherwise(flow, t, params):
    return jnp.ones(7)


sized_otherwise.dims = ("param",)


def like_seed(flow, t, params):
    return params["a"]


like_seed.dims = ("seed",)

nan = float("nan")
CALLS = {
    "no seeds": (dict(seeds=0), "at least one seed"),
    "negative": (dict(seeds=-3), "at least one seed"),
    "an empty list": (dict(seeds=[]), "at least one seed"),
    "a negative id": (dict(seeds=[0, -1]), "from 0 to"),
    "an id too large": (dict(seeds=[2**32]), "from 0 to"),
    "twice": (dict(seeds=[3, 4, 3]), r"\[3\] are given twice"),
    "floats": (dict(seeds=[0.0, 1.0]), "must be integers"),
    "a float": (dict(seeds=3.0), "not 3.0"),
    "a truth": (dict(seeds=True), "not True"),
    "a table of seeds": (dict(seeds=[[1, 2], [3, 4]]), "list of ids"),
    "text": (dict(seeds="ten"), "not 'ten'"),
    "a list for a grid": (dict(over=["model.scale"]), "takes a dictionary"),
    "an empty axis": (dict(over={"model.scale": []}), "no values for 'model.scale'"),
    "a number for a list": (dict(over={"model.scale": 0.5}), "must be a list"),
    "text for a list": (dict(over={"model.shape": "tanh"}), "must be a list"),
    "a set": (dict(over={"model.scale": {1.0, 2.0}}), "must be a list"),
    "a scalar array": (dict(over={"model.scale": np.array(1.0)}), "must be a list"),
    "an unknown path": (dict(over={"model.depth": [1]}), "model has width, scale, offset, shape, and the solve has t1"),
    "a path that ends in nothing": (dict(over={"model.width.bits": [1]}), "leads nowhere"),
    "a number for a path": (dict(over={3: [1]}), "dotted path"),
    "a property": (dict(over={"convention": ["mine"]}), "is no field"),
    "a path on two axes": (dict(over={"model.scale": [1.0], ("model.scale", "rtol"): [(1.0, 1e-3)]}), "'model.scale' stands twice"),
    "a path twice on one": (dict(over={("rtol", "rtol"): [(1e-3, 1e-4)]}), "'rtol' stands twice"),
    "tuples too short": (dict(over={("model.scale", "rtol"): [(1.0,)]}), "must be a tuple of 2"),
    "no tuples": (dict(over={("model.scale", "rtol"): [1.0, 2.0]}), "must be a tuple of 2"),
    "text for tuples": (dict(over={("model.scale", "rtol"): ["ab"]}), "must be a tuple of 2"),
    "text for a leaf": (dict(over={"model.scale": ["large"]}), "must be a number or an array of real numbers, not 'large'"),
    "text for a tolerance": (dict(over={"rtol": ["small"]}), "'rtol' must be numbers, not 'small'"),
    "None for a time": (dict(t1=None, over={"t1": [1.0, None]}), "'t1' must be numbers"),
    "a negative time in the grid": (dict(t1=None, over={"t1": [1.0, -1.0]}), "t1=-1.0 must be"),
    "no steps in the grid": (dict(over={"max_steps": [100, 0]}), "max_steps=0 must be"),
    "no first step in the grid": (dict(over={"dt0": [0.0]}), "dt0=0.0 must be"),
    "one bad tolerance in the grid": (dict(over={"rtol": [1e-3, 1e-30]}), "finer than float64"),
    "a bad atol in the grid": (dict(over={"atol": [1e-3, -1.0]}), "atol=-1.0 must be"),
    "targets of another shape": (dict(over={"data.y": [np.ones(5), np.ones(4)]}), "flatten each input"),
    "targets that are NaN": (dict(over={"data.y": [np.ones(5), np.full(5, nan)]}), "not finite"),
    "no width": (dict(over={"model.width": [4, 0]}), "gives no parameters"),
    "a limit beside times": (dict(t1=None, over={"t1": [1.0, np.inf]}), "mixes t1=inf with finite end times"),
    "no end": (dict(t1=None), "give an end time"),
    "an end before the start": (dict(t1=-1.0), "t1=-1.0 must be"),
    "an end that is no number": (dict(t1=nan), "t1=nan must be"),
    "text for an end": (dict(t1="late"), "t1='late' must be"),
    "each step": (dict(record="steps"), "for solve"),
    "one record": (dict(record=1), "too few"),
    "records beyond the end": (dict(record=[0.0, 6.0]), "between t0=0 and t1=5"),
    "records beyond the earliest end": (dict(record=[0.0, 4.0], over={"t1": [3.0, 5.0]}), "between t0=0 and t1=3"),
    "records that are NaN": (dict(record=[0.0, nan]), "finite"),
    "no slots": (dict(width=0), "width must be an integer of at least 1; 0 was given"),
    "half a slot": (dict(width=2.5), "width must be an integer of at least 1; 2.5 was given"),
    "no devices": (dict(devices=[]), "devices is empty"),
    "no key": (dict(key=3), "not a single random key"),
    "several keys": (dict(key=jax.random.split(jax.random.key(0), 3)), "not a single random key"),
    "a list of observables": (dict(observe=[jd.measure.loss]), "takes a dictionary"),
    "no function": (dict(observe={"x": 3}), "not a function"),
    "two arguments": (dict(observe={"x": lambda flow, params: 0.0}), "takes 2 arguments"),
    "an observable that fails": (dict(observe={"x": needs_more}), "does not fit this flow: .*no such weight"),
    "an observable of wrong shapes": (dict(observe={"x": badly_shaped}), "does not fit this flow"),
    "too many dims": (dict(observe={"x": named_wrongly}), "but has 1"),
    "a dimension of another size": (dict(observe={"x": sized_otherwise}), "'x' has 7 along the dimension 'param', but 'params' has 8"),
    "a dimension that is the seed": (dict(observe={"x": like_seed}), "taken already"),
    "a name of ours": (dict(observe={"t": jd.measure.loss}), "call it otherwise"),
    "a name of the certificate": (dict(observe={"largest_norm": jd.measure.loss}), "call it otherwise"),
    "a name of the grid": (dict(observe={"scale": jd.measure.loss}, over={"model.scale": [1.0]}), "call it otherwise"),
    "the name of an end": (dict(observe={"x": jd.measure.loss, "x_end": jd.measure.loss}), "call it otherwise"),
    "a rule that is none": (dict(stop=[3]), "stop takes rules"),
    "a tolerance of zero": (dict(rtol=0.0), "must be positive"),
    "both": (dict(rtol=1e-3, controller=dfx.PIDController(rtol=1e-3, atol=1e-6)), "not both"),
    "both, by the grid": (dict(over={"rtol": [1e-3]}, controller=dfx.PIDController(rtol=1e-3, atol=1e-6)), "not both"),
    "no error estimate": (dict(solver=dfx.Euler()), "no error estimate"),
    "no flow": (dict(flow=3), "flow.init"),
    "no width of a model": (dict(flow=TWO, over={"model.width": [4, 0]}), "width must be an integer of at least 1"),
    "half a width": (dict(flow=TWO, over={"model.width": [2.5]}), "width must be an integer of at least 1"),
    "no start": (dict(flow=NoStart()), "flow.init"),
    "single precision": (dict(flow=Single(jnp.asarray(1.0), jnp.zeros(2)), rtol=1e-9), "jax_enable_x64"),
    "single precision, by the grid": (dict(flow=Single(jnp.asarray(1.0), jnp.zeros(2)), over={"rtol": [1e-3, 1e-9]}), "jax_enable_x64"),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_wrong_call_is_one_sentence(kind, monkeypatch, tmp_path):
    wrong, expected = CALLS[kind]
    out = tmp_path / "none.zarr"
    call = {"flow": NET, "seeds": 2, "t1": 5.0, "record": 3, "progress": False, "width": 4, "out": out} | wrong
    flow, seeds = call.pop("flow"), call.pop("seeds")
    with pytest.raises(ValueError, match=expected) as error:
        jd.sweep(flow, seeds, **call)
    text = str(error.value)
    assert "\n" not in text and len(text) < 500, text
    assert not out.exists()


def test_data_that_are_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        jd.flows.GradientFlow(Net(3), jd.losses.square, jd.data.points(np.array([0.0, nan]), np.ones(2)))


def test_what_looks_wrong_and_is_right():
    how = HOW | {"t1": 4, "width": np.int64(4), "record": np.int64(5)}
    ds = jd.sweep(net_flow(), np.int64(2), {"model.scale": (1, 2)}, **how)
    assert ds["scale"].values.tolist() == [1, 2] and ds["time"].values[-1] == 4.0
