"""Labs and their settings by what was typed."""

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ..labs.base import Lab, Preset
from ..labs.settings import changed, closest, must_be, types_of

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def find_lab(labs: Mapping[str, Lab], name: str) -> Lab:
    """A lab by its name.

    Args:
        labs: those that exist.
        name: as typed; underscores do as well as dashes.

    Returns:
        The lab.

    Raises:
        ValueError: there is none of that name.
    """
    wanted = name.replace("_", "-").lower()
    if wanted not in labs:
        raise ValueError(f"There is no lab {name!r}{closest(wanted, labs)}: the labs are {', '.join(labs)}.")
    return labs[wanted]


def make_settings(lab: Lab, assignments: Sequence[str], seeds: str | None = None, preset: Preset | None = None) -> Any:
    """Settings of a lab from `name=value` texts; all that is wrong is one ValueError, see `changed`.

    Args:
        lab: the lab.
        assignments: each `name=value`.
        seeds: the number of seeds, if it was given by its own option.
        preset: the settings that are changed; the defaults if None.

    Returns:
        An object of the lab's settings class.
    """
    found: dict[str, Any] = {}
    wrong: list[str] = []
    kinds = types_of(lab.settings)
    pairs = [assignment.partition("=") for assignment in assignments]
    wrong += [f"--set takes name=value, not {name!r}: write --set {name}=VALUE." for name, equals, _ in pairs if not equals]
    names = [name.strip() for name, equals, _ in pairs if equals]
    wrong += [f"--set {name} is given twice: name each setting once." for name in dict.fromkeys(names) if names.count(name) > 1]
    texts = {name.strip(): text.strip() for name, equals, text in pairs if equals}
    if seeds is not None:
        if "seeds" in texts:
            wrong.append("--seeds and --set seeds are the same: give one of them.")
        texts["seeds"] = seeds
    for name, text in texts.items():
        try:
            found[name] = parse(text, kinds[name]) if name in kinds else text
        except ValueError:
            wrong.append(must_be(lab.settings, name, text))
    base = lab.settings.preset(preset)
    return changed(lab.name, base, found, wrong)


def restore_settings(lab: Lab, stored: Mapping[str, Any]) -> Any:
    """Settings of a lab from those that were kept as JSON.

    Args:
        lab: the lab.
        stored: names to values, tuples as lists.

    Returns:
        An object of the lab's settings class.
    """
    return changed(lab.name, lab.settings(), stored)


def parse(text: str, kind: Any) -> Any:
    """A text as a value of a type.

    Args:
        text: what was typed; tuples are lists with commas.
        kind: bool, int, float, str, a Literal, a tuple of such, or one of them or None.

    Returns:
        The value.

    Raises:
        ValueError: the text does not fit.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if text.lower() == "none" and type(None) in inner:
            return None
        for option in (option for option in inner if option is not type(None)):
            try:
                return parse(text, option)
            except ValueError:
                continue
        raise ValueError(text)
    if origin is typing.Literal:
        options = {str(option): option for option in inner}
        return options[text] if text in options else _no(text)
    if origin is tuple:
        return _parse_tuple(text, inner)
    if kind is bool:
        return True if text.lower() in TRUE else False if text.lower() in FALSE else _no(text)
    return kind(text) if kind in (int, float, str) else _no(text)


def _parse_tuple(text: str, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip("()[] ") for part in text.split(",") if part.strip("()[] ")]
    if inner[-1] is not Ellipsis:
        return tuple(parse(part, kind) for part, kind in zip(parts, inner, strict=True))
    if typing.get_origin(inner[0]) is not tuple:
        return tuple(parse(part, inner[0]) for part in parts)
    size = len(typing.get_args(inner[0]))
    rows = [parts[k : k + size] for k in range(0, len(parts), size)]
    return tuple(_parse_tuple(",".join(row), typing.get_args(inner[0])) for row in rows)


def _no(text: str) -> typing.NoReturn:
    raise ValueError(text)
