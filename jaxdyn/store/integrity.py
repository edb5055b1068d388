"""Checksums: of the attributes of a store, of its list of lanes, and of each block together with where it belongs."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

CHANGING = ("places", "queue", "lane_steps_computed", "seal")
"""Attributes that change while a store is filled; all others say what it is."""


def text_of(content: Any) -> bytes:
    """JSON in one spelling."""
    return json.dumps(content, sort_keys=True).encode()


def seal(attributes: Mapping[str, Any]) -> str:
    """A hash of all attributes of a store but itself.

    Args:
        attributes: by name.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(text_of({key: value for key, value in attributes.items() if key != "seal"})).hexdigest()[:16]


def identity(attributes: Mapping[str, Any]) -> bytes:
    """A hash of what a store is: settings, number of the group, columns, width, versions.

    Args:
        attributes: by name.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(text_of({key: value for key, value in attributes.items() if key not in CHANGING})).digest()


def checksum(of: bytes, where: Any, rows: Mapping[str, np.ndarray]) -> int:
    """A hash of arrays and of where they belong, so that they are found out when they stand elsewhere.

    Args:
        of: the store's identity.
        where: the block's number, its seeds and its cells; plain values.
        rows: the arrays by name.

    Returns:
        A positive integer of 63 bits.
    """
    total = hashlib.blake2b(of, digest_size=8)
    total.update(text_of(where))
    for key in sorted(rows):
        total.update(key.encode())
        total.update(np.ascontiguousarray(rows[key]).tobytes())
    return max(1, int.from_bytes(total.digest(), "little") >> 1)


def checksum_of_format_2(rows: Mapping[str, np.ndarray]) -> int:
    """The checksum of a block, or of a list of lanes, in the second format: of its bytes alone.

    Args:
        rows: the arrays by name.

    Returns:
        1 + their CRC-32.
    """
    total = 0
    for key in sorted(rows):
        total = zlib.crc32(np.ascontiguousarray(rows[key]).tobytes(), zlib.crc32(key.encode(), total))
    return 1 + total
