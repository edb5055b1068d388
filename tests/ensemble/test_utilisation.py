"""The batch never waits for its slowest lane, and a sweep needs little more memory than its results."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from ensemble_flows import ONE, decay

import jaxdyn as jd

pytestmark = pytest.mark.ci_slow

SWEEP = sys.modules["jaxdyn.ensemble.sweep"]
RATES = [float(rate) for rate in np.logspace(0, 3, 8)]


def utilisation(seeds, **how):
    settings = {"t1": 20.0, "record": 2, "width": 4, "devices": ONE, "progress": False} | how
    ds = jd.sweep(decay(), seeds, {"rate": RATES}, **settings)
    steps = (ds["num_accepted_steps"] + ds["num_rejected_steps"]).values
    assert steps.max() > 100 * steps.min(), "two decades of lengths"
    assert steps.size >= 64 * settings["width"] * len(settings["devices"])
    return steps.sum() / ds.attrs["lane_steps_computed"]


def test_nine_tenths_of_the_steps_are_of_use():
    """With 32 slots a refill waits until two of them are idle."""
    assert utilisation(256, width=32) >= 0.95


@pytest.mark.slow
def test_also_on_two_devices():
    assert utilisation(64, devices=jax.devices()) >= 0.9


def test_also_in_the_worst_order(monkeypatch):
    """Even with the longest lanes last the ratio only falls by what the tail costs."""
    order = SWEEP.order_by_cost
    monkeypatch.setattr(SWEEP, "order_by_cost", lambda *lanes: order(*lanes)[::-1])
    assert utilisation(256, width=32) >= 0.85


PROGRAM = """
import sys, resource
import jax
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[1])
from ensemble_flows import net_flow, ONE
import jaxdyn as jd
def all_weights(flow, t, params):
    return jax.flatten_util.ravel_pytree(params)[0]
ds = jd.sweep(net_flow(8), int(sys.argv[2]), t1=1.0, record=50, observe={"weights": all_weights}, width=8, devices=ONE, progress=False,
              out=None if sys.argv[3] == "memory" else sys.argv[3])
print(ds.nbytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_memory_follows_the_results(where, tmp_path):
    """From 256 to 4096 seeds the peak grows by at most twice the growth of the results, and three times where the store is in memory."""
    here = __file__.rpartition("/")[0]
    said = []
    for seeds in (256, 4096):
        out = "memory" if where == "memory" else str(tmp_path / f"{seeds}.zarr")
        command = [sys.executable, "-c", PROGRAM, here, str(seeds), out]
        said.append([int(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()])
    (few, peak_few), (many, peak_many) = said
    print(f"{where}: results {few / 2**20:.0f} -> {many / 2**20:.0f} MiB, peak {peak_few / 2**20:.0f} -> {peak_many / 2**20:.0f} MiB")
    assert many - few > 20 * 2**20
    assert peak_many - peak_few <= (3 if where == "memory" else 2) * (many - few) + 60 * 2**20
