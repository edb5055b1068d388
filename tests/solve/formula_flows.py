"""Flows given by formulas, with known solutions or known fates; chosen by a number, so that all share one compilation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

FORMULAS = {
    "decay": lambda t, y: -y,
    "growth": lambda t, y: y,
    "square": lambda t, y: y**2,
    "cube": lambda t, y: y**3,
    "sign": lambda t, y: -jnp.where(y > 0, jnp.ones_like(y), -1),
    "inverse": lambda t, y: -1.0 / y,
    "root": lambda t, y: jnp.sqrt(y - 1.0),
    "clock": lambda t, y: jnp.cos(t).astype(y.dtype) * y,
    "nan": lambda t, y: jnp.nan * y,
    "rotation": lambda t, y: jnp.roll(y, 1) * jnp.where(jnp.arange(y.size) == 0, -1.0, 1.0),
    "pole": lambda t, y: y**9,
}


class FormulaFlow(eqx.Module):
    """dy/dt = FORMULAS[name](t, y) on {"y": vector}, with loss |y|^2 / 2 and, for rotations, conserved |y|^2."""

    number: Array

    def __init__(self, name: str):
        self.number = jnp.asarray(list(FORMULAS).index(name))

    def vector_field(self, t, y, args):
        return {"y": jax.lax.switch(self.number, list(FORMULAS.values()), t, y["y"])}

    def loss(self, y):
        return 0.5 * jnp.sum(y["y"] ** 2)

    def conserved(self, y):
        return jnp.sum(y["y"] ** 2)[None]


class LinearFlow(eqx.Module):
    """dy/dt = -A y, the gradient flow of y.A y / 2 where A is symmetric."""

    matrix: Array

    def vector_field(self, t, y, args):
        return -self.matrix.astype(y.dtype) @ y

    def loss(self, y):
        return 0.5 * y @ (self.matrix.astype(y.dtype) @ y)

    def init(self, key):
        return jax.random.normal(key, self.matrix.shape[:1])
