"""Every public name has its place in the reference."""

import inspect
import re
from pathlib import Path

import pytest

import jaxdyn as jd

PAGES = Path(__file__).parents[2] / "docs" / "reference"
DIRECTIVE = re.compile(r"^::: (?P<module>\S+)\n(?:    options:\n      members: \[(?P<members>[^\]]*)\])?", re.MULTILINE)


def documented() -> dict[str, set[str] | None]:
    """Module to the names of it that are shown; None where all are."""
    found = {}
    for page in PAGES.glob("*.md"):
        for match in DIRECTIVE.finditer(page.read_text()):
            found[match["module"]] = None if match["members"] is None else {name.strip() for name in match["members"].split(",")}
    return found


@pytest.mark.parametrize("space", [jd, jd.data, jd.flows, jd.losses, jd.measure, jd.models], ids=lambda space: space.__name__)
def test_public_names_are_documented(space):
    pages = documented()
    names = dir(space)  # which knows of names that are not imported yet
    assert len(names) > 5
    for name in names:
        thing = getattr(space, name)
        if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert thing.__module__ in pages, f"{thing.__module__} of {name} is on no page of docs/reference"
        shown = pages[thing.__module__]
        assert shown is None or name in shown, f"{name} is left out of docs/reference"


def test_what_is_documented_exists():
    import importlib

    for module, names in documented().items():
        for name in names or ():
            assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
