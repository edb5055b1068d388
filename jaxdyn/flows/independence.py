"""Whether the outputs of a network at a sample depend on the other samples, found by evaluating it."""

import hashlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
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
    rounding. It is done once for flows that look alike and have networks of the same numbers, and only where everything is concrete. A
    subclass with `outputs` of its own is not asked: its derivatives are taken of all outputs at once.

    Args:
        flow: any flow; only a `GradientFlow`, and what wraps one, is checked.
        params: its state to look at; None for a start.
        key: of the start.

    Raises:
        ValueError: an output depends on other samples.
    """
    base = innermost(flow)
    if not isinstance(base, GradientFlow) or base.needs_all_outputs or base.data.num_samples < 2:
        return
    if _is_known(base.model) or not is_concrete(flow, params, key):
        return
    looks: Any = looks_of((flow, params)), _digest(base.model)
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
        mixes = _mixes(flow, params, key)
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


def _digest(model: Any) -> str:
    """Of the numbers of a network, by which its samples may depend on each other."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        total.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    return total.hexdigest()


def _is_known(model: Any) -> bool:
    """Whether it is a network of jaxdyn's own, which works sample by sample and need not be evaluated."""
    return type(model) in (TwoLayer, MLP) or (type(model) in (Centred, Taylor) and _is_known(model.model))


def _mixes(flow: Any, params: Params | None, key: PRNGKeyArray | None) -> bool:
    base = innermost(flow)
    at = params if base is flow and params is not None else eqx.filter_jit(_at)(flow, params, key)
    number = min(SAMPLES, base.data.num_samples)
    x = base.data.x[np.unique(np.linspace(0, base.data.num_samples - 1, number).astype(int))]
    # numpy's random numbers, as jax's would take seconds to compile
    random = np.random.default_rng(0)
    eps = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(at))).eps)
    near = [point if k == 0 else _moved(point, random, 4.0 * eps) for point in (at, _beside(at, random)) for k in range(3)]
    together, alone = (np.asarray(part) for part in _outputs(base, jax.tree.map(lambda *leaves: np.stack(leaves), *near), x))
    eps = float(jnp.finfo(together.dtype).eps)
    both = np.stack([part.reshape(2, 3, -1) for part in (together, alone)])  # (how, point, moved, output)
    with np.errstate(invalid="ignore"):
        noise, size = np.max(np.abs(both[:, :, 1:] - both[:, :, :1]), axis=(0, 2, 3)), np.max(np.abs(both[0, :, 0]), axis=-1)
        # a difference of nothing, or one that is not finite, tells nothing
        return bool(np.any(np.max(np.abs(both[0, :, 0] - both[1, :, 0]), axis=-1) > NOISE * noise + ROUNDING * eps * size))


@eqx.filter_jit
def _outputs(flow: Any, params: Params, x: Array) -> tuple[Float[Array, "point sample ..."], Float[Array, "point sample ..."]]:
    """The outputs at several points in parameter space, of all samples together and of each alone."""
    apply = getattr(flow.model, "apply", flow.model)
    like = jax.eval_shape(flow.outputs, jax.tree.map(lambda leaf: leaf[0], params))

    def outputs(params: Params, x: Array) -> Array:
        f = apply(params, x)
        if jnp.shape(f) != (x.shape[0], *like.shape[1:]):
            raise ValueError(f"it returns shape {jnp.shape(f)} for {x.shape[0]} rows of x")
        return f

    def both(params: Params) -> tuple[Array, Array]:
        return outputs(params, x), jax.lax.map(lambda row: outputs(params, row[None])[0], x)

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(both, params)


def _at(flow: Any, params: Params | None, key: PRNGKeyArray | None) -> Params:
    """The parameters of the innermost flow."""
    return network_params(flow, flow.init(key) if params is None else params)


def _moved(params: Params, random: np.random.Generator, share: float) -> Params:
    """Each number moved by a random share of itself."""
    return jax.tree.map(lambda leaf: (leaf * (1 + share * random.normal(size=np.shape(leaf)))).astype(leaf.dtype), _as_numpy(params))


def _beside(params: Params, random: np.random.Generator) -> Params:
    """Each number moved by a tenth of its leaf's largest one, or, where all are zero, by a tenth."""

    def beside(leaf: np.ndarray) -> np.ndarray:
        most = np.max(np.abs(leaf), initial=0.0)
        return (leaf + 0.1 * (most if most > 0 else 1.0) * random.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(beside, _as_numpy(params))


def _as_numpy(params: Params) -> Params:
    return jax.tree.map(np.asarray, params)
