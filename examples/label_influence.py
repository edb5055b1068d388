"""What each label does to the function that a network ends up with: d f(x) / d y_j through the whole of training, drawn.

In the kernel regime it is K(x, X) K^{-1}, the same whatever the labels are; in the adaptive regime it is not, as the labels shape the
kernel.

Usage: python examples/label_influence.py [FILE]
"""

import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

jax.config.update("jax_enable_x64", True)

import jaxdyn as jd  # noqa: E402

file = sys.argv[1] if len(sys.argv) > 1 else "label_influence.png"
x = jnp.linspace(-1.0, 1.0, 5)
labels = jnp.asarray([0.3, -0.6, 0.5, 0.8, -0.4])
grid = jnp.linspace(-1.2, 1.2, 121)[:, None]
T1 = 1e4


def flow_of(multiplier, y):
    """Training towards some labels: from the function 0, at one pace for all output multipliers."""
    model = jd.models.Centred(jd.models.TwoLayer(width=40, activation="tanh"), output_multiplier=multiplier)
    return jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(x, y), time_scales=multiplier**-2)


@jax.jit
def influences(multiplier):
    """Both Jacobians: of the network, through its solve, and of its linearisation at the start."""
    start = flow_of(multiplier, labels).init(jax.random.key(0))

    def network(y):
        flow = flow_of(multiplier, y)
        sol = jd.solve(flow, start, T1, rtol=1e-7, record=2, solver=jd.KernelExponential())
        return jd.measure.function_on(grid)(flow, sol.t, sol.params)

    def linearised(y):
        return jd.flows.LinearisedSolution(flow_of(multiplier, y), start).outputs_at(grid, T1)

    # five labels go in and many values come out: forward mode
    return jax.jacfwd(network)(labels), jax.jacfwd(linearised)(labels)


figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.8), sharey=True, layout="constrained")
for panel, multiplier, regime in zip(panels, (100.0, 0.3), ("kernel", "adaptive"), strict=True):
    found, kernel = influences(jnp.asarray(multiplier))
    differ = float(jnp.linalg.norm(found - kernel) / jnp.linalg.norm(kernel))
    print(f"output multiplier {multiplier:3g}: the influence differs from the kernel's by {differ:.4f}")
    for j in range(labels.size):
        panel.plot(grid[:, 0], found[:, j], color=f"C{j}", label=f"$y_{j + 1}$")
        panel.plot(grid[:, 0], kernel[:, j], color=f"C{j}", linestyle="--", linewidth=1)
        panel.plot(x[j], 1.0, "o", color=f"C{j}", markersize=5)
    panel.set(title=f"{regime} regime: output multiplier {multiplier:g}", xlabel="x")
panels[0].set_ylabel(r"$\partial f(x) / \partial y_j$ at the end of training")
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", title="solid: network\ndashed: kernel", frameon=False)
figure.savefig(file, dpi=150)
print(f"drawn: {file}")
