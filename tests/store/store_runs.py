"""A sweep that the store's tests run here and, to be killed, in processes of their own: `python store_runs.py OUT SEEDS`."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxdyn as jd

RATES = [1.0, 30.0, 1000.0]


class Stiff(eqx.Module):
    """dy/dt = -rate (1, 1/10) y."""

    rate: jax.Array

    def vector_field(self, t, y, args=None):
        return -self.rate * jnp.array([1.0, 0.1]) * y

    def loss(self, y):
        return 0.5 * jnp.sum(self.rate * y**2)

    def init(self, key):
        return 1.0 + jr.uniform(key, (2,))


def first(flow, t, params):
    return params[0]


def never(flow, t, params):
    """An observable without a value: all of a chunk is NaN, of either sign."""
    return jnp.stack([jnp.nan * params[0], -jnp.nan * params[1]])


def run(out, seeds, rates=RATES, **how):
    settings = {"t1": 20.0, "record": 3, "observe": {"first": first, "never": never}, "width": 4, "devices": jax.devices()[:1]}
    return jd.sweep(Stiff(jnp.asarray(1.0)), seeds, {"rate": rates}, out=out, **(settings | {"progress": False} | how))


def assert_same_bits(a, b):
    assert set(a.variables) == set(b.variables) and list(a.data_vars) == list(b.data_vars)
    for name in a.variables:
        one, two = np.ascontiguousarray(a[name]), np.ascontiguousarray(b[name])
        assert one.dtype == two.dtype and one.shape == two.shape, name
        if one.dtype.kind in "fiu":
            assert one.tobytes() == two.tobytes(), name


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 2)
    run(None, 3)  # compile first, so that what is killed is the run
    print("begun", flush=True)
    run(sys.argv[1], int(sys.argv[2]))
    print("done", flush=True)
