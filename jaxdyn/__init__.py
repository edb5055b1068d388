"""Gradient-flow dynamics of neural networks: flows as pure functions, solved for thousands of seeds at once.

Everything is imported when it is first used: `jaxdyn --help` need not wait for JAX. The public names are those of `_public.py`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._lazy import on_demand

if TYPE_CHECKING:
    from ._public import *  # noqa: F403

_find_module = on_demand(__name__, {})


class _Package(ModuleType):
    """The package, in which `solve` is the function although there is a subpackage of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Whoever imports the subpackage must not thereby replace the function."""
        if not (name == "solve" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name != "solve":
        try:
            return _find_module(name)
        except AttributeError:
            if name.startswith("_"):
                raise
    from . import _public

    if not hasattr(_public, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(_public, name)
    return found


def __dir__() -> list[str]:
    from . import _public

    return sorted(name for name in vars(_public) if not name.startswith("_"))
