"""The newest structure of each index: all readers of a store share it, the first that needs more brings it forward."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ghostwire.zqlite.index import log
from ghostwire.zqlite.index.definition import Definition, Kind
from ghostwire.zqlite.index.hashtable import HashTable

if TYPE_CHECKING:
    from collections.abc import Collection

    import apsw

    from ghostwire.zqlite.index.log import Target
    from ghostwire.zqlite.index.structure import Structure

FOLLOWS: Final = 4096
"""Rows of the log that are followed at most: behind more of them, the table is read anew."""


@dataclass(slots=True)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    seq: int = -1
    table: int = 0
    structure: Structure | None = None


class Shared:
    """Structures by definition, each as it was after one row of the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[Definition, _Slot] = {}

    def at(self, connection: apsw.Connection, target: Target, moment: int) -> Structure:
        """The index at the moment of the connection's transaction, whose newest row of the log is `moment`."""
        assert target.table is not None  # noqa: S101 (a store with a log knows its tables)
        with self._lock:
            slot = self._slots.setdefault(target.definition, _Slot())
        with slot.lock:
            if slot.seq <= moment:
                structure = _follow(connection, target, slot, moment) or build(connection, target)
                slot.seq, slot.table, slot.structure = moment, target.table.id, structure
                return structure
        return build(connection, target)  # others are ahead of this transaction: it has its own

    def keep(self, there: Collection[Definition], moment: int) -> None:
        """Forget the indexes that are not there any more at `moment`."""
        with self._lock:
            for gone in [known for known, slot in self._slots.items() if known not in there and slot.seq <= moment]:
                del self._slots[gone]


def build(connection: apsw.Connection, target: Target) -> Structure:
    """From the table, as the connection sees it."""
    return _type(target.definition.kind).build(log.rows(connection, target))


def _type(kind: Kind) -> type[Structure]:
    """Imported when first asked for: most stores have no such index, and numpy and roaring take memory."""
    if kind is Kind.BITMAP:
        from ghostwire.zqlite.index.bitmaps import Bitmaps

        return Bitmaps
    if kind is Kind.CIDR:
        from ghostwire.zqlite.index.prefixes import Prefixes

        return Prefixes
    return HashTable


def _follow(connection: apsw.Connection, target: Target, slot: _Slot, moment: int) -> Structure | None:
    """Bring a slot's structure to `moment` by the log; None where that cannot be, or costs more than building it."""
    if slot.structure is None or target.table is None or slot.table != target.table.id or moment - slot.seq > FOLLOWS:
        return None
    if slot.seq == moment:
        return slot.structure
    changes = log.changes(connection, target, slot.seq, moment)
    if changes is None:
        return None
    return slot.structure.changed(changes) if changes else slot.structure
