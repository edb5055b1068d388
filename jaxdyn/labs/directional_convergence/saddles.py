"""Two-homogeneous networks of squared ReLU neurons: beside a saddle, and from one saddle to the next."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from ... import data, flows, losses, measure, models
from ...solve import StopWhen, polish
from .networks import samples_in_plane
from .settings import Settings
from .starts import BlockGrown, SmallStart, log_norm

SMALL = 8
"""Neurons of the small block, with signs in turn."""
RECORDS = 601


def saddle_of(s: Settings) -> tuple[np.ndarray, np.ndarray]:
    """The best that one neuron of output weight 1 can do, at rest, and the targets that are left there.

    Args:
        s: the settings.

    Returns:
        Its inner weights, and the residual targets y - f.
    """
    samples = samples_in_plane(s)
    model = models.TwoLayer(1, 2, False, "relu^2", "one", "a", committee=True)
    flow = flows.GradientFlow(model, losses.square, samples)
    starts = jax.vmap(lambda key: flow.init(key) | {"c": jnp.ones(1)})(jr.split(jr.key(2), 16))
    found = jax.vmap(lambda y: polish(flow, y, tolerance=1e-13, max_steps=200))(starts)
    best = int(np.argmin(np.where(np.asarray(found.converged), np.asarray(found.loss), np.inf)))
    a = np.asarray(found.params["a"])[best]
    left = np.asarray(samples.y - model.apply({"a": jnp.asarray(a), "c": jnp.ones(1)}, samples.x))
    return a, left


def beside_saddle(s: Settings, swept: Any) -> xr.Dataset:
    """Small blocks beside a saddle.

    Args:
        s: the settings.
        swept: runs a sweep.

    Returns:
        Over sizes and seeds: the time until the block's norm is the square root of delta, how it is aligned with the correlation that
        the residual makes, and that function's values.
    """
    large, left = saddle_of(s)
    samples = samples_in_plane(s)
    signs = np.concatenate([np.ones(1), np.where(np.arange(SMALL) % 2 == 0, 1.0, -1.0)])
    flow = SmallStart(samples, large, signs)
    over = {"log_size": list(np.log(s.saddle_sizes))}
    ds = swept("saddle", flow, s.seeds, over, t1=2e3, max_steps=10000, stop=StopWhen(BlockGrown()))
    target = SmallStart(data.points(samples.x, jnp.asarray(left)), large, signs)
    return _aligned(flow, target, ds)


def _aligned(flow: SmallStart, target: SmallStart, ds: xr.Dataset) -> xr.Dataset:
    unravel = ravel_pytree(flow.init(jr.key(0)))[1]
    model = models.TwoLayer(SMALL, 2, False, "relu^2", "one", "a", committee=True)
    beside = flows.GradientFlow(model, losses.square, target.flow.data)

    def one(flat: Any) -> dict[str, Any]:
        y = unravel(flat)
        block = flow.small(y)
        params = {"a": block / jnp.exp(log_norm(block)), "c": y["c"][-SMALL:]}
        zero = jnp.zeros(())
        return {
            "norm": log_norm(block),
            "cosine": measure.correlation_cosine(beside, zero, params),
            "N": measure.correlation(beside, zero, params),
            "moved": jnp.linalg.norm(y["a"][: len(flow.large)] - flow.large),
            "a": params["a"],
        }

    found = jax.jit(jax.vmap(jax.vmap(one)))(jnp.asarray(ds["params"].values))
    axes = ("neuron", "input")
    parts = {name: (("log_size", "seed", *axes[: np.ndim(part) - 2]), np.asarray(part)) for name, part in found.items()}
    return ds[["t_end", "outcome"]].assign(parts)


def orthonormal(s: Settings, swept: Any) -> xr.Dataset:
    """Starts near the origin on orthonormal inputs.

    Args:
        s: the settings.
        swept: runs a sweep.

    Returns:
        The loss over time, and outputs.
    """
    number = len(s.targets)
    samples = data.points(jnp.eye(number), jnp.asarray(s.targets))
    flow = SmallStart(samples, np.zeros((0, number)), np.ones(SMALL))
    sizes = [size for size in s.sizes if size > 1e-40]
    over = {("log_size", "t1"): [(float(np.log(size)), 1.5 * float(np.log(1 / size)) / s.targets[-1] + 1.0) for size in sizes]}
    ds = swept("orthonormal", flow, s.seeds, over, record=RECORDS, observe={"f": measure.outputs, "loss": measure.loss})
    return ds
