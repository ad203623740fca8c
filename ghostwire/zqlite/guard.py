"""What statements may not do: touch the log and the store's own tables, other files, or settings a promise rests on."""

from __future__ import annotations

import apsw

from ghostwire.zqlite.columns import SUFFIX
from ghostwire.zqlite.layout import is_internal

_HARMLESS_PRAGMAS = frozenset(
    {
        "application_id",
        "collation_list",
        "compile_options",
        "data_version",
        "database_list",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "module_list",
        "page_count",
        "page_size",
        "pragma_list",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
_WITH_ARGUMENT = _HARMLESS_PRAGMAS - {"application_id", "data_version", "page_size", "schema_version"}

_ROW_WRITES = {
    apsw.SQLITE_INSERT: "insert into",
    apsw.SQLITE_UPDATE: "update",
    apsw.SQLITE_DELETE: "delete from",
}
_TABLE_CHANGES = {
    apsw.SQLITE_CREATE_TABLE: "create",
    apsw.SQLITE_CREATE_VTABLE: "create",
    apsw.SQLITE_CREATE_VIEW: "create",
    apsw.SQLITE_DROP_TABLE: "drop",
    apsw.SQLITE_DROP_VTABLE: "drop",
}
_PUTS = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE})
_TABLE_IS_SECOND = {
    apsw.SQLITE_CREATE_INDEX: "index",
    apsw.SQLITE_CREATE_TRIGGER: "watch",
    apsw.SQLITE_DROP_INDEX: "drop an index of",
    apsw.SQLITE_DROP_TRIGGER: "drop a trigger of",
    apsw.SQLITE_ALTER_TABLE: "alter",
}
_HALVES = {
    apsw.SQLITE_DROP_TABLE: "drop",
    apsw.SQLITE_DROP_VIEW: "drop",
    apsw.SQLITE_ALTER_TABLE: "alter",
}
_NEVER = {
    apsw.SQLITE_TRANSACTION: "begin or end transactions by SQL: use db.transaction()",
    apsw.SQLITE_SAVEPOINT: "use savepoints by SQL: use db.transaction()",
    apsw.SQLITE_ATTACH: "attach other files",
    apsw.SQLITE_DETACH: "detach files",
    apsw.SQLITE_CREATE_TEMP_INDEX: "make temporary objects: the log would not have them",
    apsw.SQLITE_CREATE_TEMP_TABLE: "make temporary objects: the log would not have them",
    apsw.SQLITE_CREATE_TEMP_TRIGGER: "make temporary objects: the log would not have them",
    apsw.SQLITE_CREATE_TEMP_VIEW: "make temporary objects: the log would not have them",
}


class Guard:
    """The authorizer of one connection. SQLite asks it when it compiles a statement, never while one runs.

    `trusting` is set while one of the store's own statements compiles; `denial` says what was refused last. `heard`,
    where it is a list, gets all that is asked: action, table, column, and the trigger or view that asks. `sealed`
    are the tables, in small letters, that only the triggers of their views may put rows into; such a table and its view
    are dropped and altered together, while `reshaping` is set.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.trusting = False
        self.reshaping = False
        self.sealed: frozenset[str] = frozenset()
        self.denial = ""
        self.heard: list[tuple[int, str | None, str | None, str | None]] | None = None
        connection.authorizer = self._authorize

    def _authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        if self.heard is not None:
            self.heard.append((action, first, second, trigger))
        if self.trusting:
            return apsw.SQLITE_OK
        name = (second if action == apsw.SQLITE_ALTER_TABLE else first) or ""
        reason = _refusal(action, first or "", second) or self._unsealed(action, name.lower(), trigger)
        if not reason:
            return apsw.SQLITE_OK
        self.denial = reason
        return apsw.SQLITE_DENY

    def _unsealed(self, action: int, table: str, trigger: str | None) -> str:
        """Why a statement may not touch one half of a table with sealed columns, or an empty string."""
        if action in _HALVES and not self.reshaping and not self.sealed.isdisjoint((table, table + SUFFIX)):
            name = table.removesuffix(SUFFIX)
            return f"{_HALVES[action]} one half of {name}, which has sealed columns: DROP TABLE and ALTER TABLE {name}"
        sealing = (f"{table}_insert", f"{table}_update")
        if action not in _PUTS or table not in self.sealed or (trigger or "").lower() in sealing:
            return ""
        return f"write {table}: only its view, which seals, may"


def _refusal(action: int, first: str, second: str | None) -> str:
    """Why this is not allowed, or an empty string."""
    if action in _NEVER:
        return _NEVER[action]
    if action == apsw.SQLITE_PRAGMA:
        allowed = _HARMLESS_PRAGMAS if second is None else _WITH_ARGUMENT
        return "" if first.lower() in allowed else f"use PRAGMA {first}"
    if action in _ROW_WRITES and _is_ours(first):
        return f"{_ROW_WRITES[action]} {first}: the store writes it by itself"
    if action in _TABLE_CHANGES and _is_ours(first):
        return f"{_TABLE_CHANGES[action]} {first}: the name is the store's"
    if action in _TABLE_IS_SECOND and _is_ours(second or ""):
        return f"{_TABLE_IS_SECOND[action]} {second}: the store keeps it"
    return ""


def _is_ours(name: str) -> bool:
    """SQLite's own tables are written by CREATE and the like; SQLite itself refuses direct writes to its schema."""
    folded = name.lower()
    return (is_internal(folded) or folded.startswith("zq_")) and not folded.startswith("sqlite_")
