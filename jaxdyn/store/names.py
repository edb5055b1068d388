"""Names that a file system and Zarr take."""

from collections.abc import Iterable

FORBIDDEN = frozenset('/\\:*?"<>|')
OWN_FILES = ("zarr.json",)
"""What Zarr writes beside the arrays of a group."""
LENGTH = 120


def check_name(what: str, name: object) -> str:
    """Refuses a name that cannot be that of an array in a store.

    Args:
        what: what is named, for the message.
        name: the name.

    Returns:
        The name.

    Raises:
        ValueError: it is no text, empty, too long, hidden, or has signs that a file cannot have.
    """
    good = (
        isinstance(name, str)
        and 0 < len(name) <= LENGTH
        and name.isprintable()
        and not FORBIDDEN & set(name)
        and not name.startswith((".", "__", "lanes_"))
        and not name.endswith((".", " "))
        and name not in OWN_FILES
    )
    if not good:
        raise ValueError(f"{name!r:.80} is no name for {what}: take letters, digits and underscores, such as 'test_loss'.")
    return str(name)


def check_case(what: str, names: Iterable[str], others: Iterable[str] = ()) -> None:
    """Refuses names that differ in capitals only: many file systems take them for one.

    Args:
        what: what is named, for the message.
        names: the names.
        others: names that are taken already.

    Raises:
        ValueError: two of them do.
    """
    seen = {name.casefold(): name for name in others}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(f"{what} {name!r} differs from {other!r} in capitals only, which many file systems ignore: call it otherwise.")
