"""Labs and their settings by what was typed."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..labs.base import Lab

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
        raise ValueError(f"There is no lab {name!r}{_closest(wanted, labs)}: the labs are {', '.join(labs)}.")
    return labs[wanted]


def make_settings(lab: Lab, assignments: Sequence[str], seeds: int | None = None) -> Any:
    """Settings of a lab from `name=value` texts.

    Args:
        lab: the lab.
        assignments: each `name=value`.
        seeds: the number of seeds, if it was given apart.

    Returns:
        An object of the lab's settings class.

    Raises:
        ValueError: there is no such setting, a value does not fit its type, or one is given twice.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise ValueError(f"--set takes name=value, not {assignment!r}: write --set {name}=VALUE.")
        if name in found:
            raise ValueError(f"--set {name} is given twice: name each setting once.")
        found[name] = parse(name, text.strip(), _type_of(lab, name))
    if seeds is not None:
        if "seeds" in found:
            raise ValueError("--seeds and --set seeds are the same: give one of them.")
        _type_of(lab, "seeds")
        found["seeds"] = seeds
    return lab.settings(**found)


def restore_settings(lab: Lab, stored: Mapping[str, Any]) -> Any:
    """Settings of a lab from those that were kept as JSON.

    Args:
        lab: the lab.
        stored: names to values, tuples as lists.

    Returns:
        An object of the lab's settings class.
    """
    return lab.settings(**{name: _tuples(value) for name, value in stored.items() if _type_of(lab, name)})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value


def _type_of(lab: Lab, name: str) -> Any:
    hints = typing.get_type_hints(lab.settings)
    names = [field.name for field in dataclasses.fields(lab.settings)]
    if name not in names:
        raise ValueError(f"{lab.name} has no setting {name!r}{_closest(name, names)}: its settings are {', '.join(names)}.")
    return hints[name]


def _closest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def parse(name: str, text: str, kind: Any) -> Any:
    """A text as a value of a type.

    Args:
        name: the setting's, for the error.
        text: what was typed; tuples are lists with commas.
        kind: bool, int, float, str, a Literal, a tuple of such, or one of them or None.

    Returns:
        The value.

    Raises:
        ValueError: the text does not fit.
    """
    try:
        return _parse(text, kind)
    except ValueError:
        raise ValueError(f"{name} takes {_in_words(kind)}, not {text!r}: write --set {name}=VALUE with one that fits.") from None


def _parse(text: str, kind: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if text.lower() == "none" and type(None) in inner:
            return None
        for option in (option for option in inner if option is not type(None)):
            try:
                return _parse(text, option)
            except ValueError:
                continue
        raise ValueError(text)
    if origin is typing.Literal:
        options = {str(option): option for option in inner}
        return options[text] if text in options else _no(text)
    if origin is tuple or kind is tuple:
        return _parse_tuple(text, inner)
    if kind is bool:
        return True if text.lower() in TRUE else False if text.lower() in FALSE else _no(text)
    if kind in (int, float, str):
        return kind(text)
    return _no(text)


def _parse_tuple(text: str, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    if not inner or inner[-1] is Ellipsis:
        return tuple(_parse(part, inner[0] if inner else str) for part in parts)
    return tuple(_parse(part, kind) for part, kind in zip(parts, inner, strict=True))


def _no(text: str) -> typing.NoReturn:
    raise ValueError(text)


def _in_words(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("none" if option is type(None) else _in_words(option) for option in inner)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        many = inner[-1] is Ellipsis
        each = _in_words(inner[0]).split(" ", 1)[1]
        return f"{'' if many else f'{len(inner)} '}{each}s with commas between them"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}.get(kind, f"a {kind}")
