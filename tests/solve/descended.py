"""A network in numpy and in JAX, that several files of tests descend."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxdyn as jd
from jaxdyn.flows import GradientFlow

RNG = np.random.default_rng(2)
X, LABELS = RNG.normal(size=(8, 2)), RNG.normal(size=8)
DATA = jd.data.points(X, LABELS)
START = {"a": jnp.asarray(RNG.normal(size=(3, 2))), "c": jnp.asarray(RNG.normal(size=3))}
KEY = jr.key(5)


def tanh_network(params, x):
    return jnp.tanh(x @ params["a"].T) @ params["c"]


FLOW = GradientFlow(tanh_network, jd.losses.mean_square, DATA)


def loss_of(a, c):
    return 0.5 * np.mean((np.tanh(X @ a.T) @ c - LABELS) ** 2)


def euler(steps, rate):
    """Gradient descent in numpy: all points."""
    a, c = np.asarray(START["a"]), np.asarray(START["c"])
    found = [(a, c)]
    for _ in range(steps):
        hidden = np.tanh(X @ a.T)
        residual = (hidden @ c - LABELS) / len(X)
        pull = ((residual[:, None] * c[None, :]) * (1 - hidden**2)).T @ X
        a, c = a - rate * pull, c - rate * hidden.T @ residual
        found.append((a, c))
    return found
