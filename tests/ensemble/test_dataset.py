"""Datasets: statistics over seeds, parameters back, outcomes."""

import numpy as np
import pytest
import xarray as xr
from ensemble_flows import HOW, Net, net_flow

import jaxdyn as jd


def normals(seeds=400):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2, seeds, 3))
    variables = {
        "x": (("scale", "seed", "time"), values),
        "n": (("seed",), np.arange(seeds)),
        "params": (("seed", "param"), np.ones((seeds, 2))),
    }
    return xr.Dataset(variables, coords={"scale": [0.1, 1.0], "seed": np.arange(seeds), "time": [0.0, 1.0, 2.0]}, attrs={"settings": "{}"})


def test_quantiles_are_those_of_numpy():
    ds = normals()
    found = jd.summarise(ds, quantiles=(0.25, 0.5, 0.9), bootstrap=2)
    assert found["x"].dims == ("quantile", "scale", "time") and set(found.data_vars) == {"x", "x_stderr"}
    np.testing.assert_allclose(found["x"], np.quantile(ds["x"].values, (0.25, 0.5, 0.9), axis=1), rtol=1e-14)
    assert found["scale"].values.tolist() == [0.1, 1.0] and found.attrs == ds.attrs


def test_the_error_of_a_median_of_normals():
    """It is sqrt(pi / 2 / n) for large n (Cramer 1946, section 28.5)."""
    errors = jd.summarise(normals())["x_stderr"].values
    assert errors.shape == (2, 3)
    np.testing.assert_allclose(errors, np.sqrt(np.pi / 2 / 400), rtol=0.3)


def test_lanes_without_a_value_are_left_out():
    ds = normals(40)
    ds["x"].values[0, ::2, 0] = np.nan
    ds["x"].values[1, :, 2] = np.nan
    found = jd.summarise(ds, bootstrap=50)
    np.testing.assert_allclose(found["x"].values[1, 0, 0], np.median(ds["x"].values[0, 1::2, 0]))
    assert np.isnan(found["x"].values[:, 1, 2]).all() and np.isnan(found["x_stderr"].values[1, 2])
    assert np.isfinite(found["x_stderr"].values[0]).all()
    draws = np.random.default_rng(0).integers(0, 40, (50, 40))
    for place in [place for place in np.ndindex(2, 3) if place != (1, 2)]:
        medians = [np.nanmedian(ds["x"].values[place[0], draw, place[1]]) for draw in draws]
        np.testing.assert_allclose(found["x_stderr"].values[place], np.nanstd(medians, ddof=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"quantiles": (1.5,)}, r"quantiles=\(1.5,\) must be a list of numbers in \[0, 1\], at least one"),
        ({"quantiles": ()}, r"quantiles=\(\) must be a list of numbers in \[0, 1\], at least one"),
        ({"bootstrap": 1}, "bootstrap must be an integer from 2 to 1000000; 1 was given"),
        ({"bootstrap": 10**12}, "bootstrap must be an integer from 2 to 1000000"),
    ],
)
def test_statistics_that_make_no_sense(wrong, words):
    with pytest.raises(ValueError, match=words):
        jd.summarise(normals(4), **wrong)


def test_parameters_come_back_as_the_flow_wants_them():
    flow = net_flow()
    ds = jd.sweep(flow, 3, {"model.scale": [0.5, 2.0]}, **HOW)
    for scale in (0.5, 2.0):
        found = jd.final_params(ds, flow, 2, scale=scale)
        assert {name: leaf.shape for name, leaf in found.items()} == {"a": (4,), "c": (4,)}
        np.testing.assert_allclose(flow.loss(found), ds["loss_end"].sel(scale=scale, seed=2), rtol=1e-12)
    with pytest.raises(ValueError, match="by scale, not by nothing"):
        jd.final_params(ds, flow, 2)
    with pytest.raises(ValueError, match="no lane with seed=9"):
        jd.final_params(ds, flow, 9, scale=0.5)
    with pytest.raises(ValueError, match="no lane with seed=2"):
        jd.final_params(ds, flow, 2, scale=0.7)
    with pytest.raises(ValueError, match="one value of the grid"):
        jd.final_params(ds, flow, 2, scale=[0.5, 2.0])
    with pytest.raises(ValueError, match="cell's static settings"):
        jd.final_params(ds, net_flow(3), 2, scale=0.5)
    assert jd.outcome_counts(ds) == {"t1_reached": 6}


def test_a_dataset_can_be_written_and_read(tmp_path):
    ds = jd.sweep(net_flow(), 3, {"model.scale": [0.5, 2.0]}, **HOW)
    ds.to_zarr(tmp_path / "copy.zarr")
    again = xr.open_zarr(tmp_path / "copy.zarr").load()
    assert again.equals(ds) and again.attrs["convention"] == ds.attrs["convention"]


def test_parameters_of_another_network_or_flow_are_refused():
    """Equally many numbers are not enough: names, shapes and the flow's settings count, but for what the grid varies."""
    flow = net_flow()
    ds = jd.sweep(flow, 3, {"model.scale": [0.5, 2.0]}, **HOW)
    place = {"seed": 2, "scale": 0.5}
    others = {
        "flow.model": jd.flows.GradientFlow(
            jd.models.TwoLayer(width=4, activation="tanh", bias=False), jd.losses.square, jd.data.sinusoid(n=5)
        ),
        "flow.model.shape = tanh, not sin": jd.flows.GradientFlow(Net(4, shape="sin"), jd.losses.square, jd.data.sinusoid(n=5)),
        "flow.data": jd.flows.GradientFlow(Net(4), jd.losses.square, jd.data.sinusoid(n=6)),
        "flow.loss_function": jd.flows.GradientFlow(Net(4), jd.losses.mean_square, jd.data.sinusoid(n=5)),
    }
    for named, other in others.items():
        with pytest.raises(ValueError, match="another network" if named == "flow.model" else "was made with") as error:
            jd.final_params(ds, other, **place)
        assert named == "flow.model" or named in str(error.value)
    expected = jd.final_params(ds, flow, **place)
    varied = jd.flows.GradientFlow(Net(4, scale=7.0), jd.losses.square, jd.data.sinusoid(n=5))
    np.testing.assert_array_equal(jd.final_params(ds, varied, **place)["a"], expected["a"])
    with pytest.raises(ValueError, match="lost its attributes"):
        jd.final_params(ds.drop_attrs(), flow, **place)
    bare = ds.drop_attrs().assign_attrs(param_layout=ds.attrs["param_layout"])
    np.testing.assert_array_equal(jd.final_params(bare, others["flow.data"], **place)["a"], expected["a"])
    with pytest.raises(ValueError, match="another network"):
        jd.final_params(bare, others["flow.model"], **place)
