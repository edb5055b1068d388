"""Sweeps of descents: each lane is its `solve`, with samples of its own, to the same bits after a kill."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from ensemble_flows import ONE, ROOT, Net, assert_lane_is

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, StochasticDescent
from jaxdyn.store import LaneStore

pytestmark = pytest.mark.ci_slow

FLOW = GradientFlow(Net(4), jd.losses.mean_square, jd.data.sinusoid(n=6))
DESCENT = StochasticDescent(FLOW, 0.1, batch=2, optimiser=optax.adam)
RATES = [0.05, 0.1, 0.13]
HOW = {"t1": 2.0, "record": [0.0, 0.5, 2.0], "width": 4, "devices": ONE, "progress": False}
WATCH = {"loss": jd.measure.loss}


def run(seeds, **more):
    return jd.sweep(DESCENT, seeds, {"learning_rate": RATES}, observe=WATCH, **HOW | more)


@pytest.fixture(scope="module")
def unbroken():
    return run(12)


def assert_same_bits(one, two):
    for name in two.data_vars:
        np.testing.assert_array_equal(one[name].values, two[name].values, err_msg=str(name))


def test_every_lane_is_its_solve(unbroken):
    """Twelve seeds and three rates in four slots: they are refilled, and started with the most steps first."""
    for seed, k in [(0, 0), (5, 1), (11, 2), (7, 0)]:
        own, key = dataclasses.replace(DESCENT, learning_rate=jnp.asarray(RATES[k])), jr.fold_in(ROOT, seed)
        sol = jd.solve(own, DESCENT.init(key), 2.0, record=HOW["record"], observe=WATCH, key=key)
        assert_lane_is(unbroken.isel(learning_rate=k).sel(seed=seed), sol, WATCH)
    assert unbroken["num_accepted_steps"].values[:, 0].tolist() == [40, 20, 16]
    np.testing.assert_allclose(unbroken["t_end"].values[:, 0], [2.0, 2.0, 16 * 0.13], rtol=1e-15)
    assert unbroken.attrs["convention"].endswith("time is the sum of the learning rates of the steps")


def test_samples_differ_from_seed_to_seed_and_not_from_rate_to_rate():
    """From one start, with the unit vectors as inputs: the first step moves the weights of the samples that it saw."""
    flow = GradientFlow(lambda w, x: x @ w, jd.losses.square, jd.data.points(np.eye(12), np.ones(12)), initial=lambda key: jnp.zeros(12))
    descent = StochasticDescent(flow, 0.01, batch=4)
    ds = jd.sweep(descent, 6, {"learning_rate": [0.01, 0.02]}, t1=0.01, record=[0.0], width=4, devices=ONE, progress=False)
    seen = ds["params"].values != 0
    assert np.all(seen.sum(-1) == 4)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert len({row.tobytes() for row in seen[0]}) >= 5


def test_interrupted_resumed_and_extended_to_the_same_bits(unbroken, tmp_path, monkeypatch):
    out, write, written = tmp_path / "run.zarr", LaneStore.write, []

    def write_and_die(store, *block):
        write(store, *block)
        written.append(1)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(LaneStore, "write", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        run(9, out=out)
    monkeypatch.undo()
    assert len(written) == 2
    run(9, out=out)
    assert_same_bits(run(12, out=out), unbroken)


def test_a_store_refuses_another_optimiser(tmp_path):
    jd.sweep(DESCENT, 2, out=tmp_path / "run.zarr", **HOW)
    with pytest.raises(ValueError, match="optimiser"):
        jd.sweep(dataclasses.replace(DESCENT, optimiser=optax.sgd), 2, out=tmp_path / "run.zarr", **HOW)


def test_batches_on_the_grid_are_compiled_each():
    ds = jd.sweep(DESCENT, 2, {"batch": [1, 3], "flow.model.scale": [0.5, 1.0]}, **HOW)
    assert ds["params"].dims == ("batch", "scale", "seed", "param") and ds["batch"].values.tolist() == [1, 3]
    assert np.abs(ds["params"].values[0] - ds["params"].values[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"dt0": [0.1]}, "leave out dt0"),
        ({"t1": [1.0, np.inf]}, "give a finite t1"),
        ({"learning_rate": [0.1, -0.1]}, "must be positive"),
        ({"batch": [2, 7]}, "batch=7 is more than the 6 samples"),
    ],
)
def test_misuse(over, sentence):
    with pytest.raises(ValueError, match=sentence):
        jd.sweep(DESCENT, 2, over, **{name: value for name, value in HOW.items() if name not in over})
