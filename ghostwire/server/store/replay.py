"""The state that the change log alone says: what loading the tables must equal."""

from __future__ import annotations

from typing import Any

from ghostwire import zqlite
from ghostwire.coordinator.state import State
from ghostwire.server.store.tables import TABLES, Table
from ghostwire.zqlite import RowImage, archive


async def replay(durable: zqlite.Store) -> State:
    """Fold every row of the log, oldest first."""
    state = State()
    rows = await durable.query(archive.ROWS, {"after": 0})
    for seq, *_, body, _prev, _hash in rows:
        for image in durable.rows(body):
            table = TABLES.get(image.table)
            if table is not None:
                _apply(state, table, image)
        state.seq = seq
    return state


def _apply(state: State, table: Table, image: RowImage) -> None:
    if image.op == "delete":
        state.apply(table.name, "delete", _plain(image.key))
        return
    record = table.recall(image.values)
    state.apply(table.name, "put", table.key(record), record)


def _plain(key: Any) -> Any:
    """A key of one column as its value."""
    return key[0] if isinstance(key, tuple) and len(key) == 1 else key
