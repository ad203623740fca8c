"""The store's own tables behind series.

Rows of these tables are not in the change log: measurements would outgrow what it is for, and they are dropped when
their time is over. Blocks carry seals of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ghostwire.zqlite.applier import Applier

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS zq_series(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mark BLOB NOT NULL, "
    "schema BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS zq_block(number INTEGER PRIMARY KEY, series INTEGER NOT NULL, key INTEGER NOT NULL, "
    "first INTEGER NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS zq_block_time ON zq_block(series, key, first, last)",
    "CREATE TABLE IF NOT EXISTS zq_tail(series INTEGER NOT NULL, key INTEGER NOT NULL, at INTEGER NOT NULL, "
    "sample BLOB NOT NULL, PRIMARY KEY (series, key, at)) WITHOUT ROWID",
    "INSERT OR IGNORE INTO zq_meta VALUES ('block', 0)",
)
_NUMBER: Final = "UPDATE main.zq_meta SET value = value + 1 WHERE key = 'block' RETURNING value"


def make(applier: Applier) -> None:
    """Make the tables where they are missing."""
    for statement in _TABLES:
        applier.own(statement)


def next_number(applier: Applier) -> int:
    """The number of a new block: none is given twice, also after blocks are gone.

    One that a transaction takes back is given again.
    """
    rows: Any = applier.own(_NUMBER).fetchall()
    return int(rows[0][0])
