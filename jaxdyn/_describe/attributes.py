"""Which attributes of objects, functions and classes count: those that do not follow from others."""

import dataclasses
import enum
import functools
import types
from typing import Any

MADE = ("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__setattr__", "__delattr__", "__replace__")
"""Methods that `dataclass` makes of the fields."""
HEAP = 1 << 9
"""The flag of classes that are made by a class statement (`Py_TPFLAGS_HEAPTYPE`)."""
BOOKKEEPING = frozenset([
    "__module__",
    "__name__",
    "__qualname__",
    "__doc__",
    "__dict__",
    "__weakref__",
    "__wrapped__",
    "__annotations__",
    "__annotate__",
    "__annotations_cache__",
    "__type_params__",
    "__firstlineno__",
    "__static_attributes__",
    "__abstractmethods__",
    "__abstractvars__",
    "__abstractclassvars__",
    "_abc_impl",
    "__match_args__",
    "__dataclass_params__",
    "__dataclass_fields__",
    "__signature__",
    "__orig_bases__",
    "__parameters__",
    "_fun",
    "_jit_info",
    "_ufunc",
])
"""Attributes of functions and classes that follow from others, or say where they stand."""


def attributes_of(thing: Any) -> dict[str, Any]:
    """The attributes of an object without those that it keeps of what was computed.

    Args:
        thing: the object.

    Returns:
        Name to value, those in slots too.
    """
    kind = type(thing)
    own = {name: getattr(thing, name) for name in slots_of(kind) if hasattr(thing, name)} | getattr(thing, "__dict__", {})
    kept = {name for name in own if isinstance(getattr(kind, name, None), functools.cached_property)}
    return {name: value for name, value in own.items() if name not in BOOKKEEPING and name not in kept}


def slots_of(kind: type) -> list[str]:
    """The names of the slots of a class and of those that it inherits from.

    Args:
        kind: the class.

    Returns:
        The names.
    """
    found = [(base.__name__, base.__dict__.get("__slots__", ())) for base in kind.__mro__]
    names = [_mangled(name, of) for of, slots in found for name in ([slots] if isinstance(slots, str) else slots)]
    return [name for name in names if name not in BOOKKEEPING]


def is_plain(kind: type) -> bool:
    """Whether all of an instance is in its attributes, and it is no number, text or container besides.

    Args:
        kind: its class.

    Returns:
        A truth value.
    """
    return next(base for base in kind.__mro__ if not base.__flags__ & HEAP) is object


def body_of(kind: type) -> dict[str, Any]:
    """What a class defines.

    Args:
        kind: the class.

    Returns:
        Name to value; of an enumeration its methods and the values of its members.
    """
    body = dict(vars(kind))
    if dataclasses.is_dataclass(kind):
        body = {key: value for key, value in body.items() if key not in MADE or not _is_generated(value)}
    slots = types.MemberDescriptorType | types.GetSetDescriptorType
    body = {key: value for key, value in body.items() if key not in BOOKKEEPING and not isinstance(value, slots)}
    if issubclass(kind, enum.Enum):
        body = {key: value for key, value in body.items() if isinstance(value, types.FunctionType | property | classmethod | staticmethod)}
        body |= {member.name: member.value for member in kind}
    return body


def _mangled(name: str, of: str) -> str:
    """The attribute that a private name means within a class."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{of.lstrip('_')}{name}" if private and of.strip("_") else name


def _is_generated(value: Any) -> bool:
    return not isinstance(value, types.FunctionType) or value.__code__.co_filename == "<string>"
