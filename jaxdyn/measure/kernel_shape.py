"""What the neural tangent kernel looks like, and how it turns: spectrum, alignment with the labels, angle, velocity."""

import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..flows import check_independent
from ._checked import checked
from ._network import innermost, network_params, relative
from .kernel import KernelOptions, ntk


@checked
def ntk_spectrum(flow: Any, t: Float[Array, ""], params: Params, **options: Unpack[KernelOptions]) -> Float[Array, " mode"]:
    """The eigenvalues of the neural tangent kernel: of the full one, the rates at which a square loss's residuals decay if it is constant.

    Args:
        flow: as in `ntk`.
        t: time, unused.
        params: the parameters.
        **options: `outputs`, `memory` and `mixes_samples`, as in `ntk`.

    Returns:
        One number a sample, or in full one for each output of each sample, the largest first; rounding may leave the smallest a little
        below 0.
    """
    kernel = ntk(flow, t, params, **options)
    return jnp.linalg.eigvalsh(kernel.reshape(math.isqrt(kernel.size), -1))[::-1]


ntk_spectrum.dims = "mode"


@checked
def ntk_condition(flow: Any, t: Float[Array, ""], params: Params, **options: Unpack[KernelOptions]) -> Float[Array, ""]:
    """The largest eigenvalue of the neural tangent kernel over the smallest.

    Args:
        flow: as in `ntk`.
        t: time, unused.
        params: the parameters.
        **options: `outputs`, `memory` and `mixes_samples`, as in `ntk`.

    Returns:
        At least 1; infinity where the smallest eigenvalue is not above what rounding makes of it.
    """
    values = ntk_spectrum(flow, t, params, **options)
    least = values.size * jnp.finfo(values.dtype).eps * values[0]
    return jnp.where(values[-1] > least, values[0] / jnp.where(values[-1] > least, values[-1], 1.0), jnp.inf)


@checked
def ntk_alignment(flow: Any, t: Float[Array, ""], params: Params, **options: Unpack[KernelOptions]) -> Float[Array, ""]:
    r"""How much of the kernel lies along the labels, $\langle K, Y Y^T \rangle / (\|K\|_F \|Y Y^T\|_F)$.

    With one output a sample that is $y^T K y / (\|K\|_F \|y\|^2)$. With several, Y has a sample's targets in its row for the trace, and
    all targets in one column for the full kernel; labels of classes 0, 1, ... stand for their indicators.

    Args:
        flow: a flow with `data`.
        t: time, unused.
        params: the parameters.
        **options: `outputs`, `memory` and `mixes_samples`, as in `ntk`.

    Returns:
        Between 0 and 1, which is a kernel proportional to Y Y^T; 0 where the kernel or Y is 0.

    Raises:
        ValueError: the flow has no data.

    Reference:
        Cristianini et al. (2001), On kernel-target alignment, definition 1.
    """
    base = innermost(flow)
    data = getattr(base, "data", None)
    if data is None:
        raise ValueError(f"{type(flow).__name__} has no data, and so no labels to be aligned with: use a GradientFlow, which has.")
    kernel = ntk(flow, t, params, **options)
    y = data.y.astype(kernel.dtype)
    if getattr(getattr(base, "loss_function", None), "many_outputs", False):
        y = jax.nn.one_hot(data.y.astype(int), jax.eval_shape(base.outputs, network_params(flow, params)).shape[1], dtype=kernel.dtype)
    rows = math.isqrt(kernel.size)
    kernel, y = kernel.reshape(rows, rows), y.reshape(rows, -1)
    size = jnp.linalg.norm(kernel) * jnp.linalg.norm(y.T @ y)
    return jnp.where(size > 0, jnp.sum(y * (kernel @ y)) / jnp.where(size > 0, size, 1.0), 0.0)


@checked
def ntk_angle(flow: Any, t: Float[Array, ""], params: Params, start: Params, **options: Unpack[KernelOptions]) -> Float[Array, ""]:
    r"""The angle between the kernel and that of the start, $\arccos(\langle K, K_0 \rangle / (\|K\|_F \|K_0\|_F))$; scale does not enter.

    Args:
        flow: as in `ntk`.
        t: time, unused.
        params: the parameters.
        start: the lane's start.
        **options: `outputs`, `memory` and `mixes_samples`, as in `ntk`.

    Returns:
        Radians, from 0 to pi/2, accurate for small angles too; 0 where a kernel is 0.

    Reference:
        Fort et al. (2020), Deep learning versus kernel learning, arXiv 2010.15110, section 3 (their kernel distance is 1 - cos).
    """
    kernels = [jnp.ravel(ntk(flow, t, at, **options)) for at in (params, start)]
    now, first = (kernel / jnp.where(jnp.any(kernel != 0), jnp.linalg.norm(kernel), 1.0) for kernel in kernels)
    return 2 * jnp.arctan2(jnp.linalg.norm(now - first), jnp.linalg.norm(now + first))


@checked
def ntk_velocity(flow: Any, t: Float[Array, ""], params: Params, **options: Unpack[KernelOptions]) -> Float[Array, ""]:
    r"""How fast the kernel changes along the flow, $\|\dot K\|_F / \|K\|_F$.

    Args:
        flow: as in `ntk`.
        t: time, handed to the flow.
        params: the parameters.
        **options: `outputs`, `memory` and `mixes_samples`, as in `ntk`.

    Returns:
        Per unit of time; the change itself where the kernel is 0.

    Reference:
        Huang & Yau (2020), Dynamics of deep neural networks and neural tangent hierarchy, arXiv 1909.08156, eq. 1.8.
    """
    if not options.get("mixes_samples"):
        check_independent(flow, params)
    kernel, change = jax.jvp(lambda at: jnp.ravel(ntk(flow, t, at, **options)), (params,), (flow.vector_field(t, params, None),))
    return relative(jnp.linalg.norm(change), jnp.linalg.norm(kernel))
