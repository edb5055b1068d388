"""What the platform can hold: precision, versions, and the releases of jaxlib that compute wrong numbers."""

import importlib.metadata
import math
import os
import platform
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

BAD_JAXLIB = {
    "0.10.2": "it returns wrong numbers on CPU (jax issue 39103)",
    "0.11.0": "a relative of jax issue 39103 remains in it (jax issue 39257)",
    "0.11.1": "writes into loop buffers take quadratic time on CPU (jax issue 40101)",
}
"""Releases that jaxdyn does not run on, and why."""

PACKAGES = ("jaxdyn", "jax", "jaxlib", "diffrax", "equinox", "optax", "numpy", "scipy", "xarray", "zarr")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide the numbers.

    Returns:
        Name to version; "not installed" for what is absent.
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe() -> dict[str, str]:
    """The machine and its devices in a few words, for the attributes of a Dataset.

    Returns:
        Keys `system`, `backend`, `devices`, `x64`.
    """
    devices = jax.devices()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "x64": str(bool(jax.config.read("jax_enable_x64"))),
    }


def miscompiles() -> int:
    """Runs the case that jaxlib 0.10.2 gets wrong (jax issue 39103) and counts the wrong rows.

    Returns:
        How many of 20000 rows differ from numpy; 0 on a sound platform. Needs float64 to be switched on.
    """
    rng = np.random.default_rng(0)
    matrix, rows = rng.normal(size=(3, 3)), rng.normal(size=(20000, 3))
    compiled = jax.jit(lambda m, batch: jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(batch))
    got = np.asarray(compiled(jnp.asarray(matrix), jnp.asarray(rows)))
    expected = ((rows @ matrix.T) ** 2).sum(1)
    return int((np.abs(got - expected) > 1e-4 * (1 + expected)).sum())


@cache
def memory() -> float:
    """The memory of this machine in bytes; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf


def default_rtol(dtype: jnp.dtype) -> float:
    """The relative tolerance that a solve takes when none is named: 1e-6 in float64, 1e-4 in float32."""
    return 1e-6 if jnp.finfo(dtype).bits == 64 else 1e-4


def check_tolerance(rtol: float, dtype: jnp.dtype) -> None:
    """Refuses a tolerance that the precision of the parameters cannot hold.

    Args:
        rtol: the relative tolerance asked for.
        dtype: that of the parameters.

    Raises:
        ValueError: rtol is not positive, or below 10 units in the last place.
    """
    if not rtol > 0:
        raise ValueError(f"rtol={rtol:g} must be positive.")
    smallest = 10 * float(jnp.finfo(dtype).eps)
    if rtol < smallest:
        mend = (
            "switch on float64 first, jax.config.update('jax_enable_x64', True), and make the parameters float64"
            if jnp.finfo(dtype).bits < 64
            else "ask for a larger one"
        )
        raise ValueError(f"rtol={rtol:g} is finer than {jnp.dtype(dtype).name} holds (about {smallest:.0e}): {mend}.")
