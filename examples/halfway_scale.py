"""Where the kernel regime ends: Newton's method for the init scale at which training changes the tangent kernel by half.

The kernel's change at the end of training, |K - K_0| / |K_0|, falls from large to small as the init scale grows. Its derivative goes
through the whole solve, in forward mode, so a root of it is a matter of a few solves.

Usage: python examples/halfway_scale.py [SEEDS]
"""

import sys

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import jaxdyn as jd  # noqa: E402

seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
data = jd.data.sinusoid(n=6)


def log_change(log_scale, key):
    """The logarithm of the kernel's relative change by the end of training, over that of one half."""
    model = jd.models.TwoLayer(width=20, activation="tanh", init_scale=jnp.exp(log_scale))
    flow = jd.flows.GradientFlow(model, jd.losses.square, data)
    sol = jd.solve(flow, model.init(key), t1=100.0, rtol=1e-8, record=2, observe={"change": jd.measure.ntk_change})
    return jnp.log(2 * sol.observed["change"][-1])


@jax.jit
def newton(log_scale, key):
    """The value and the next iterate; steps of more than a factor e are cut."""
    value, slope = jax.jvp(lambda s: log_change(s, key), (log_scale,), (jnp.ones(()),))
    return value, log_scale - jnp.clip(value / slope, -1.0, 1.0)


for seed in range(seeds):
    key, log_scale, value = jax.random.key(seed), jnp.zeros(()), jnp.inf
    print(f"seed {seed}")
    while abs(value) > 1e-10:
        value, following = newton(log_scale, key)
        print(f"  init scale {float(jnp.exp(log_scale)):.10f}: kernel change {0.5 * float(jnp.exp(value)):.10f}")
        log_scale = following
