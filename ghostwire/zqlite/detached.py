"""Operations whose statements are known, applied by compiled code that lets go of the interpreter once for all of them.

apsw lets go of it at each call of SQLite, a dozen times an operation, and has to win it back from the event loop each
time. Compiled code cannot have the hook that row images are taken from, for SQLite has that for the library alone which
it is built into. It reads rows back once they are changed, which is the same where a table's rows have a number that
statements keep, and where nothing but the statement changes them. So this serves schemas without triggers, references
and conflict clauses, and in them tables with row ids and no column that reads otherwise than it was written. Whatever
else comes, errors included, is taken back and done the usual way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import apsw

from ghostwire._native import sqlite
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import layout as layouts
from ghostwire.zqlite.layout import quote
from ghostwire.zqlite.shortreads import introduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostwire.zqlite.changelog import Head
    from ghostwire.zqlite.guard import Guard
    from ghostwire.zqlite.layout import Found, Layout
    from ghostwire.zqlite.operation import Operation

_MOST: Final = 256
"""Statements that are kept."""
_TYPES: Final = frozenset({"", "BLOB", "INT", "INTEGER", "TEXT"})
"""A whole number in a REAL column is stored as an integer, which is what the hook shows."""
_ELSEWHERE: Final = frozenset({"CONFLICT", "REFERENCES"})
"""Words of definitions by which a statement may change other rows than it names, or end the transaction."""
_UNUSUAL: Final = frozenset({"CONFLICT", "REPLACE", "ROLLBACK"})
"""The same of statements."""
_WRITES: Final = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})


class Log(NamedTuple):
    """Where changes enter the log: `since` is the row of the newest schema change."""

    epoch: int
    since: int
    head: Head


class Detached:
    """What was learnt of operations under one schema, on the writer's connection."""

    def __init__(self, connection: apsw.Connection, guard: Guard, found: Found) -> None:
        self._guard = guard
        self._seen: set[str] = set()
        self._unusual: Operation | None = None
        tables = _tables(connection, found)
        self._keys = {layout.name: keys for layout, keys in tables.values()}
        self._operations: sqlite.Operations | None = None
        if not tables:
            return
        introduce()
        guard.trusting = True
        try:
            images = [(number, layout.name, _images(layout)) for number, (layout, _) in tables.items()]
            self._operations = sqlite.Operations(connection, images)
        finally:
            guard.trusting = False

    def learn(self, operation: Operation) -> None:
        """Hear that an operation has just been applied the usual way."""
        operations = self._operations
        if operations is None:
            return
        if operation is self._unusual:
            for statement in operation.statements:
                operations.forget(statement.sql)
            return
        for statement in operation.statements:
            text = statement.sql
            if text not in self._seen and len(self._seen) < _MOST:
                self._seen.add(text)
                self._learn(operations, text)

    def apply(
        self, operations: Sequence[Operation], times: Sequence[int], log: Log, within: float
    ) -> list[tuple[ChangeRecord, int]]:
        """Apply as many as can be, from the first on, within some seconds: rows in the log, and nanoseconds taken.

        `times` are what the clock says, one for each. Raises what SQLite fails with where the transaction is lost.
        """
        self._unusual = None
        if self._operations is None:
            return []
        epoch, since, head = log
        place = (epoch, since, head.seq, head.ts, head.hash)
        done, unusual, failure = self._operations.apply(operations, times, place, round(within * 1e9))
        if failure is not None:
            code, message = failure
            error = apsw.exception_for(code)
            error.args = (message,)
            raise error
        if unusual:
            self._unusual = operations[len(done)]
        return [
            (ChangeRecord(seq, epoch, ts, operation.actor, operation.kind, body, prev, digest), took)
            for operation, (seq, ts, body, prev, digest, took) in zip(operations, done, strict=False)
        ]

    def sign(self, seq: int, signature: bytes) -> bool:
        """Enter the signature of the commit that ends with row `seq`. False where the usual way should."""
        return self._operations is not None and self._operations.sign(seq, signature)

    def close(self) -> None:
        """Let go of the connection."""
        if self._operations is not None:
            self._operations.close()
            self._operations = None

    def _learn(self, operations: sqlite.Operations, text: str) -> None:
        if not _UNUSUAL.isdisjoint(_words(text)):
            return
        heard: list[Any] = []
        self._guard.heard = heard
        try:
            learnt = operations.learn(text)
        finally:
            self._guard.heard = None
        if learnt and not self._is_plain(heard):
            operations.forget(text)

    def _is_plain(self, heard: list[tuple[int, str | None, str | None, str | None]]) -> bool:
        """Whether a statement writes nothing but rows that can be read back, by what it asked for when it compiled."""
        for action, first, second, within in heard:
            keys = self._keys.get(first or "") if action in _WRITES else frozenset()
            if within is not None or keys is None or (action == apsw.SQLITE_UPDATE and (second or "").lower() in keys):
                return False
        return any(action in _WRITES for action, *_ in heard)


def _tables(connection: apsw.Connection, found: Found) -> dict[int, tuple[Layout, frozenset[str]]]:
    """The tables whose rows can be read back, by number, with the columns that a row's number may follow from."""
    layouts_now = [layout for _, layout in found.tables.values()]
    definitions = [layout.sql for layout in layouts_now] + [item.sql or "" for item in found.objects.values()]
    if (
        any(layout.module for layout in layouts_now)
        or any(item.type == "trigger" for item in found.objects.values())
        or not all(_ELSEWHERE.isdisjoint(_words(text)) for text in definitions)
    ):
        return {}
    tables = {}
    for layout in layouts_now:
        columns: list[Any] = connection.execute(f"PRAGMA main.table_xinfo({quote(layout.name)})").fetchall()
        if layout.key is None and not layout.computes and all(column[2].upper() in _TYPES for column in columns):
            keys = {column[1].lower() for column in columns if column[5]}
            tables[layout.id] = layout, frozenset(keys | {"rowid"})
    return tables


def _images(layout: Layout) -> str:
    names = ", ".join(quote(column.name) for column in layout.stored)
    return f"SELECT {names} FROM main.{quote(layout.name)} WHERE {layouts.rowid(layout)} = ?"  # noqa: S608


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.upper()))
