"""Two facts of the gradient that need no flow: its formula against samples, and the cross term L_12."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from ... import flows
from .settings import Settings
from .starts import make_flow

DIM = 10
"""Inputs of the comparison with samples."""
BATCH = 10000
"""Samples that are held at once."""


def formula_against_samples(s: Settings) -> xr.Dataset:
    r"""F(e, w) = E[1(e.x > 0) 1(w.x > 0) (w.x) x] by its formula, and by means over samples, for unit vectors at an angle.

    The formula is the package's: the velocity of one student e towards one teacher w is F(e, w) - e/2.

    Args:
        s: the settings.

    Returns:
        `error` over `samples`, `repeat`, `theta`: |mean - F|^2/|F|^2; and `expected` over `samples`, `theta`, its expectation, from
        E[|.|^2] = (2d + 4) ((pi - theta)/2 + sin(2 theta)/4)/(2 pi).

    Reference:
        Tian (2017), arXiv 1703.00560, theorem 1.
    """
    # between the ends, where F is w/2 without doubt, and 0
    theta = np.pi * (np.arange(s.angles) + 0.5) / s.angles
    e = jnp.eye(DIM)[0]
    w = jnp.zeros((s.angles, DIM)).at[:, 0].set(jnp.cos(theta)).at[:, 1].set(jnp.sin(theta))
    model = make_flow(1, 1, DIM).model

    def formula(teacher: Array) -> Array:
        return flows.PopulationFlow(model, teacher[None]).vector_field(jnp.zeros(()), {"a": e[None], "c": jnp.ones(1)})["a"][0] + e / 2

    exact, w = np.asarray(jax.vmap(formula)(w)), np.asarray(w)

    def error(count: int, draw: np.random.Generator) -> np.ndarray:
        total = np.zeros_like(exact)
        for first in range(0, count, BATCH):
            x = draw.standard_normal((min(BATCH, count - first), DIM))
            total += (np.maximum(x @ w.T, 0) * (x[:, :1] > 0)).T @ x
        return np.sum((total / count - exact) ** 2, axis=1) / np.sum(exact**2, axis=1)

    errors = [np.stack([error(n, np.random.default_rng((n, k))) for k in range(s.repeats)]) for n in s.samples]
    squared = np.sum(exact**2, axis=1)
    second = (2 * DIM + 4) * ((np.pi - theta) / 2 + np.sin(2 * theta) / 4) / (2 * np.pi)
    expected = (second - squared) / squared / np.asarray(s.samples)[:, None]
    return xr.Dataset(
        {"error": (("samples", "repeat", "theta"), np.stack(errors)), "expected": (("samples", "theta"), expected)},
        {"samples": list(s.samples), "theta": theta},
    )


def cross_term(theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    r"""L_12, what a teacher at an angle theta contributes to a sum that vanishes where w_1 and w_2 are critical.

    In the plane, measured from w_1 towards w_2, let w_2 be at the angle phi, a teacher of length 1 at theta. With
    $g(s) = (\pi - |s|) \sin s$ and $\Phi(s) = \sin|s| + (\pi - |s|) \cos s$ for s in $[-\pi, \pi]$, minus the gradient by $w_j$ has, times
    $2\pi$, the part $\sum_k g(\theta_k) - |w_2| g(\phi)$ across $w_1$, $\sum_k g(\phi - \theta_k) - |w_1| g(\phi)$ across $w_2$ (with the
    sense reversed), and $\sum_k \Phi(\theta_k) - \pi |w_1| - \Phi(\phi) |w_2|$ along $w_1$. The first two give the lengths; put into the
    third, it is

    $$\sum_k L_{12}(\theta_k, \phi) = 0, \qquad
      L_{12}(\theta, \phi) = \Phi(\theta) - \frac{\Phi(\phi) g(\theta) + \pi g(\phi - \theta)}{g(\phi)}.$$

    It is 0 for a teacher along either student. Where it has one sign inside the cone of the students and the other outside, teachers that
    are all inside or all outside leave a sum that is not 0.

    Args:
        theta: angles of the teacher.
        phi: angles of the second student, above 0 and below pi.

    Returns:
        Numbers of the shape of both.

    Reference:
        Tian (2017), arXiv 1703.00560, the section on critical points in the plane. The elimination is our reconstruction, which may differ
        from the paper's L_12 by a positive factor.
    """

    def wrapped(s: np.ndarray) -> np.ndarray:
        return np.mod(s + np.pi, 2 * np.pi) - np.pi

    def g(s: np.ndarray) -> np.ndarray:
        return (np.pi - np.abs(wrapped(s))) * np.sin(wrapped(s))

    def along(s: np.ndarray) -> np.ndarray:
        return np.sin(np.abs(wrapped(s))) + (np.pi - np.abs(wrapped(s))) * np.cos(s)

    return along(theta) - (along(phi) * g(theta) + np.pi * g(phi - theta)) / g(phi)


def signs_of_cross_term(s: Settings) -> xr.Dataset:
    """L_12 on a grid of angles of the teacher, inside the students' cone and outside, and of the second student.

    Args:
        s: the settings.

    Returns:
        `inside` and `outside` over `phi` and `place`; the teacher's angle is `place` phi inside, and phi + `place` (2 pi - phi) outside.
    """
    middles = (np.arange(s.grid) + 0.5) / s.grid
    phi = np.pi * middles[:, None]
    inside, outside = cross_term(phi * middles, phi), cross_term(phi + (2 * np.pi - phi) * middles, phi)
    return xr.Dataset({"inside": (("phi", "place"), inside), "outside": (("phi", "place"), outside)}, {"phi": phi[:, 0], "place": middles})
