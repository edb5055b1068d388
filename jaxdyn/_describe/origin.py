"""Where code is from: the user's own, or a package that is installed and counts by name and version."""

import hashlib
import importlib
import importlib.metadata
import os
import sys
import sysconfig
import types
from functools import lru_cache
from pathlib import Path
from typing import Any

from .._platform import PACKAGES

JAXDYN = str(Path(__file__).resolve().parents[1])
STANDARD = tuple({os.path.realpath(sysconfig.get_path(key)) for key in ("stdlib", "platstdlib")})
INSTALLED = ("site-packages", "dist-packages")


@lru_cache(maxsize=4096)
def package_of_file(name: str) -> str | None:
    """The installed package that a file is of, "python" for the standard library; None for others."""
    if name.startswith("<frozen "):
        return "python"
    path = os.path.realpath(name)
    if path.startswith(JAXDYN + os.sep):
        return "jaxdyn"
    parts = path.split(os.sep)
    for folder in INSTALLED:
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].split(".")[0]
    return "python" if path.startswith(tuple(folder + os.sep for folder in STANDARD)) else None


def package_of_module(name: Any) -> str | None:
    """The installed package of a module by name."""
    if not isinstance(name, str) or name == "__main__":
        return None
    module, top = sys.modules.get(name), name.split(".")[0]
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return package_of_file(file)
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return "python"
    folders = getattr(module, "__path__", None)  # a package without a file of its own
    return next((package_of_file(os.path.join(folder, "x")) for folder in folders or ()), None)


def package_of(thing: Any) -> str | None:
    """The installed package that a function, class or module is of.

    Args:
        thing: a function, class, module, or something compiled.

    Returns:
        Its top-level name, "python" for the standard library; None for the user's own.
    """
    if isinstance(thing, types.FunctionType):
        file = thing.__code__.co_filename
        # a decorator gives its function another module, and generated code has no file
        return (
            package_of_module(thing.__globals__.get("__name__"))
            if file.startswith("<") and not file.startswith("<frozen")
            else package_of_file(file)
        )
    if isinstance(thing, types.ModuleType):
        return package_of_module(thing.__name__)
    module = getattr(thing, "__module__", None)
    if module is None and isinstance(getattr(thing, "__objclass__", None), type):
        module = thing.__objclass__.__module__
    return package_of_module(module or type(thing).__module__)


@lru_cache(maxsize=4096)
def with_version(package: str) -> str:
    """A package and its version.

    The packages whose versions a store keeps anyway are named without: another version of those is a warning, not another setting.

    Args:
        package: its top-level name.

    Returns:
        Such as "jax", or "sklearn 1.5.0".
    """
    if package in PACKAGES or package == "python":
        return package
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return f"{package} {importlib.import_module(package).__version__}"
    except Exception:  # whatever an import runs into
        owners = importlib.metadata.packages_distributions().get(package)  # takes a second
    return f"{package} {importlib.metadata.version(owners[0])}" if owners else f"{package} of unknown version"


@lru_cache(maxsize=256)
def file_digest(path: str, changed: float) -> str:
    """A hash of a file.

    Args:
        path: which.
        changed: when it was changed, so that a new one is read again.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


@lru_cache(maxsize=1)
def source_digest() -> str | None:
    """A hash of jaxdyn's own source, where it is not installed but worked on, so that its version says little; None otherwise."""
    if any(folder in JAXDYN.split(os.sep) for folder in INSTALLED):
        return None
    total = hashlib.sha256()
    for path in sorted(Path(JAXDYN).rglob("*.py")):
        total.update(path.relative_to(JAXDYN).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]
