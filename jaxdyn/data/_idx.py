"""Files of the IDX format, which MNIST comes in: a header of big-endian integers, then one byte a value."""

import gzip
import math
import struct
import zlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np

_PIECE = 1 << 20
"""Bytes read at once, so that a header that promises too much takes no memory."""


def _found(folder: Path, stem: str, rank: int) -> Path:
    names = [f"{stem}{dash}idx{rank}-ubyte{gz}" for gz in ("", ".gz") for dash in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"there is no {names[0]} in {folder}, with or without .gz; put the file there or name its folder.")


def read_idx(folder: str | PathLike[str], stem: str, rank: int, expected: int | None = None, kept: np.ndarray | None = None) -> np.ndarray:
    """The unsigned bytes of one IDX file, all of them or the items kept, read in pieces and checked to the last byte.

    Args:
        folder: where the file is.
        stem: the beginning of its name, such as `train-images`.
        rank: the number of dimensions that it must have, the items among them.
        expected: the number of items that it must have; None for any.
        kept: the places of the items to return, rising; None for all.

    Returns:
        An array of unsigned bytes, one item a row.

    Raises:
        ValueError: if the file is missing, not of this format, of other dimensions, too short, too long or a broken archive.
    """
    path = _found(Path(folder), stem, rank)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            return _items(file.read, path, rank, expected, kept)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file ({error}); fetch it again.") from error


def _items(read: Callable[[int], bytes], path: Path, rank: int, expected: int | None, kept: np.ndarray | None) -> np.ndarray:
    header = read(4 + 4 * rank)
    if len(header) < 4 + 4 * rank:
        raise ValueError(f"{path} ends within its header; fetch it again.")
    if header[:4] != bytes((0, 0, 8, rank)):
        magic = int.from_bytes(header[:4], "big")
        raise ValueError(f"{path} begins with {magic}, not with {2048 + rank}, so it is no such file; look for it under another name.")
    number, *sides = struct.unpack(f">{rank}I", header[4:])
    size = math.prod(sides)
    if number == 0 or size == 0:
        raise ValueError(f"{path} holds nothing, its dimensions are {(number, *sides)}; fetch it again.")
    if expected is not None and number != expected:
        raise ValueError(f"{path} holds {number} items for {expected} labels; take both files from the same set.")
    wanted = None if kept is None else np.zeros(number, bool)
    if wanted is not None:
        wanted[kept] = True
    pieces, done = [], 0
    while done < number:
        count = min(max(_PIECE // size, 1), number - done)
        values = _exactly(read, count * size, path).reshape(count, *sides)
        pieces.append(values if wanted is None else values[wanted[done : done + count]])
        done += count
    if read(1):
        raise ValueError(f"{path} is longer than its header says; fetch it again.")
    return np.concatenate(pieces)


def _exactly(read: Callable[[int], bytes], count: int, path: Path) -> np.ndarray:
    got = bytearray()
    while len(got) < count:
        piece = read(min(count - len(got), _PIECE))
        if not piece:
            raise ValueError(f"{path} is shorter than its header says; fetch it again.")
        got += piece
    return np.frombuffer(got, np.uint8)
