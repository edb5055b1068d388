"""Activations, with what the theory asks of them: slopes, gates and the degree of homogeneity."""

import math
import re
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import shown
from .._repr import Readable

_SMOOTH: dict[str, tuple[Callable[[Array], Array], int | None]] = {
    "identity": (lambda z: z, 1),
    "tanh": (jnp.tanh, None),
    "erf": (jax.scipy.special.erf, None),
    "gelu": (partial(jax.nn.gelu, approximate=False), None),
    "softplus": (jax.nn.softplus, None),
    "normal_cdf": (jax.scipy.stats.norm.cdf, None),
    "square": (jnp.square, 2),
}
_RECTIFIER = re.compile(r"(?:relu|leaky_relu(?::(?P<slope>[^\^]+))?)(?:\^(?P<power>[1-9]\d*))?")
_KNOWN = f"relu, leaky_relu, leaky_relu:SLOPE, any of these with ^POWER (relu^2), {', '.join(sorted(_SMOOTH))}"
_LEAKY_SLOPE = 0.01


class Activation(Readable, eqx.Module):
    """An activation, applied entry by entry.

    - `relu`: max(z, 0), with derivative 0 at 0; `leaky_relu:SLOPE`: z for z > 0 and SLOPE z otherwise (SLOPE 0.01 if
      not given), with derivative SLOPE at 0;
    - `relu^p`, `leaky_relu:SLOPE^p`: their p-th powers, the polynomial (leaky) ReLU of Kumar & Haupt (2024,
      arXiv:2403.08121);
    - `erf` is erf(z) without a factor inside, `gelu` is z Phi(z) with the exact normal distribution function (Hendrycks
      & Gimpel 2016, arXiv:1606.08415, not the tanh approximation), `softplus` is log(1 + exp(z)), `normal_cdf` is Phi(z), `square` is z^2,
      `tanh`, `identity`.

    Attributes:
        name: as above.
        negative_slope: the slope below zero of a (leaky) ReLU before its power; None for the others.
        degree: p with act(s z) = s^p act(z) for every s > 0; None where there is none.
    """

    name: str = eqx.field(static=True)
    negative_slope: float | None = eqx.field(static=True, repr=False)
    degree: int | None = eqx.field(static=True, repr=False)

    def __init__(self, name: str):
        """Look the activation up.

        Args:
            name: one of the names above.

        Raises:
            ValueError: if the name is unknown.
        """
        self.name = name
        if isinstance(name, str) and name in _SMOOTH:
            self.negative_slope, self.degree = None, _SMOOTH[name][1]
            return
        match = _RECTIFIER.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(f"There is no activation {shown(name)}; the known ones are {_KNOWN}.")
        default = _LEAKY_SLOPE if name.startswith("leaky_relu") else 0.0
        try:
            self.negative_slope = default if match["slope"] is None else float(match["slope"])
        except ValueError:
            self.negative_slope = math.nan
        if not math.isfinite(self.negative_slope):
            raise ValueError(f"The slope in {name!r} must be a finite number, as in leaky_relu:0.2.")
        self.degree = int(match["power"] or 1)

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The slopes (below zero, above zero) of a gated, that is piecewise linear, activation; None for the others."""
        return (self.negative_slope, 1.0) if self.negative_slope is not None and self.degree == 1 else None

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Apply the activation.

        Args:
            z: pre-activations.

        Returns:
            The activations, of the same shape.
        """
        if self.negative_slope is None:
            return _SMOOTH[self.name][0](z)
        bent = jax.nn.relu(z) if self.negative_slope == 0 else jnp.where(z > 0, z, self.negative_slope * z)
        return bent if self.degree in (1, None) else bent**self.degree

    def gates(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """The gates that the activation itself has at z: 1 where z > 0, and 0 elsewhere, at zero too.

        Args:
            z: pre-activations.

        Returns:
            The gates, of the same shape and dtype.

        Raises:
            ValueError: if the activation is not piecewise linear.
        """
        if self.slopes is None:
            raise ValueError(f"{self.name} has no gates; use relu or leaky_relu, or leave the gates out.")
        return (z > 0).astype(z.dtype)

    def gated(self, z: Float[Array, "..."], gates: Float[Array, "..."]) -> Float[Array, "..."]:
        """The activation with its slope taken from gates, linear in z: z (negative + (positive - negative) gate).

        Args:
            z: pre-activations.
            gates: numbers in [0, 1] of the same shape; fractions are Filippov's gates of a neuron that slides.

        Returns:
            The activations, of the same shape.

        Raises:
            ValueError: if the activation is not piecewise linear or the shapes differ.
        """
        if self.slopes is None:
            raise ValueError(f"{self.name} has no gates; use relu or leaky_relu, or leave the gates out.")
        if jnp.shape(gates) != jnp.shape(z):
            raise ValueError(f"gates must have the shape of the pre-activations, {jnp.shape(z)}; {jnp.shape(gates)} was given.")
        negative, positive = self.slopes
        gates = jnp.asarray(gates, dtype=z.dtype)
        return z * gates if (negative, positive) == (0.0, 1.0) else z * (negative + (positive - negative) * gates)


def activation(name: str | Activation) -> Activation:
    """Look an activation up by its name.

    Args:
        name: a name that `Activation` knows (`"relu"`, `"relu^2"`, `"leaky_relu:0.2"`, `"tanh"`, ...), or an
            activation, which is handed back.

    Returns:
        The activation.
    """
    return name if isinstance(name, Activation) else Activation(name)
