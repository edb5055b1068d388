"""Where two descriptions differ."""

from typing import Any

OF_CODE = ("uses", "globals", "closure", "defaults")
"""Keys under which stands what code reads, to which 1, 1.0 and True are not the same."""


def first_difference(old: Any, new: Any, path: str = "", in_code: bool = False) -> tuple[str, Any, Any] | None:
    """Where two descriptions differ first.

    Args:
        old: a description.
        new: another.
        path: where they stand, for nested ones.
        in_code: whether code reads them.

    Returns:
        The path and both values; None if they are equal.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                return below, old.get(key, "nothing"), new.get(key, "nothing")
            found = first_difference(old[key], new[key], below, in_code or key in OF_CODE)
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for k, (a, b) in enumerate(zip(old, new, strict=True)):
            found = first_difference(a, b, f"{path}[{k}]", in_code)
            if found:
                return found
        return None
    kinds_differ = type(old) is not type(new) if in_code else isinstance(old, bool) is not isinstance(new, bool)
    same = (old == new and not kinds_differ) or (old != old and new != new)
    return None if same else (path, old, new)


def short(value: Any) -> str:
    """A value in at most 80 characters of one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def named_difference(old: Any, new: Any, path: str = "") -> str | None:
    """The first difference of two descriptions in words.

    Args:
        old: a description.
        new: another.
        path: where they stand.

    Returns:
        Such as "t1 = 1.0, not 2.0"; None if they are equal.
    """
    found = first_difference(old, new, path)
    return None if found is None else f"{found[0]} = {short(found[1])}, not {short(found[2])}"
