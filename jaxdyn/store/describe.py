"""Settings as plain JSON, so that a store knows what made it, in any process."""

import dataclasses
import hashlib
import types
from collections.abc import Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np

LARGE = 8
"""Arrays up to this many numbers are written out, larger ones as a hash."""


def describe(thing: Any) -> Any:
    """A canonical description: equal for equal settings, different for different ones.

    Modules are walked field by field; arrays are numbers or a hash of their bytes; a function is its name and a hash of its
    code, so that another lambda of the same name is another setting.

    Args:
        thing: a flow, a solver, a rule, a number, ...

    Returns:
        Dictionaries, lists, strings and numbers.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, jax.Array | np.ndarray | np.generic):
        if isinstance(thing, jax.Array) and jax.dtypes.issubdtype(thing.dtype, jax.dtypes.prng_key):
            return {"key": np.asarray(jax.random.key_data(thing)).tolist()}
        array = np.asarray(thing)
        if array.ndim == 0:
            return array.item()
        if array.size <= LARGE:
            return array.tolist()
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
        return f"{array.dtype}{list(array.shape)}:{digest}"
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(value) for value in thing]
    if isinstance(thing, partial):
        return {"partial": describe(thing.func), "args": describe(thing.args), "keywords": describe(thing.keywords)}
    if isinstance(thing, types.MethodType):
        return {"method": thing.__func__.__qualname__, "of": describe(thing.__self__)}
    if isinstance(thing, types.FunctionType):
        return _describe_function(thing)
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, eqx.Module) or dataclasses.is_dataclass(thing):
        fields = {field.name: describe(getattr(thing, field.name, None)) for field in dataclasses.fields(thing)}
        return {"type": type(thing).__qualname__} | fields
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    return str(name) if name else type(thing).__qualname__


def _describe_function(function: types.FunctionType) -> dict[str, Any]:
    code = function.__code__
    inner = [c.co_code if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    digest = hashlib.sha256(repr((code.co_code, inner, code.co_names)).encode()).hexdigest()[:16]
    found: dict[str, Any] = {"function": f"{function.__module__}.{function.__qualname__}", "code": digest}
    if function.__closure__:
        found["closure"] = [describe(cell.cell_contents) for cell in function.__closure__]
    return found


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
