"""Names of a package that are imported when they are first asked for (PEP 562), so that commands which need no JAX start at once."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any


def on_demand(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`.

    Args:
        package: its `__name__`.
        names: its names that are defined in modules of it, to those modules.

    Returns:
        A function that imports what is asked for: a name of `names`, or a module of the package.
    """

    def find(name: str) -> Any:
        if name in names:
            found = getattr(importlib.import_module(f"{package}.{names[name]}"), name)
            setattr(sys.modules[package], name, found)
            return found
        if not name.startswith("__") and importlib.util.find_spec(f"{package}.{name}") is not None:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
