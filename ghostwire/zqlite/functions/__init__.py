"""What SQL can call in a store beyond SQLite's own functions. Every connection has them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghostwire.zqlite.functions import decimals, hashing, networks, packing, places, times

if TYPE_CHECKING:
    import apsw


def register(connection: apsw.Connection) -> None:
    """Give a connection the functions."""
    for module in (decimals, hashing, networks, packing, places, times):
        module.register(connection)
