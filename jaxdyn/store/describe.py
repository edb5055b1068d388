"""Settings as plain JSON, so that a store knows what made it, in any process."""

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

LARGE = 8
"""Arrays up to this many numbers are written out, larger ones as a hash."""


def describe(thing: Any) -> Any:
    """A canonical description: equal for equal settings, different for different ones.

    Modules are walked field by field; arrays are numbers or a hash of their bytes; a function is its name and a hash of its
    code, with its defaults and the values that it takes from around it, so that another lambda of the same name is another setting.

    Args:
        thing: a flow, a solver, a rule, a number, ...

    Returns:
        Dictionaries, lists, strings and numbers.
    """
    return _describe(thing, ())


def _describe(thing: Any, above: tuple[int, ...]) -> Any:
    if isinstance(thing, enum.Enum):
        return thing.name
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, complex | bytes):
        return repr(thing)
    if isinstance(thing, jax.Array | np.ndarray | np.generic):
        return _describe_array(thing)
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if id(thing) in above:
        return "itself"

    def inner(part: Any) -> Any:
        return _describe(part, (*above, id(thing)))

    if isinstance(thing, Mapping):
        return {str(key): inner(value) for key, value in thing.items()}
    if isinstance(thing, set | frozenset):
        return sorted((inner(value) for value in thing), key=repr)
    if isinstance(thing, list | tuple):
        return [inner(value) for value in thing]
    if isinstance(thing, functools.partial):
        return {"partial": inner(thing.func), "args": inner(thing.args), "keywords": inner(thing.keywords)}
    if isinstance(thing, types.MethodType):
        return {"method": thing.__func__.__qualname__, "of": inner(thing.__self__)}
    if isinstance(thing, types.FunctionType):
        return _describe_function(thing, inner)
    if callable(thing) and callable(getattr(thing, "__wrapped__", None)):  # jax.jit and its like
        return {"wrapped": type(thing).__qualname__, "function": inner(thing.__wrapped__)}
    if isinstance(thing, eqx.Module) or dataclasses.is_dataclass(thing):
        fields = {field.name: inner(getattr(thing, field.name, None)) for field in dataclasses.fields(thing)}
        return {"type": type(thing).__qualname__} | fields
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if name or isinstance(thing, types.ModuleType) or not hasattr(thing, "__dict__"):
        return str(name or type(thing).__qualname__)
    return {"type": type(thing).__qualname__} | inner(vars(thing))


def _describe_array(thing: Any) -> Any:
    if isinstance(thing, jax.Array) and jnp.issubdtype(thing.dtype, jax.dtypes.prng_key):
        return {"key": np.asarray(jax.random.key_data(thing)).tolist()}
    array = np.asarray(thing)
    if array.size <= LARGE:
        return array.tolist()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"{array.dtype}{list(array.shape)}:{digest}"


def _code(code: types.CodeType, documentation: str | None = None) -> list[Any]:
    """What a piece of code does, without where it stands."""

    def plain(constant: Any) -> Any:
        if isinstance(constant, types.CodeType):
            return _code(constant)
        return sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)

    constants = [plain(c) for k, c in enumerate(code.co_consts) if k or documentation is None or c != documentation]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames[: code.co_argcount])]


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*inner)


def _describe_function(function: types.FunctionType, inner: Any) -> dict[str, Any]:
    digest = hashlib.sha256(repr(_code(function.__code__, function.__doc__)).encode()).hexdigest()[:16]
    # without its module: a script's functions have another one when they are imported
    found: dict[str, Any] = {"function": function.__qualname__, "code": digest}
    if function.__closure__:
        found["closure"] = [inner(_contents(cell)) for cell in function.__closure__]
    if function.__defaults__ or function.__kwdefaults__:
        found["defaults"] = inner([function.__defaults__, function.__kwdefaults__])
    # constants of its module; functions and classes there go by the name that the code has them under
    plain = (bool, int, float, complex, str, jax.Array, np.ndarray, np.generic)
    values = {name: function.__globals__.get(name) for name in sorted(_names(function.__code__))}
    around = {name: inner(value) for name, value in values.items() if isinstance(value, plain)}
    return found | ({"globals": around} if around else {})


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def first_difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Where two descriptions differ first.

    Args:
        old: a description.
        new: another.
        path: where they stand, for nested ones.

    Returns:
        The path and both values; None if they are equal.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                return below, old.get(key, "nothing"), new.get(key, "nothing")
            found = first_difference(old[key], new[key], below)
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for k, (a, b) in enumerate(zip(old, new, strict=True)):
            found = first_difference(a, b, f"{path}[{k}]")
            if found:
                return found
        return None
    same = old == new or (old != old and new != new)
    return None if same else (path, old, new)
