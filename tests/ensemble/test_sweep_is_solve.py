"""Each lane of a sweep is the `solve` of its seed and settings, whatever the grid."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest
from ensemble_flows import HOW, ONE, Net, assert_lane_is, decay, net_flow, solved

import jaxdyn as jd


@pytest.mark.ci_slow
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


@pytest.mark.ci_slow
def test_axes_of_the_solve():
    """Atol follows rtol as rtol / 100, unless it is named."""
    flow, watch, ends, most = decay(0.5), {"loss": jd.measure.loss}, [3, 10.0], [8, 1000]
    others = {"t1": ends, "max_steps": most, "dt0": [0.05]}
    for tolerances in ({"rtol": [1e-3, 1e-6]}, {("rtol", "atol"): [(1e-3, 1e-6), (1e-6, 1e-9)]}):
        ds = jd.sweep(flow, 2, tolerances | others, record=5, observe=watch, width=16, devices=ONE, progress=False)
        assert ds["t"].dims == ("rtol", "t1", "max_steps", "dt0", "seed", "time")
        for i, j, k in np.ndindex(2, 2, 2):
            named = {"rtol": [1e-3, 1e-6][i]} | ({"atol": [1e-6, 1e-9][i]} if "atol" in ds.coords else {})
            sol = solved(flow, 1, ends[j], max_steps=most[k], dt0=0.05, record=5, observe=watch, **named)
            # the size of a step follows the rounding of an error estimate, so where a lane runs out of steps is less sharp
            sharp = 1e-12 if sol.fate == jd.Outcome.t1_reached else 1e-6
            assert_lane_is(ds.isel(rtol=i, t1=j, max_steps=k, dt0=0, seed=1), sol, ["loss"], sharp, sharp)
        assert jd.outcome_counts(ds).keys() == {"t1_reached", "max_steps"}
    assert ds["atol"].dims == ("rtol",) and ds["atol"].values.tolist() == [1e-6, 1e-9]


@pytest.mark.ci_slow
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


def test_any_ids_and_any_key():
    for seeds in ([7], np.array([2**32 - 1, 5])):
        ds = jd.sweep(net_flow(), seeds, {"model.scale": [1.0, 2.0]}, **HOW)
        assert ds["seed"].values.tolist() == list(seeds)
        assert_lane_is(ds.sel(seed=int(seeds[0]), scale=1.0), solved(net_flow(), int(seeds[0]), 4.0, record=5))
    other = jd.sweep(net_flow(), [7], {"model.scale": [1.0, 2.0]}, key=jr.key(3), **HOW)
    start = net_flow().init(jr.fold_in(jr.key(3), 7))
    np.testing.assert_allclose(other["loss_start"].sel(scale=1.0, seed=7), net_flow().loss(start), rtol=1e-12)
