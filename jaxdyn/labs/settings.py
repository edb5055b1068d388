"""Settings of labs: each declares its default, its allowed range and its small values, and all that is wrong is said at once."""

import dataclasses
import difflib
import math
import numbers
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Self

Preset = Literal["quick", "tiny"]
PRESETS: tuple[Preset, ...] = ("quick", "tiny")
"""`quick` takes under a minute on two cores; `tiny` is for tests: both leave runs out."""


@dataclasses.dataclass(frozen=True)
class Allowed:
    """What a setting may be, beyond its type; of a tuple, what its entries may be.

    Attributes:
        least: the smallest value.
        most: the largest value.
        above: all values are above it.
        below: all values are below it.
        even: whether integers must be even.
        options: the values that there are; any, if empty.
        entries: of a tuple, the smallest number of entries.
        order: of a tuple: "rising", "falling" or "different".
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    even: bool = False
    options: tuple[Any, ...] = ()
    entries: int = 0
    order: Literal["", "rising", "falling", "different"] = ""

    def words(self, kind: Any) -> str:
        """The allowed values in words.

        Args:
            kind: the setting's type.

        Returns:
            `an integer of at least 2`, `2 or more numbers above 0 in rising order, separated by commas`.
        """
        inner = typing.get_args(kind)
        if typing.get_origin(kind) is not tuple:
            bounds = self._bounds()
            return f"{self._one(kind)}{' ' if bounds else ''}{bounds}"
        if inner[-1] is not Ellipsis:
            return f"({', '.join(KINDS[one][1] for one in inner)})"
        many = f"{self.entries} or more " if self.entries > 1 else ""
        each = f"pairs {_pair(inner[0])}" if typing.get_origin(inner[0]) is tuple else self._many(inner[0])
        order = {"": "", "different": ", all different"}.get(self.order, f" in {self.order} order")
        bounds = self._bounds()
        return f"{many}{each}{' ' if bounds else ''}{bounds}{order}{'' if self.entries else ' (or none)'}, separated by commas"

    def _one(self, kind: Any) -> str:
        if self.options:
            return f"one of {', '.join(map(str, self.options))}"
        return f"an even {KINDS[int][1]}" if self.even else KINDS[kind][0]

    def _many(self, kind: Any) -> str:
        if self.options:
            return f"entries out of {', '.join(map(str, self.options))}"
        return f"{'even ' if self.even else ''}{KINDS[kind][1]}s"

    def _bounds(self) -> str:
        lower = f"above {self.above:g}" if self.above > -math.inf else f"of at least {self.least:g}" if self.least > -math.inf else ""
        upper = f"below {self.below:g}" if self.below < math.inf else f"at most {self.most:g}" if self.most < math.inf else ""
        return " and ".join(filter(None, [lower, upper if lower or not upper.startswith("at") else f"of {upper}"]))

    def fits(self, value: Any, kind: Any) -> bool:
        """Whether a value is allowed.

        Args:
            value: the value.
            kind: the setting's type.

        Returns:
            Whether it is.
        """
        if typing.get_origin(kind) is not tuple:
            return _is_of(value, kind) and self._in_range(value)
        inner = typing.get_args(kind)
        if not isinstance(value, tuple):
            return False
        if inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(map(_is_of, value, inner))
        if len(value) < self.entries or not all(_fits_entry(self, entry, inner[0]) for entry in value):
            return False
        ordered = sorted(set(value), reverse=self.order == "falling")
        return len(ordered) == len(value) and (self.order == "different" or list(value) == ordered) if self.order else True

    def _in_range(self, value: Any) -> bool:
        if isinstance(value, bool | str):
            return not self.options or value in self.options
        in_bounds = self.least <= value <= self.most and self.above < value < self.below
        return in_bounds and not (self.even and value % 2) and (not self.options or value in self.options)


KINDS = {int: ("an integer", "integer"), float: ("a number", "number"), bool: ("true or false", "truth value"), str: ("a text", "text")}
"""What a value of each type is called, with and without its article."""


def _pair(kind: Any) -> str:
    return f"({', '.join(KINDS[one][1] for one in typing.get_args(kind))})"


def _fits_entry(allowed: Allowed, entry: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        good = isinstance(entry, tuple) and len(entry) == len(inner)
        return good and all(_is_of(one, of) and allowed._in_range(one) for one, of in zip(entry, inner, strict=True))
    return _is_of(entry, kind) and allowed._in_range(entry)


def _is_of(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def setting(default: Any, text: str, *, quick: Any = dataclasses.MISSING, tiny: Any = dataclasses.MISSING, **allowed: Any) -> Any:
    """A field of a lab's settings.

    Args:
        default: its value.
        text: what the command line says of it.
        quick: its value with `--quick`; the default's, if it is left out.
        tiny: its value with `--tiny`; that of `--quick`, if it is left out.
        **allowed: the fields of `Allowed`.

    Returns:
        The field.
    """
    quick = default if quick is dataclasses.MISSING else quick
    tiny = quick if tiny is dataclasses.MISSING else tiny
    return dataclasses.field(default=default, metadata={"help": text, "quick": quick, "tiny": tiny, "allowed": Allowed(**allowed)})


@dataclasses.dataclass(frozen=True)
class LabSettings:
    """The base of the settings of every lab: a frozen dataclass whose fields are made by `setting`, `seeds` among them."""

    def __post_init__(self) -> None:
        """Turns lists into tuples, and refuses what is not allowed.

        Raises:
            ValueError: all that is wrong, one sentence a line.
        """
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        found = self._faults()
        if found:
            raise ValueError("\n".join(found))

    def _faults(self) -> list[str]:
        kinds = types_of(type(self))
        fits = {}
        for field in dataclasses.fields(self):
            fits[field.name] = field.metadata["allowed"].fits(getattr(self, field.name), kinds[field.name])
        wrong = [must_be(type(self), name, getattr(self, name)) for name, good in fits.items() if not good]
        return wrong + list(self.conflicts(lambda *names: all(fits[name] for name in names)))

    def conflicts(self, fit: Callable[..., bool]) -> Iterator[str]:
        """What is wrong with settings that are allowed one by one but not together.

        Args:
            fit: whether all settings of these names are allowed by themselves; others must not be looked at.

        Yields:
            Sentences.
        """
        yield from ()

    @classmethod
    def preset(cls, name: Preset | None) -> Self:
        """The settings of `--quick` or `--tiny`.

        Args:
            name: which; None gives the defaults.

        Returns:
            The settings.

        Raises:
            ValueError: there is no such preset.
        """
        if name is None:
            return cls()
        if name not in PRESETS:
            raise ValueError(f"preset={name!r} must be one of {', '.join(PRESETS)}, or None for the settings of the published results.")
        return cls(**{field.name: field.metadata[name] for field in dataclasses.fields(cls)})


def _plain(value: Any) -> Any:
    """A value with tuples for lists and arrays, and Python's numbers for numpy's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def types_of(settings: type) -> dict[str, Any]:
    """The types of a lab's settings.

    Args:
        settings: their class.

    Returns:
        Names to types.
    """
    return typing.get_type_hints(settings)


def must_be(settings: type, name: str, value: Any) -> str:
    """The sentence on a value that is not allowed.

    Args:
        settings: the class of the settings.
        name: the setting.
        value: the value, or what was typed.

    Returns:
        The sentence.
    """
    return f"{name}={_shown(value)} must be {allowed_words(settings, name)}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def allowed_words(settings: type, name: str) -> str:
    """What a setting may be, in words.

    Args:
        settings: the class of the settings.
        name: the setting.

    Returns:
        The words.
    """
    (field,) = (field for field in dataclasses.fields(settings) if field.name == name)
    return field.metadata["allowed"].words(types_of(settings)[name])


def changed(lab: str, settings: Any, changes: Mapping[str, Any], wrong: Iterable[str] = ()) -> Any:
    """Settings with some of them replaced.

    Args:
        lab: the lab's name, for the sentences.
        settings: an object of the lab's settings class.
        changes: names to values.
        wrong: what is known to be wrong already, to be said together with what is found here.

    Returns:
        An object of the same class.

    Raises:
        ValueError: all that is wrong, one sentence a line.
    """
    names = [field.name for field in dataclasses.fields(settings)]
    said = list(wrong)
    for name in changes:
        if name not in names:
            said.append(f"{lab} has no setting {name!r}{closest(name, names)}: its settings are {', '.join(names)}.")
    try:
        found = dataclasses.replace(settings, **{name: value for name, value in changes.items() if name in names})
    except ValueError as error:
        said += str(error).splitlines()
        found = None
    if said:
        raise ValueError("\n".join(said))
    return found


def closest(name: str, names: Iterable[str]) -> str:
    """A question whether the nearest of some names was meant.

    Args:
        name: what was typed.
        names: those that there are.

    Returns:
        The question in brackets, empty where no name is near.
    """
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
