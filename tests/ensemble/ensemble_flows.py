"""Flows and networks that compile fast, and a lane of a sweep by `solve` alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn._types import as_leaf

ROOT = jr.key(0)
ONE = jax.devices()[:1]
"""For sweeps that are not about devices."""
HOW = {"t1": 4.0, "record": 5, "width": 4, "devices": ONE, "progress": False}
"""Tests that all say `sweep(net_flow(), ..., {"model.scale": ...}, **HOW)` share one compilation."""


class Decay(eqx.Module):
    """dy/dt = -rate (1, 1/10) y + drive from a random start: two time scales, with a known solution."""

    rate: jax.Array
    drive: jax.Array
    power: int = eqx.field(static=True, default=1)

    def vector_field(self, t, y, args=None):
        return -self.rate * jnp.array([1.0, 0.1]) * y**self.power + self.drive

    def loss(self, y):
        return 0.5 * jnp.sum(self.rate * y**2)

    def init(self, key):
        return 1.0 + jr.uniform(key, (2,))


def decay(rate=1.0, power=1):
    return Decay(jnp.asarray(rate), jnp.zeros(2), power)


class Fates(eqx.Module):
    """Lanes with a drawn fate: a share `spoil` starts at NaN, a share `blow` follows y' = y^3 and blows up, the rest y' = -y."""

    spoil: jax.Array
    blow: jax.Array

    def vector_field(self, t, y, args=None):
        return {"y": jnp.where(y["blows"] > 0.5, y["y"] ** 3, -y["y"]), "blows": jnp.zeros_like(y["blows"])}

    def loss(self, y):
        return 0.5 * jnp.sum(y["y"] ** 2)

    def init(self, key):
        u = jr.uniform(key, (4,))
        y = jnp.where(u[0] < self.spoil, jnp.nan, 1.0 + u[1:])
        return {"y": y, "blows": (u[0] > 1.0 - self.blow).astype(y.dtype)}


def fates(spoil=0.0, blow=0.0):
    return Fates(jnp.asarray(spoil), jnp.asarray(blow))


class Net(eqx.Module):
    """A one-dimensional tanh network whose start is uniform, which compiles faster than a Gaussian."""

    width: int = eqx.field(static=True)
    scale: jax.Array = eqx.field(converter=as_leaf, default=1.0)
    offset: jax.Array = eqx.field(converter=as_leaf, default=0.0)
    shape: str = eqx.field(static=True, default="tanh")

    def init(self, key):
        start = jr.uniform(key, (2, self.width), minval=-1.0)
        return {"a": self.scale * start[0], "c": self.scale * start[1] + self.offset}

    def apply(self, params, x):
        z = x @ params["a"][None, :]
        return (jnp.tanh(z) if self.shape == "tanh" else jnp.sin(z)) @ params["c"]


def net_flow(width=4, n=5):
    return jd.flows.GradientFlow(Net(width), jd.losses.square, jd.data.sinusoid(n=n))


def solved(flow, seed, t1, **how):
    """The lane of a seed, by the solver of single lanes."""
    return jd.solve(flow, flow.init(jr.fold_in(ROOT, seed)), t1, **how)


def assert_lane_is(ds, sol, names=(), rtol=1e-12, atol=1e-12, retries=0):
    """One lane of a Dataset against its solution: end, records, outcome, certificate, observables; but for some retries at an event."""
    end = np.asarray(ravel_pytree(sol.params)[0])
    np.testing.assert_allclose(np.asarray(ds["params"])[: end.size], end, rtol=rtol, atol=atol)
    assert np.all(np.isnan(np.asarray(ds["params"])[end.size :]))
    assert int(ds["outcome"]) == int(sol.outcome)
    np.testing.assert_allclose(float(ds["t_end"]), float(sol.t), rtol=rtol)
    for name, each in (("num_accepted_steps", 0), ("num_rejected_steps", 1), ("num_field_evaluations", 25)):
        assert abs(int(ds[name]) - int(getattr(sol.certificate, name))) <= each * retries, name
    for name in ("loss_start", "loss_end", "largest_loss_increase", "conserved_drift", "largest_norm"):
        np.testing.assert_allclose(float(ds[name]), float(getattr(sol.certificate, name)), rtol=rtol, atol=atol)
    times = np.asarray(ds["t"]) if "t" in ds else np.where(np.isnan(np.asarray(sol.ts)), np.nan, np.asarray(ds["time"]))
    np.testing.assert_allclose(times, np.asarray(sol.ts), rtol=1e-15)
    for name in names:
        expected = np.asarray(sol.observed[name])
        here = np.asarray(ds[name])[tuple(slice(0, n) for n in expected.shape)]
        np.testing.assert_allclose(here, expected, rtol=rtol, atol=atol)
