"""Whether this machine computes right: versions, the known miscompilation, and lanes against scipy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from .. import _platform
from ..data import points
from ..flows import GradientFlow
from ..losses import square
from ..models import TwoLayer
from ..solve import Outcome, solve

INSTALL = 'python -m pip install "jax>=0.10.1,!=0.10.2,!=0.11.0,!=0.11.1"'
"""What mends a platform that computes wrong numbers."""
LANE_T1 = 5.0
LANE_TOLERANCE = {"tanh": 1e-6, "relu": 1e-5}
"""Allowed distance to scipy, relative to the largest parameter; relu's is wider because scipy crosses kinks by plain stepping."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        passed: whether it is as it should be.
        detail: the number or the version that was found, and the mend where it failed.
    """

    name: str
    passed: bool
    detail: str


def diagnose() -> list[Check]:
    """Looks at the platform; takes a few seconds, most of them compilation.

    Returns:
        One entry a check; the platform is sound if all passed.
    """
    return [_check_jaxlib(), _check_precision(), _check_rows(), *(_check_lane(name) for name in LANE_TOLERANCE)]


def _check_jaxlib() -> Check:
    version = _platform.versions()["jaxlib"]
    why = _platform.BAD_JAXLIB.get(version)
    return Check("jaxlib", why is None, version if why is None else f"{version} must not be used: {why}; install another, {INSTALL}")


def _check_precision() -> Check:
    on = bool(jax.config.read("jax_enable_x64"))
    mend = "off: jax.config.update('jax_enable_x64', True) before the first array; the commands do it by themselves"
    return Check("float64", on, "on" if on else mend)


def _check_rows() -> Check:
    wrong = _platform.miscompiles()
    found = "20000 rows of a batched matrix product agree with numpy"
    return Check("compiler", wrong == 0, found if wrong == 0 else f"{wrong} of 20000 rows are wrong (jax issue 39103): {INSTALL}")


def _check_lane(activation: str) -> Check:
    """One lane of a two-layer network on five points, against scipy's DOP853 on a field written in numpy.

    Returns:
        Whether they agree, and how far.
    """
    x = np.linspace(-1.0, 1.0, 5)
    y = np.array([0.5, -0.5, 0.25, -0.25, 0.5])
    model = TwoLayer(width=6, bias=True, activation=activation)
    flow = GradientFlow(model, square, points(jnp.asarray(x), jnp.asarray(y)))
    start = flow.init(jax.random.key(1))
    found = solve(flow, start, LANE_T1, rtol=1e-9, record=2)
    if found.fate is not Outcome.t1_reached:
        return Check(f"lane, {activation}", False, f"ended as {found.fate.name} at t = {float(found.t):g}: {INSTALL}")
    state = np.concatenate([np.ravel(start[name]) for name in ("a", "b", "c")]).astype(float)
    reference = solve_ivp(lambda t, state: _field(state, x, y, activation), (0.0, LANE_T1), state, method="DOP853", rtol=1e-9, atol=1e-11)
    got = np.concatenate([np.ravel(found.params[name]) for name in ("a", "b", "c")])
    error = float(np.max(np.abs(got - reference.y[:, -1])) / np.max(np.abs(reference.y[:, -1])))
    passed = error <= LANE_TOLERANCE[activation]
    detail = f"{'agrees' if passed else 'disagrees'} with scipy: largest difference {error:.1e}, allowed {LANE_TOLERANCE[activation]:.0e}"
    return Check(f"lane, {activation}", passed, detail if passed else f"{detail}; {INSTALL}")


def _field(state: np.ndarray, x: np.ndarray, y: np.ndarray, activation: str) -> np.ndarray:
    """Minus the gradient of 1/2 sum (f - y)^2 for f = m^(-1/2) sum c act(a x - b), by hand.

    Returns:
        The velocity, in the order a, b, c.
    """
    a, b, c = np.split(state, 3)
    z = np.outer(x, a) - b
    hidden = np.maximum(z, 0.0) if activation == "relu" else np.tanh(z)
    slope = (z > 0) * 1.0 if activation == "relu" else 1.0 - hidden**2
    scale = 1.0 / np.sqrt(len(a))
    residual = scale * hidden @ c - y
    return -scale * np.concatenate([c * ((residual * x) @ slope), -c * (residual @ slope), residual @ hidden])


def about() -> dict[str, str]:
    """Versions and devices, in the order in which they are printed.

    Returns:
        Names to what was found.
    """
    return _platform.versions() | _platform.describe()
