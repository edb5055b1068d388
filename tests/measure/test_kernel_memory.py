"""The tangent kernel of a network of a million parameters keeps to its budget."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp, jax.random as jr
n, memory, dtype = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
jax.config.update("jax_enable_x64", dtype == "float64")
import jaxdyn as jd
data = jd.data.points(jr.normal(jr.key(0), (n, 10)), jnp.zeros(n))
flow = jd.flows.GradientFlow(jd.models.MLP((1000, 1000), dim=10, activation="tanh"), jd.losses.square, data)
params = jax.block_until_ready(flow.init(jr.key(1)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kernel = jax.block_until_ready(jd.measure.ntk(flow, jnp.zeros(()), params, memory=memory))
assert kernel.dtype == dtype and bool(jnp.all(jnp.isfinite(kernel))) and bool(jnp.all(jnp.diag(kernel) > 0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak(n, memory, dtype):
    """What the kernel of n samples takes beyond the network and the imports, in bytes."""
    command = [sys.executable, "-c", PROGRAM, str(n), str(memory), dtype]
    return 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_budget_is_kept(dtype):
    """64 samples have a Jacobian of 256 or 512 MiB; compiling and multiplying takes some tens of MiB."""
    assert peak(64, 2**27, dtype) < 2**27 + 80 * 2**20


@pytest.mark.slow
def test_two_thousand_samples_in_two_gibibytes():
    """The Jacobian has 7.5 GiB; takes minutes."""
    assert peak(2000, 3 * 2**29, "float32") < 2**31
