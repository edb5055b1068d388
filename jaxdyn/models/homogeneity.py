"""The order of homogeneity of a network, measured."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from .._checks import plainly, shown
from .._types import Params


@plainly
def homogeneity(apply: Any, params: Params, x: Float[Array, "sample dim"]) -> float:
    r"""The order L with $f(s \theta; x) = s^L f(\theta; x)$ for all s > 0.

    It is $\langle \theta, \nabla f_i \rangle / f_i$ by Euler's theorem and $\log_2(f_i(2 \theta) / f_i(\theta))$; both must agree over all
    samples, at the params and at a point beside them where no weight is 0 (biases start at 0). Samples with f = 0 are left out.

    Args:
        apply: a function apply(params, x), or a model with one.
        params: concrete ones, with some output that is not 0.
        x: inputs, one row a sample.

    Returns:
        The order; an integer where it is one within 1e-6.

    Raises:
        ValueError: the function is not homogeneous, or is 0 on all samples.
    """
    if not callable(getattr(apply, "apply", apply)) or isinstance(apply, type):
        raise ValueError(f"homogeneity takes a function apply(params, x) or a model, not {shown(apply)}.")
    order = measured_order(apply, params, x)
    if order is None:
        raise ValueError("the outputs are 0 on all samples, so the order cannot be measured: take other params or samples.")
    return order


def measured_order(apply: Any, params: Params, x: Float[Array, "sample dim"]) -> float | None:
    """The order, or None where all outputs are 0.

    Args:
        apply: as in `homogeneity`.
        params: as in `homogeneity`.
        x: as in `homogeneity`.

    Returns:
        The order.

    Raises:
        ValueError: the function is not homogeneous.
    """
    function: Callable[[Params], Array] = lambda theta: jnp.ravel(getattr(apply, "apply", apply)(theta, x))  # noqa: E731
    points = [_unit(params), _unit(_beside(params))]
    orders, weights = (np.concatenate(parts) for parts in zip(*[_orders(function, point) for point in points], strict=True))
    if orders.size == 0:
        return None
    order = np.average(orders, weights=weights)
    # an error of f relative to the largest output matters less for small outputs
    if not np.all(weights * np.abs(orders - order) <= _tolerance(params)):
        raise ValueError(
            f"the network is not homogeneous in its params: the orders measured on samples lie between {orders.min():.6g} and "
            f"{orders.max():.6g}; leave out biases of deeper layers and activations without a degree."
        )
    return float(round(order)) if abs(order - round(order)) <= max(1e-6, _tolerance(params)) else float(order)


def _tolerance(params: Params) -> float:
    return 100 * float(jnp.finfo(jnp.result_type(*jax.tree.leaves(params))).eps) ** 0.75


def _unit(params: Params) -> Params:
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(params)) or 1.0
    return jax.tree.map(lambda leaf: leaf / largest, params)


def _beside(params: Params) -> Params:
    leaves, treedef = jax.tree.flatten(_unit(params))
    keys = jr.split(jr.key(0), len(leaves))
    moved = [leaf + 0.1 * jr.normal(key, leaf.shape, leaf.dtype) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def _orders(function: Callable[[Params], Array], params: Params) -> tuple[np.ndarray, np.ndarray]:
    """The orders of samples, twice each, and the outputs relative to the largest."""
    f, along = jax.jvp(function, (params,), (params,))
    f, along, double = (np.asarray(part, float) for part in (f, along, function(jax.tree.map(lambda leaf: 2 * leaf, params))))
    largest = np.max(np.abs(f), initial=0.0)
    seen = np.abs(f) > 1e-8 * largest
    f, along, double = f[seen], along[seen], double[seen]
    with np.errstate(divide="ignore", invalid="ignore"):
        orders = np.concatenate([along / f, np.log2(double / f)])
    return np.nan_to_num(orders, nan=-np.inf), np.tile(np.abs(f) / (largest or 1.0), 2)
