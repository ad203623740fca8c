"""What all connections of a store share of its series: the key of their blocks, and the cache of decoded ones."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ghostwire._native import blocks, token
from ghostwire.errors import NotFoundError
from ghostwire.zqlite import sealing
from ghostwire.zqlite.series.directory import Directory
from ghostwire.zqlite.series.schema import Schema

if TYPE_CHECKING:
    import apsw

    from ghostwire.zqlite.series.tail import Tail

CACHE_BYTES: Final = 64 * 1024 * 1024

_PURPOSE: Final = b"ghostwire zqlite blocks"
_FIND: Final = "SELECT id, mark, schema FROM zq_series WHERE name = ?"
_EXISTS: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'zq_series'"


@dataclass(frozen=True, slots=True)
class Known:
    """A series as the store has it. `mark` is random and names it in seals, `owner` in the cache."""

    id: int
    mark: bytes
    schema: Schema
    owner: int

    def place(self, key: int) -> bytes:
        """What the blocks of a key are sealed under."""
        return self.mark + key.to_bytes(8, "big", signed=True)


class Shelf:
    """One of a store."""

    def __init__(self, identity: bytes, secret: bytes, cache_bytes: int = CACHE_BYTES) -> None:
        self.sealer = blocks.Sealer(identity, secret)
        self.cache = blocks.Cache(cache_bytes)
        self.directory = Directory()
        self.tails: dict[int, Tail] = {}
        self._known: dict[bytes, Known] = {}
        self._lock = threading.Lock()

    def find(self, connection: apsw.Connection, name: str) -> Known:
        """The series of that name, as the connection sees it. Raises NotFoundError."""
        rows: Any = connection.execute(_FIND, (name,)).fetchall() if connection.execute(_EXISTS).fetchall() else ()
        if not rows:
            raise NotFoundError(f"there is no series {name}")
        number, mark, schema = rows[0]
        with self._lock:
            known = self._known.get(mark)
            if known is None:
                decoded = msgspec.msgpack.decode(schema, type=Schema)
                known = self._known[mark] = Known(number, mark, decoded, self.cache.owner())
        return known

    def stats(self) -> dict[str, int]:
        """The cache's counters."""
        return self.cache.counters()


def secret(wrapped: bytes, wrapping_key: bytes) -> bytes:
    """The secret of a store's blocks. It follows from that of its columns, which outlives a change of the root key."""
    return token.keyed_blake3(sealing.unwrap(wrapped, wrapping_key)[: sealing.SECRET_BYTES], _PURPOSE)
