"""Whether the outputs of a network at a sample depend on the other samples, found by evaluating it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import REMEMBERED, is_concrete, looks_of
from .._types import Params
from ..models import MLP, Centred, Taylor, TwoLayer
from .gradient import GradientFlow
from .protocol import innermost, network_params

SAMPLES = 8
"""Samples that are evaluated together and one by one."""
NOISE = 100.0
"""Differences below this times the effect of rounding in the parameters count as rounding."""
ROUNDING = 1e3
"""And so do those below this many units of rounding of the largest output."""

_independent: dict[Any, None] = {}
"""How flows look whose samples do not depend on each other, in the order in which they were found."""


def check_independent(flow: Any, params: Params | None, key: PRNGKeyArray | None = None) -> None:
    """Refuses a network whose outputs depend on other samples, as with batch statistics, where its flow does not say so.

    Some samples are evaluated together and one by one, at the parameters and beside them (where output weights are not zero); outputs
    that differ by more than rounding explains are refused. What rounding explains is measured: the parameters are moved by some units of
    rounding. It is done once for flows that look alike, and only where everything is concrete.

    Args:
        flow: any flow; only a `GradientFlow`, and what wraps one, is checked.
        params: its state to look at; None for a start.
        key: of the start.

    Raises:
        ValueError: an output depends on other samples.
    """
    base = innermost(flow)
    if not isinstance(base, GradientFlow) or base.mixes_samples or base.data.num_samples < 2 or not is_concrete(flow, params, key):
        return
    if _is_known(base.model):
        return
    looks: Any = looks_of((flow, params))
    try:
        if looks in _independent:
            return
    except TypeError:  # something in the flow cannot be hashed
        looks = None
    if isinstance(jnp.zeros(()), Tracer):  # under jit
        return
    try:
        eqx.filter_eval_shape(lambda flow, *at: innermost(flow).outputs(_at(flow, *at)), flow, params, key)
    except Exception:  # which the check of the flow explains
        return
    try:
        mixes = bool(_mixes(flow, params, key))
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split()):.150}"
        raise ValueError(
            "apply(params, x) does not take a single sample, so that its outputs seem to depend on other samples: say so by "
            f"mixes_samples=True, or let it take any number of rows of x ({said})."
        ) from error
    if mixes:
        raise ValueError(
            "an output of this network depends on other samples than its own, as with batch statistics: give the flow mixes_samples=True, "
            "or make apply(params, x) work sample by sample."
        )
    if looks is not None:
        while len(_independent) >= REMEMBERED:
            del _independent[next(iter(_independent))]
        _independent[looks] = None


def _is_known(model: Any) -> bool:
    """Whether it is a network of jaxdyn's own, which works sample by sample and need not be evaluated."""
    return type(model) in (TwoLayer, MLP) or (type(model) in (Centred, Taylor) and _is_known(model.model))


@eqx.filter_jit
def _mixes(flow: Any, params: Params | None, key: PRNGKeyArray | None) -> Array:
    params, flow = _at(flow, params, key), innermost(flow)
    number = min(SAMPLES, flow.data.num_samples)
    x = flow.data.x[np.unique(np.linspace(0, flow.data.num_samples - 1, number).astype(int))]
    apply = getattr(flow.model, "apply", flow.model)
    like = jax.eval_shape(flow.outputs, params)

    def outputs(params: Params, x: Array) -> Array:
        f = apply(params, x)
        if jnp.shape(f) != (x.shape[0], *like.shape[1:]):
            raise ValueError(f"it returns shape {jnp.shape(f)} for {x.shape[0]} rows of x")
        return f

    def both(params: Params) -> tuple[Float[Array, "sample ..."], Float[Array, "sample ..."]]:
        return outputs(params, x), jax.lax.map(lambda row: outputs(params, row[None])[0], x)

    def verdict(params: Params) -> Array:
        eps = jnp.finfo(like.dtype).eps
        noisy = [_moved(params, jr.key(k), 4.0 * float(eps)) for k in (1, 2)]
        together, alone = jax.lax.map(both, jax.tree.map(lambda *leaves: jnp.stack(leaves), params, *noisy))
        together, alone = (part.reshape(3, -1) for part in (together, alone))
        noise = jnp.max(jnp.abs(jnp.concatenate([part[1:] - part[:1] for part in (together, alone)])))
        size = jnp.max(jnp.abs(together[0]))
        # a difference of nothing, or one that is not finite, tells nothing
        return jnp.max(jnp.abs(together[0] - alone[0])) > NOISE * noise + ROUNDING * eps * size

    with jax.default_matmul_precision("highest"):
        return jnp.any(jax.lax.map(verdict, jax.tree.map(lambda *leaves: jnp.stack(leaves), params, _beside(params))))


def _at(flow: Any, params: Params | None, key: PRNGKeyArray | None) -> Params:
    """The parameters of the innermost flow."""
    return network_params(flow, flow.init(key) if params is None else params)


def _moved(params: Params, key: PRNGKeyArray, share: float) -> Params:
    """Each number moved by a random share of itself."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jr.split(key, len(leaves))
    moved = [leaf * (1 + share * jr.normal(key, leaf.shape, leaf.dtype)) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def _beside(params: Params) -> Params:
    """Each number moved by a tenth of its leaf's largest one, or, where all are zero, by a tenth."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jr.split(jr.key(0), len(leaves))
    largest = [jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves]
    sizes = [jnp.where(most > 0, most, 1.0).astype(leaf.dtype) for most, leaf in zip(largest, leaves, strict=True)]
    moved = [leaf + 0.1 * size * jr.normal(key, leaf.shape, leaf.dtype) for key, size, leaf in zip(keys, sizes, leaves, strict=True)]
    return jax.tree.unflatten(treedef, moved)
