"""What flows of an empirical loss are given, checked once when it comes in."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from .._checks import check_function, is_concrete, is_real, shown, takes
from .._types import Params, as_leaf

FOREIGN = {
    "flax": "give net.apply for the model and initial=lambda key: net.init(key, x)",
    "haiku": "give hk.without_apply_rng(net).apply for the model and initial=lambda key: net.init(key, x)",
    "torch": "write the network as a function apply(params, x) of jax arrays",
    "keras": "write the network as a function apply(params, x), such as net.stateless_call, and give initial=",
}
"""Packages whose networks are no functions of parameters and inputs, and what to give instead."""
_EQUINOX = (
    "split it by params, rest = equinox.partition(net, equinox.is_inexact_array) and give "
    "lambda params, x: jax.vmap(equinox.combine(params, rest))(x)"
)


def check_model(model: Any) -> None:
    """Refuses what is no network.

    Args:
        model: what the caller gave.

    Raises:
        ValueError: it is of a package whose networks need a wrapper, or neither a function apply(params, x) nor has such a method.
    """
    kind = type(model)
    if isinstance(model, type):
        raise ValueError(f"the model must be a network, not the class {model.__name__}: make an instance of it.")
    for part in kind.__mro__:
        package = part.__module__.partition(".")[0]
        if package in FOREIGN and kind.__name__ not in ("method", "function", "builtin_function_or_method"):
            raise ValueError(f"the model is a {kind.__name__} of {package}, which is no function apply(params, x): {FOREIGN[package]}.")
    apply = getattr(model, "apply", model)
    if not callable(apply):
        raise ValueError(f"the model must be a function apply(params, x) or have a method of that name, but a {kind.__name__} was given.")
    if not takes(apply, 2):
        fix = _EQUINOX if any(part.__module__.startswith("equinox") for part in kind.__mro__) else "the parameters are its first argument"
        raise ValueError(f"the model must be a function apply(params, x), but {shown(model)} does not take two arguments: {fix}.")


def check_loss(loss_function: Any) -> None:
    """Refuses what is no loss.

    Args:
        loss_function: what the caller gave.

    Raises:
        ValueError: it is no function of outputs and labels.
    """
    if not callable(loss_function) or isinstance(loss_function, type):
        raise ValueError(f"the loss must be a function of (outputs, labels), such as jaxdyn.losses.square, not {shown(loss_function)}.")
    check_function("the loss", loss_function, ("outputs", "labels"))


def check_initial(initial: Any) -> None:
    """Refuses what makes no start of a key.

    Args:
        initial: what the caller gave; None for no start.

    Raises:
        ValueError: it is no function of one argument.
    """
    if initial is not None and not (callable(initial) and takes(initial, 1)):
        raise ValueError(f"initial must be a function of a random key that makes parameters, lambda key: params, not {shown(initial)}.")


def names_of(frozen: Any) -> tuple[str, ...]:
    """The names of frozen parameters.

    Args:
        frozen: one name, or several.

    Returns:
        A tuple.

    Raises:
        ValueError: it holds something else than text.
    """
    names = (frozen,) if isinstance(frozen, str) else frozen
    if not isinstance(names, tuple | list | set | frozenset) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"frozen must be names of parameters, such as ('b',), not {shown(frozen)}.")
    return tuple(names)


def scales_of(time_scales: Any) -> PyTree | None:
    """Time scales as leaves.

    Args:
        time_scales: a pytree of numbers, zero or positive; None for none.

    Returns:
        The same with arrays for numbers.

    Raises:
        ValueError: one is no number, or negative.
    """
    if time_scales is None:
        return None
    scales = jax.tree.map(lambda scale: as_leaf(scale, "a time scale"), time_scales)
    for scale in jax.tree.leaves(scales):
        if is_concrete(scale) and not np.all(np.isfinite(scale) & (np.asarray(scale) >= 0)):
            raise ValueError(
                f"a time scale must be zero or positive, and finite: a negative one would ascend the loss; {shown(scale)} was given."
            )
    return scales


def penalty_of(name: str, value: Any) -> Array | None:
    """The strength or the radius of a penalty as a leaf.

    Args:
        name: what the caller calls it.
        value: one number, zero or positive; None for no penalty.

    Returns:
        An array without axes, or None.

    Raises:
        ValueError: it is anything else.
    """
    if value is None:
        return None
    number = as_leaf(value, name)
    if is_concrete(number) and not (is_real(number) and np.isfinite(number) and np.asarray(number) >= 0):
        raise ValueError(f"{name}={shown(value)} must be one finite number, zero or positive: below zero the loss would have no minimum.")
    return number


def scaled(time_scales: PyTree | None, velocity: Params) -> Params:
    """A velocity times the time scales.

    Args:
        time_scales: a prefix of the velocity, each scale one number or of its leaf's shape; None for 1.
        velocity: a pytree.

    Returns:
        A pytree like the velocity.

    Raises:
        ValueError: the time scales do not fit.
    """
    if time_scales is None:
        return velocity

    def times(scale: Array, part: Array) -> Array:
        if scale.shape not in ((), part.shape):
            raise ValueError(f"a time scale must be one number or of the shape of its parameters, {part.shape}, not {scale.shape}.")
        return scale.astype(part.dtype) * part

    if not _is_prefix(time_scales, velocity):
        given, needed = (
            ", ".join(jtu.keystr(path, simple=True, separator=".") for path in _paths(tree)) for tree in (time_scales, velocity)
        )
        raise ValueError(
            f"time_scales must give a number to each of the parameters {needed}, or to a subtree of them, but gives one to "
            f"{given or 'nothing'}: write 1.0 for those left alone."
        )
    return jax.tree.map(lambda scale, part: jax.tree.map(lambda leaf: times(scale, leaf), part), time_scales, velocity)


def _paths(tree: PyTree) -> list[Any]:
    return [path for path, _ in jtu.tree_leaves_with_path(tree)]


def _is_prefix(prefix: PyTree, full: PyTree) -> bool:
    try:
        jax.tree.map(lambda _, part: None, prefix, full)
    except (ValueError, TypeError):
        return False
    return True


def check_outputs(f: Any) -> None:
    """Refuses outputs that are no real floats.

    Args:
        f: what a network returned.

    Raises:
        ValueError: they are complex, integers or no array.
    """
    if not hasattr(f, "dtype"):
        raise ValueError(f"apply(params, x) must return an array of outputs, not a {type(f).__name__}.")
    if jnp.issubdtype(f.dtype, jnp.complexfloating):
        raise ValueError("apply(params, x) returns complex outputs: give real and imaginary parts as outputs of their own.")
    if not jnp.issubdtype(f.dtype, jnp.floating):
        raise ValueError(f"apply(params, x) must return real floats, but returns {f.dtype}.")
