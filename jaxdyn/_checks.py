"""Checks of arguments that all layers share: what is traced passes, and nonsense is a `ValueError` of one sentence."""

import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray

P = ParamSpec("P")
T = TypeVar("T")

REMEMBERED = 128
"""Answers that `once` keeps for each function."""
LARGEST_COUNT = 2**31 - 1
"""No count that decides shapes is larger: an array of so many numbers takes 16 GB."""
_PACKAGE = str(Path(__file__).parent)


def is_concrete(*values: Any) -> bool:
    """Whether no leaf of these pytrees is traced."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check_untraced(what: str, *values: Any) -> None:
    """Refuses to run a function of the host under jit, vmap or a derivative.

    Args:
        what: its name.
        *values: what it was given; a dictionary's values count.

    Raises:
        ValueError: a value is traced, or all of the call is.
    """
    flat = [list(value.values()) if isinstance(value, dict) else value for value in values]
    if not is_concrete(*flat) or isinstance(jnp.zeros(()), Tracer):
        raise ValueError(
            f"{what} runs on the host, outside of jax.grad, jax.vmap and jax.jit: use jaxdyn.solve or jaxdyn.polish there, which can be "
            "differentiated, mapped and compiled."
        )


def shown(value: Any) -> str:
    """A value as text for an error: one line of at most 60 characters; an array without axes is shown as its number."""
    scalar = isinstance(value, np.generic | np.ndarray | jax.Array) and not isinstance(value, Tracer) and is_real(value)
    text = str(np.asarray(value)) if scalar else repr(value)
    return f"{' '.join(text.split()):.60}"


def is_real(value: Any) -> bool:
    """Whether a value is one real number: a Python or numpy number or an array without axes, and no truth value."""
    if isinstance(value, np.ndarray | jax.Array):
        return value.ndim == 0 and (jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer))
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_number(name: str, value: Any, expected: str, fits: Callable[[Any], Any] = lambda value: True) -> None:
    """Lets a tracer, and one finite real number that fits, pass.

    Args:
        name: what the caller calls it.
        value: what the caller gave.
        expected: what it must be, in words.
        fits: whether a finite number does.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(value, Tracer):
        return
    # under jit a comparison of a jax array is traced even where the array is known
    if not (is_real(value) and np.isfinite(value) and fits(np.asarray(value)[()])):
        raise ValueError(f"{name}={shown(value)} must be {expected}.")


def check_positive(name: str, value: Any) -> None:
    """Lets a tracer, and one positive finite number, pass."""
    check_number(name, value, "positive and finite", lambda number: number > 0)


def check_not_negative(name: str, value: Any) -> None:
    """Lets a tracer, and one finite number that is zero or positive, pass."""
    check_number(name, value, "zero or positive, and finite", lambda number: number >= 0)


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Lets a tracer, and one whole number, pass; a float such as 1e6 is one.

    A `ValueError` is raised where it is anything else.

    Args:
        name: what the caller calls it.
        value: what the caller gave.
        least: the smallest number that is allowed.
    """
    check_number(name, value, f"at least {least} and a whole number", lambda number: number >= least and number == np.floor(number))


def check_count(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A count that decides shapes, so it must be known before compilation.

    Args:
        name: what the caller calls it.
        value: an integer, of Python, numpy or an array without axes.
        least: the smallest that is allowed.
        most: the largest that is allowed; None for 2^31 - 1.

    Returns:
        The value as a Python int.

    Raises:
        ValueError: it is anything else.
    """
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or number > (LARGEST_COUNT if most is None else most):
        enough = most is None and (number is None or number < least)
        wanted = f"of at least {least}" if enough else f"from {least} to {LARGEST_COUNT if most is None else most}"
        raise ValueError(f"{name} must be an integer {wanted}; {shown(value)} was given.")
    return number


def check_flag(name: str, value: Any) -> bool:
    """A switch.

    Args:
        name: what the caller calls it.
        value: True or False, of Python, numpy or an array without axes.

    Returns:
        The value as a Python bool.

    Raises:
        ValueError: it is anything else, such as text or a number.
    """
    array = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer) and value.ndim == 0 and value.dtype == bool
    if not (isinstance(value, bool | np.bool_) or array):
        raise ValueError(f"{name}={shown(value)} must be True or False.")
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of several names.

    Args:
        name: what the caller calls it.
        value: what the caller gave.
        choices: what is allowed.

    Returns:
        The value.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={shown(value)} must be one of {', '.join(map(repr, choices))}.")
    return value


def check_key(key: Any, name: str = "key") -> PRNGKeyArray:
    """A single random key, of the new kind or the old one (two or four unsigned integers).

    Args:
        key: what the caller gave.
        name: what the caller calls it.

    Returns:
        The key.

    Raises:
        ValueError: it is anything else, such as an integer.
    """
    dtype, shape = getattr(key, "dtype", None), np.shape(key) if hasattr(key, "shape") else None
    new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    old = dtype is not None and dtype == np.uint32 and shape in ((2,), (4,))
    if not (new or old):
        raise ValueError(f"{name}={shown(key)} is not a single random key: make one with jax.random.key(0).")
    return key


def check_function(name: str, value: Any, arguments: Sequence[str]) -> None:
    """Refuses what cannot be called with positional arguments.

    Args:
        name: what the caller calls it.
        value: what the caller gave.
        arguments: what it is called with, in words.

    Raises:
        ValueError: it is no function, a class, or takes other arguments.
    """
    call = f"({', '.join(arguments)})"
    if not callable(value):
        raise ValueError(f"{name} must be a function {call}, not {shown(value)}.")
    if isinstance(value, type):
        raise ValueError(f"{name} must be a function {call}, not the class {value.__name__}: make an instance of it.")
    if not takes(value, len(arguments)):
        raise ValueError(f"{name} must be a function {call}, but {shown(value)} does not take {len(arguments)} positional arguments.")


def takes(function: Callable, number: int) -> bool:
    """Whether a function can be called with so many positional arguments; True where its signature is not known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * number)
    except TypeError:
        return False
    return True


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what a caller's own function raises into one sentence; errors that jaxdyn raises itself pass.

    Args:
        what: what went wrong, in words.

    Yields:
        Nothing.

    Raises:
        ValueError: something was raised inside.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and is_own(error):
            raise
        said = " ".join(str(error).split())
        raise ValueError(f"{what}: {type(error).__name__}: {said:.300}") from error


def plainly(function: Callable[P, T]) -> Callable[P, T]:
    """A function whose failures on wrong arguments are sentences: what is raised within, by jax or numpy, is a `ValueError` with its name.

    Args:
        function: any.

    Returns:
        The same function.
    """
    what = f"{function.__qualname__.removesuffix('.__call__')} does not take these arguments"

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with explained(what):
            return function(*args, **kwargs)

    return call


def is_own(error: BaseException) -> bool:
    """Whether an error was raised by code of this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def looks_of(tree: Any) -> tuple[Any, tuple]:
    """The structure of a pytree, and its leaves with shapes and dtypes in place of arrays."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple(
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array | np.ndarray) else leaf for leaf in leaves
    )


def once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of shapes that runs once for arguments that look alike.

    Args:
        function: it sees `jax.ShapeDtypeStruct` in place of arrays.

    Returns:
        The same function of arrays.
    """

    @lru_cache(maxsize=REMEMBERED)
    def of_looks(treedef: Any, looks: tuple) -> Any:
        return function(jax.tree.unflatten(treedef, looks))

    @wraps(function)
    def of_arrays(tree: Any) -> Any:
        treedef, looks = looks_of(tree)
        try:
            hash((treedef, looks))
        except TypeError:
            return function(jax.tree.unflatten(treedef, looks))
        return of_looks(treedef, looks)

    return of_arrays
