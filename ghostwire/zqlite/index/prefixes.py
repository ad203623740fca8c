"""Longest prefixes: the smallest network that holds an address, exact for IPv4 and IPv6.

A single address goes through the compiled intervals of `core_ext.prefixes`. What these cannot say (all networks that
hold it; those behind one that was changed since) is probed in a table for each length of prefix that occurs.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np

from ghostwire._native import prefixes as intervals
from ghostwire.zqlite.functions.networks import parse
from ghostwire.zqlite.index.definition import Kind
from ghostwire.zqlite.index.structure import Changes, Overlay, Rows

_BITS: Final = {4: 32, 6: 128}
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


class Prefix(NamedTuple):
    """A network: family, bits of its prefix, first address."""

    version: int
    length: int
    network: int


class Prefixes:
    """The networks of a column. NULL is none."""

    kind: ClassVar = Kind.CIDR
    __slots__ = ("_found", "_four", "_lengths", "_overlay", "_rows", "_six")

    def __init__(self, rows: Mapping[Prefix, tuple[int, ...]], compiled: tuple[Any, Any], overlay: Overlay) -> None:
        self._rows = rows
        self._found = list(rows.values())
        self._four, self._six = compiled
        self._overlay = overlay
        self._lengths = _lengths(rows)

    @classmethod
    def build(cls, rows: Rows) -> Self:
        """From all rows."""
        found: dict[Prefix, tuple[int, ...]] = {}
        for rowid, value in rows:
            if value is not None:
                prefix = read(value)
                found[prefix] = (*found.get(prefix, ()), rowid)
        return cls(found, _compile(found), Overlay())

    def changed(self, changes: Changes) -> Self | None:
        """What takes its place after `changes`."""
        overlay = self._overlay.extended(changes, lambda value: None if value is None else read(value))
        if overlay.outgrows(len(self._rows)):
            return None
        successor = object.__new__(type(self))
        for name in self.__slots__:
            setattr(successor, name, getattr(self, name))
        successor._overlay = overlay
        return successor

    def longest(self, text: str) -> int | None:
        """The row of the longest prefix that holds an address or network; of several rows the one with the least id."""
        asked = read(text)
        if not self._overlay.moved and asked.length == _BITS[asked.version]:
            at = (
                self._four.find(asked.network)
                if asked.version == 4
                else self._six.find(asked.network.to_bytes(16, "big"))
            )
            return None if at == intervals.NOTHING else min(self._found[at])
        return next((rowid for rowid, _ in self._holding(asked)), None)

    def holding(self, text: str) -> list[tuple[int, int]]:
        """Row id and length of every prefix that holds an address or network, the longest first."""
        return list(self._holding(read(text)))

    def _holding(self, asked: Prefix) -> Iterator[tuple[int, int]]:
        overlay = self._overlay
        bits = _BITS[asked.version]
        lengths = set(self._lengths[asked.version])
        lengths.update(prefix.length for prefix in overlay.fresh if prefix.version == asked.version)
        for length in sorted(lengths, reverse=True):
            if length > asked.length:
                continue
            rest = bits - length
            at = Prefix(asked.version, length, asked.network >> rest << rest)
            for rowid in sorted((*overlay.visible(self._rows.get(at, ())), *overlay.fresh.get(at, ()))):
                yield rowid, length


def read(text: Any) -> Prefix:
    """A network or address. Raises ValidationError for what is neither."""
    if isinstance(text, str):
        address, slash, length = text.partition("/")
        version = 6 if ":" in address else 4
        bits = _BITS[version]
        with contextlib.suppress(OSError, ValueError):
            network = int.from_bytes(socket.inet_pton(_FAMILIES[version], address), "big")
            size = int(length) if slash else bits
            if 0 <= size <= bits and not network & ((1 << (bits - size)) - 1):
                return Prefix(version, size, network)
    found = parse(text if isinstance(text, str) else repr(text))
    return Prefix(found.version, found.prefixlen, int(found.network_address))


def _lengths(rows: Mapping[Prefix, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    return {version: tuple({prefix.length for prefix in rows if prefix.version == version}) for version in _BITS}


def _compile(rows: Mapping[Prefix, tuple[int, ...]]) -> tuple[intervals.Prefixes4, intervals.Prefixes6]:
    """Look-ups whose values are positions in `rows`."""
    four = [(prefix.network, prefix.length, at) for at, prefix in enumerate(rows) if prefix.version == 4]
    columns = np.array(four, np.uint32).reshape(-1, 3)
    six = ((prefix.network, prefix.length, at) for at, prefix in enumerate(rows) if prefix.version == 6)
    return intervals.Prefixes4(columns[:, 0], columns[:, 1].astype(np.uint8), columns[:, 2]), intervals.Prefixes6(six)
