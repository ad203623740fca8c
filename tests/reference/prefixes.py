"""The slow twin of longest-prefix match: look at every prefix, keep the best."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = 0xFFFFFFFF


def longest(prefixes: Sequence[tuple[int, int, int]], address: int, width: int) -> int:
    """The value of the longest prefix (network, length, value) that holds the address; of equals, of the last."""
    best, found = -1, NOTHING
    for network, length, value in prefixes:
        if length >= best and network >> (width - length) == address >> (width - length):
            best, found = length, value
    return found
