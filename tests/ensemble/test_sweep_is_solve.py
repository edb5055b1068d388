"""Each lane of a sweep is the `solve` of its seed and settings, whatever the grid."""

import dataclasses

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from ensemble_flows import ONE, Decay, Net, assert_lane_is, decay, net_flow, solved

import jaxdyn as jd


def test_leaf_axes_of_a_network():
    """Init scale, the conserved quantity of a balanced start, and the targets: one compilation, three axes."""
    model = jd.models.TwoLayer(width=4, activation="relu^2", balanced=True)
    flow = jd.flows.GradientFlow(model, jd.losses.mean_square, jd.data.sinusoid(n=5))
    scales, deltas, ys = [0.3, 0.6], [0.0, 0.2], [np.array([1.0, -1, 1, -1, 1]), np.array([0.5, 0.5, 0, 0, -1.0])]
    over = {"model.init_scale": scales, "model.delta": deltas, "data.y": ys}
    watch = {"misfit": jd.measure.loss, "outputs": jd.measure.outputs}
    ds = jd.sweep(flow, 2, over, t1=5.0, record=6, observe=watch, width=16, devices=ONE, progress=False)
    assert ds["params"].dims == ("init_scale", "delta", "y", "seed", "param")
    assert ds["misfit"].dims == ("init_scale", "delta", "y", "seed", "time")
    assert ds["init_scale"].values.tolist() == scales and ds["delta"].values.tolist() == deltas and ds["y"].values.tolist() == [0, 1]
    assert ds.attrs["width"] == [16]
    for i, j, k, seed in [(0, 0, 0, 0), (1, 0, 1, 1), (0, 1, 1, 0), (1, 1, 0, 1)]:
        own = dataclasses.replace(
            flow,
            model=dataclasses.replace(model, init_scale=scales[i], delta=deltas[j]),
            data=jd.data.points(flow.data.x, ys[k], "sinusoid"),
        )
        sol = solved(own, seed, 5.0, record=6, observe=watch)
        assert_lane_is(ds.isel(init_scale=i, delta=j, y=k).sel(seed=seed), sol, watch)
    # and the balance is what was asked for, by a formula that knows nothing of the flow
    params = jd.final_params(ds, flow, 1, init_scale=0.6, delta=0.2, y=0)
    drift = 2 * params["c"] ** 2 - params["a"][:, 0] ** 2 - params["b"] ** 2
    np.testing.assert_allclose(drift, 0.2, atol=1e-3)


def test_axes_of_the_solve():
    flow = decay(0.5)
    over = {"rtol": [1e-3, 1e-6], "t1": [3, 10.0], "max_steps": [8, 1000], "dt0": [0.05]}
    ds = jd.sweep(flow, 2, over, record=5, observe={"loss": jd.measure.loss}, width=16, devices=ONE, progress=False)
    assert ds["t"].dims == ("rtol", "t1", "max_steps", "dt0", "seed", "time")
    for i, rtol in enumerate(over["rtol"]):
        for j, t1 in enumerate(over["t1"]):
            for k, most in enumerate(over["max_steps"]):
                sol = solved(flow, 1, t1, rtol=rtol, max_steps=most, dt0=0.05, record=5, observe={"loss": jd.measure.loss})
                # the size of a step follows the rounding of an error estimate, so where a lane runs out of steps is less sharp
                sharp = 1e-12 if sol.fate == jd.Outcome.t1_reached else 1e-6
                assert_lane_is(ds.isel(rtol=i, t1=j, max_steps=k, dt0=0, seed=1), sol, ["loss"], sharp, sharp)
    assert jd.outcome_counts(ds).keys() == {"t1_reached", "max_steps"}


def test_atol_follows_rtol_unless_it_is_named():
    flow, how = decay(2.0), {"t1": 9.0, "record": 2, "width": 8, "devices": ONE, "progress": False}
    loose = jd.sweep(flow, 1, {"rtol": [1e-3, 1e-5]}, **how)
    zipped = jd.sweep(flow, 1, {("rtol", "atol"): [(1e-3, 1e-4), (1e-5, 1e-9)]}, **how)
    for k, rtol in enumerate([1e-3, 1e-5]):
        assert_lane_is(loose.isel(rtol=k, seed=0), solved(flow, 0, 9.0, rtol=rtol, record=2))
        assert_lane_is(zipped.isel(rtol=k, seed=0), solved(flow, 0, 9.0, rtol=rtol, atol=[1e-4, 1e-9][k], record=2))
    assert zipped["atol"].dims == ("rtol",) and zipped["atol"].values.tolist() == [1e-4, 1e-9]


def test_shapes_that_differ_are_padded_and_not_cut():
    """Width, data and activation together need a compilation each, with NaN beyond the smaller shapes; a new penalty needs none."""
    data = [jd.data.sinusoid(n=4), jd.data.square_wave(n=6, periods=1.5)]
    watch = {"outputs": jd.measure.outputs}
    over = {("model.width", "data", "model.shape"): [(2, data[0], "tanh"), (3, data[1], "sin")], "weight_decay": [0.1, 1.0]}
    ds = jd.sweep(net_flow(), 2, over, t1=4.0, record=4, observe=watch, width=8, devices=ONE, progress=False)
    assert ds["params"].shape == (2, 2, 2, 6) and ds["outputs"].shape == (2, 2, 2, 4, 6)
    assert ds["width"].values.tolist() == [2, 3] and ds["data"].values.tolist() == ["sinusoid", "square_wave"]
    assert ds["data"].dims == ("width",) and ds["model.shape"].values.tolist() == ["tanh", "sin"]
    assert ds.attrs["width"] == [8, 8] and "param" not in ds.coords
    for i, width in enumerate([2, 3]):
        for j, decays in enumerate([0.1, 1.0]):
            own = jd.flows.GradientFlow(Net(width, shape=["tanh", "sin"][i]), jd.losses.square, data[i], weight_decay=decays)
            assert_lane_is(ds.isel(width=i, weight_decay=j, seed=1), solved(own, 1, 4.0, record=4, observe=watch), ["outputs"])
    assert np.isnan(ds["params"].values[0, :, :, 4:]).all() and np.isfinite(ds["params"].values[1]).all()
    assert np.isnan(ds["outputs"].values[0, ..., 4:]).all() and np.isfinite(ds["outputs"].values[1]).all()
    assert jd.final_params(ds, own, 1, width=3, weight_decay=1.0)["c"].shape == (3,)


def test_implicit_solvers_take_the_tolerance_of_the_grid():
    flow, how = decay(50.0), {"record": 2, "solver": dfx.Kvaerno3()}
    ds = jd.sweep(flow, 1, {"rtol": [1e-3, 1e-6]}, t1=2.0, width=8, devices=ONE, progress=False, **how)
    for rtol in (1e-3, 1e-6):
        assert_lane_is(ds.sel(rtol=rtol, seed=0), solved(flow, 0, 2.0, rtol=rtol, **how))


class Holder(eqx.Module):
    """dy/dt = -(rate + inner.rate) y; its field `seed` shifts the start."""

    rate: jnp.ndarray
    inner: Decay
    seed: jnp.ndarray

    def vector_field(self, t, y, args=None):
        return -(self.rate + self.inner.rate) * y

    def loss(self, y):
        return jnp.sum(y**2)

    def init(self, key):
        return self.seed + jr.uniform(key, (1,))


def test_names_that_clash():
    holder = Holder(jnp.asarray(1.0), decay(), jnp.asarray(0.0))
    over = {"rate": [1.0, 2.0], "inner.rate": [0.5], "seed": [0.0, 1.0, 2.0]}
    ds = jd.sweep(holder, 2, over, t1=1.0, record=2, devices=ONE, width=16, progress=False)
    assert ds["params"].dims == ("rate", "inner.rate", "flow.seed", "seed", "param")
    drawn = [float(jr.uniform(jr.fold_in(jr.key(0), seed), (1,))[0]) for seed in (0, 1)]
    expected = (np.asarray([0.0, 1.0, 2.0])[:, None] + drawn) * np.exp(-2.5)
    np.testing.assert_allclose(ds["params"].values[1, 0, :, :, 0], expected, rtol=1e-5)


def test_any_ids_and_any_key():
    flow, how = decay(), {"t1": 1.0, "record": 2, "devices": ONE, "width": 8, "progress": False}
    for seeds in ([7], np.array([2**32 - 1, 5])):
        ds = jd.sweep(flow, seeds, **how)
        assert ds["seed"].values.tolist() == list(seeds)
        assert_lane_is(ds.sel(seed=int(seeds[0])), solved(flow, int(seeds[0]), 1.0, record=2))
    other = jd.sweep(flow, [7], key=jr.key(3), **how)
    start = np.asarray(flow.init(jr.fold_in(jr.key(3), 7)))
    np.testing.assert_allclose(other["params"][0], start * np.exp([-1.0, -0.1]), rtol=1e-5)
