"""A network of equinox, a loss, an observable and a stop rule of one's own.

Usage: python examples/own_network.py [SEEDS]
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import jaxdyn as jd  # noqa: E402

seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 16


def make(key):
    """A network with residual connections, which jaxdyn knows nothing of."""
    first, second, third = jax.random.split(key, 3)
    return {
        "lift": eqx.nn.Linear(2, 12, key=first),
        "block": eqx.nn.MLP(12, 12, 12, depth=1, activation=jnp.tanh, key=second),
        "read": eqx.nn.Linear(12, "scalar", key=third),
    }


_, rest = eqx.partition(make(jax.random.key(0)), eqx.is_inexact_array)


def apply(params, x):
    """One number a sample."""
    network = eqx.combine(params, rest)

    def one(row):
        hidden = network["lift"](row)
        return network["read"](hidden + network["block"](hidden))

    return jax.vmap(one)(x)


def initial(key):
    """The arrays of a fresh network."""
    return eqx.filter(make(key), eqx.is_inexact_array)


def smooth_hinge(f, y):
    """A loss of the margins y f, summed over samples."""
    return jnp.sum(jax.nn.softplus(5.0 * (1.0 - y * f))) / 5.0


def smallest_margin(flow, t, params):
    """The smallest y f over the samples."""
    return jnp.min(flow.data.y * flow.outputs(params))


def separated(flow, t, params):
    """Stop once every sample has a margin of 1."""
    return smallest_margin(flow, t, params) >= 1.0


data = jd.data.clusters(n=40, dim=2, separation=0.3, key=jax.random.key(5))
flow = jd.flows.GradientFlow(apply, smooth_hinge, data, initial=initial)
ds = jd.sweep(flow, seeds, t1=100.0, stop=separated, observe={"margin": smallest_margin}, progress=False)
print(f"outcomes: {jd.outcome_counts(ds)}; convention of time: {ds.attrs['convention']}")
print(f"median time until every margin is 1: {float(ds['t_end'].median()):.3g}")
print(f"smallest margin at the end: {float(ds['margin_end'].min()):.3g}")
