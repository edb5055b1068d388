"""Derivatives through a whole solve, forward and in reverse, against central finite differences."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd

KERNEL = jd.KernelExponential()
TANH = jd.models.TwoLayer(6, activation="tanh")
RELU = jd.models.TwoLayer(6, balanced=True, init_scale=1.5, delta=0.5)
X = jnp.linspace(-1.0, 1.0, 5)[:, None]
LABELS = {
    "logistic": jnp.asarray([1.0, -1.0, -1.0, 1.0, 1.0]),
    "cross_entropy": jnp.asarray([0, 2, 1, 0, 1]),
    "hinge": jnp.asarray([1.0, -1.0, -1.0, 1.0, 1.0]),
}
CONFIGURATIONS = {
    "tanh, square, Tsit5": (TANH, "square", None, 1),
    "tanh, square, kernel": (TANH, "square", KERNEL, 1),
    "softplus, mean square, Dopri8": (jd.models.TwoLayer(6, activation="softplus"), "mean_square", dfx.Dopri8(), 1),
    "erf, logistic, kernel": (jd.models.TwoLayer(6, activation="erf"), "logistic", KERNEL, 1),
    "deep tanh, square, Kvaerno5": (jd.models.MLP((4, 3), activation="tanh"), "square", dfx.Kvaerno5(), 1),
    "deep tanh, cross entropy, kernel": (jd.models.MLP((4,), outputs=3, activation="tanh"), "cross_entropy", KERNEL, 1),
    "tanh, square, Tsit5, vmapped": (TANH, "square", None, 3),
    "relu, square, Tsit5": (RELU, "square", None, 1),
    "relu, square, kernel": (RELU, "square", KERNEL, 1),
    "relu, square, Tsit5, vmapped": (RELU, "square", None, 2),
}
POINTS = 5
STEP, KINKED_STEP = 1e-3, 2.5e-4
"""Of the differences; where there are kinks their error of fourth order is larger."""


def make(name):
    """A number that a solve leads to, with its kinks, as a function of all it depends on in one flat vector; and such a vector."""
    model, loss, solver, lanes = CONFIGURATIONS[name]
    knobs = [knob for knob in ("init_scale", "output_multiplier", "delta") if hasattr(model, knob)]
    like = {
        "knobs": [jnp.asarray(getattr(model, knob)) for knob in knobs],
        "x": X,
        "y": jnp.zeros(0) if loss in LABELS else jnp.sin(3 * X[:, 0]),
        "t1": jnp.asarray(2.0),
    }
    flat, unravel = ravel_pytree(like)

    def one(at, shift, key, checkpoints):
        own = eqx.tree_at(lambda m: [getattr(m, knob) for knob in knobs], model, at["knobs"])
        flow = jd.flows.GradientFlow(own, jd.losses.loss(loss), jd.data.points(at["x"], LABELS.get(loss, at["y"])))
        start, back = ravel_pytree(own.init(key))
        how = {"t1": at["t1"], "rtol": 1e-10, "record": 3, "solver": solver, "checkpoints": checkpoints}
        sol = jd.solve(flow, back(start + shift * jnp.cos(jnp.arange(start.size))), **how)
        records = ravel_pytree(sol.states)[0]
        ends = ravel_pytree(sol.params)[0]
        return jnp.sum(jnp.sin(ends)) + 0.1 * records @ records + sol.certificate.loss_end, sol.certificate.num_kinks

    def number(v, key, checkpoints=None):
        if lanes == 1:
            return one(unravel(v[:-1]), v[-1], key, checkpoints)
        found, kinks = jax.vmap(lambda key: one(unravel(v[:-1]), v[-1], key, checkpoints))(jax.random.split(key, lanes))
        return jnp.sum(found), jnp.sum(kinks)

    return jnp.append(flat, 0.0), number


IN_CI = ("tanh, square, Tsit5",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.ci_slow if name in IN_CI else pytest.mark.slow) for name in CONFIGURATIONS]
)
def test_derivatives_of_a_solve(name):
    """By init scale, output factor, delta, inputs, targets, end time and start together, at five random points each."""
    at, number = make(name)
    value = jax.jit(number)
    forward = jax.jit(lambda v, key, along: jax.jvp(lambda v: number(v, key)[0], (v,), (along,))[1])
    reverse = jax.jit(jax.grad(lambda v, key: number(v, key, checkpoints=8)[0]))
    step = KINKED_STEP if "relu" in name else STEP
    compared, seen = 0, 0
    for seed in range(3 * POINTS):
        rng = np.random.default_rng(seed)
        key, v = jax.random.key(seed), at + 0.1 * rng.normal(size=at.size)
        along = rng.normal(size=at.size)
        near = {k: value(v + k * step * along, key) for k in (-2, -1, 0, 1, 2)}
        if len({int(kinks) for _, kinks in near.values()}) > 1:
            continue  # a kink comes or goes within the difference
        f = {k: float(found) for k, (found, _) in near.items()}
        expected = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * step)
        found = forward(v, key, along)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(reverse(v, key) @ along, found, rtol=1e-9)
        compared, seen = compared + 1, seen + int(near[0][1])
        if compared == POINTS:
            break
    assert compared == POINTS and (seen > 0) == ("relu" in name)


@pytest.mark.slow
def test_memory_of_the_reverse_mode_does_not_grow_with_the_steps():
    """One program for 20 steps and for 1700, whose memory is that of its checkpoints; steps beyond them are computed again."""
    at, number = make("tanh, square, Tsit5")
    sizes = {}
    for checkpoints in (4, 32):
        program = (
            jax.jit(jax.grad(lambda v, key, checkpoints=checkpoints: number(v, key, checkpoints)[0])).lower(at, jax.random.key(0)).compile()
        )
        sizes[checkpoints] = program.memory_analysis().temp_size_in_bytes
    # parameters, seven stages, their ends and what else a lane is: some dozens of vectors of 18 numbers and as many single ones
    assert (sizes[32] - sizes[4]) / 28 < 8 * 40 * 18
    long = at.at[-2].set(1000.0)
    flow = jd.flows.GradientFlow(TANH, jd.losses.square, jd.data.points(X, jnp.sin(3 * X[:, 0])))
    sol = jd.solve(flow, flow.init(jax.random.key(0)), t1=1000.0, solver=dfx.Tsit5(), rtol=1e-10)
    assert sol.certificate.num_accepted_steps > 1500
    found = program(long, jax.random.key(0))
    along = jnp.cos(jnp.arange(at.size))
    expected = jax.jvp(lambda v: number(v, jax.random.key(0))[0], (long,), (along,))[1]
    np.testing.assert_allclose(found @ along, expected, rtol=1e-8)
