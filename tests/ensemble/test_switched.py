"""Lanes of a sweep that are too stiff for Tsit5 begin anew with KernelExponential, and only they."""

import diffrax as dfx
import jax.random as jr
import numpy as np
import pytest
from ensemble_flows import ONE, ROOT

import jaxdyn as jd
from jaxdyn.store import LaneStore

pytestmark = [pytest.mark.ci_slow, pytest.mark.usefixtures("optimised")]

FLOW = jd.flows.GradientFlow(jd.models.TwoLayer(8, activation="tanh", init_scale=2.0), jd.losses.square, jd.data.sinusoid(5))
HOW = {"record": 5, "rtol": 1e-6, "observe": {"loss": jd.measure.loss}, "width": 4, "devices": ONE, "progress": False}
OVER = {"t1": [0.3, 1e5]}


@pytest.fixture(scope="module")
def whole():
    return jd.sweep(FLOW, 6, OVER, **HOW)


def test_each_lane_is_that_of_its_solver(whole):
    assert whole["switched"].dims == ("t1", "seed") and whole["switched"].dtype == bool
    np.testing.assert_array_equal(whole["switched"], [[False] * 6, [True] * 6])
    assert set(jd.outcome_counts(whole)) == {"t1_reached"}
    assert whole.attrs["method"].startswith("Tsit5,") and "where switched: KernelExponential" in whole.attrs["method"]
    for end, solver in zip(OVER["t1"], (dfx.Tsit5(), jd.KernelExponential()), strict=True):
        named = jd.sweep(FLOW, 6, {"t1": [end]}, solver=solver, **HOW)
        assert not named["switched"].any()
        for name in ("params", "loss", "loss_end", "num_accepted_steps"):
            np.testing.assert_array_equal(whole[name].sel(t1=end), named[name].sel(t1=end), err_msg=name)
    chosen = jd.solve(FLOW, FLOW.init(jr.fold_in(ROOT, 3)), 1e5, rtol=1e-6)
    assert chosen.method.startswith("KernelExponential,")
    np.testing.assert_allclose(whole["params"].sel(t1=1e5, seed=3), chosen.state.y, rtol=1e-9)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_run_that_is_stopped_between_the_solvers_goes_on(tmp_path, whole, monkeypatch, blocks):
    """Nothing of what was done is done again."""
    out, write, done = tmp_path / "run.zarr", LaneStore.write, []

    def stops(store, block, rows):
        switched = np.any(rows["switched"])
        if switched and sum(done) == blocks:
            raise KeyboardInterrupt
        write(store, block, rows)
        done.append(bool(switched))

    monkeypatch.setattr(LaneStore, "write", stops)
    with pytest.raises(KeyboardInterrupt):
        jd.sweep(FLOW, 18, OVER, out=out, **HOW)
    done_before = list(done)
    assert sum(done_before) == blocks
    monkeypatch.setattr(LaneStore, "write", lambda *arguments: (write(*arguments), done.append(True))[0])
    ds = jd.sweep(FLOW, 18, OVER, out=out, **HOW)
    np.testing.assert_array_equal(ds["params"].sel(seed=range(6)), whole["params"])
    np.testing.assert_array_equal(ds["switched"], np.broadcast_to([[False], [True]], (2, 18)))
    stiff_blocks = len(done) - len(done_before) + blocks
    assert stiff_blocks <= len(done_before), "blocks of Tsit5 were done again"
    count = len(done)
    jd.sweep(FLOW, 18, OVER, out=out, **HOW)
    assert len(done) == count


@pytest.mark.slow
def test_limits_begin_with_the_kernel_solver():
    ds = jd.sweep(FLOW, 2, t1=np.inf, **HOW)
    assert ds.attrs["method"].startswith("KernelExponential,") and not ds["switched"].any()
    assert set(jd.outcome_counts(ds)) == {"t1_reached"}
