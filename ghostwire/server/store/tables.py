"""Which record lives in which table, and how a record and a row become each other.

Columns are the record's fields under their own names. Tuples of text are kept as JSON text; truth values as 0 and 1.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ghostwire.errors import InternalError
from ghostwire.model.access import AccessRequest
from ghostwire.model.change import Delete, Put, Write
from ghostwire.model.credential import (
    ApiToken,
    PreauthKey,
    RefusedKey,
    RestingAddress,
    SessionToken,
    Setting,
)
from ghostwire.model.node import Node
from ghostwire.model.policy import PolicyTrial, PolicyVersion
from ghostwire.model.user import Identity, User
from ghostwire.zqlite.operation import Statement

Convert = Callable[[Any], Any]


def _shape(kind: Any) -> Any:
    """The type that decides how a column is kept, None aside."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _to_sql(kind: Any) -> Convert | None:
    shape = _shape(kind)
    if shape is bool:
        return int
    return _tuple_to_text if typing.get_origin(shape) is tuple else None


def _from_sql(kind: Any) -> Convert | None:
    shape = _shape(kind)
    if shape is bool:
        return bool
    return _text_to_tuple if typing.get_origin(shape) is tuple else None


def _tuple_to_text(value: tuple[str, ...]) -> str:
    return msgspec.json.encode(value).decode() if value else "[]"


_texts = msgspec.json.Decoder(tuple[str, ...])


def _text_to_tuple(text: str) -> tuple[str, ...]:
    return _texts.decode(text) if text != "[]" else ()


class Table:
    """One table: its record type, its key, and the statements that decisions need."""

    __slots__ = (
        "_delete",
        "_from",
        "_insert",
        "_key_at",
        "_to",
        "_update",
        "_update_order",
        "columns",
        "kind",
        "name",
        "select",
    )

    def __init__(self, name: str, kind: type[msgspec.Struct], *key: str) -> None:
        self.name, self.kind = name, kind
        columns = msgspec.structs.fields(kind)
        names = [column.name for column in columns]
        self.columns = tuple(names)
        self._to = [_to_sql(column.type) for column in columns]
        self._from = [(column.name, _from_sql(column.type)) for column in columns]
        self._key_at = [names.index(part) for part in key]
        rest = [at for at, column in enumerate(names) if column not in key]
        self._update_order = rest + self._key_at
        where = " AND ".join(f"{part} = ?" for part in key)
        assign = ", ".join(f"{names[at]} = ?" for at in rest)
        listed, marks = ", ".join(names), ", ".join("?" * len(names))
        self.select = f"SELECT {listed} FROM {name}"  # noqa: S608 - names are this module's own
        self._insert = f"INSERT INTO {name} ({listed}) VALUES ({marks})"  # noqa: S608
        self._update = f"UPDATE {name} SET {assign} WHERE {where} AND version = ?"  # noqa: S608
        self._delete = f"DELETE FROM {name} WHERE {where} AND version = ?"  # noqa: S608

    def put(self, write: Put) -> Statement:
        """Insert the record, or replace it where its version is still the one that was read."""
        values = self.row(write.record)
        if not write.expect:
            return Statement(self._insert, values, rows=1)
        return Statement(self._update, (*(values[at] for at in self._update_order), write.expect), rows=1)

    def delete(self, write: Delete) -> Statement:
        """Delete the record where its version is still the one that was read."""
        key = write.key if isinstance(write.key, tuple) else (write.key,)
        return Statement(self._delete, (*key, write.expect), rows=1)

    def row(self, record: msgspec.Struct) -> tuple[Any, ...]:
        """The record's columns, in order."""
        return tuple(
            value if convert is None else convert(value)
            for value, convert in zip(msgspec.structs.astuple(record), self._to, strict=True)
        )

    def record(self, row: Sequence[Any]) -> Any:
        """The record of a row that `select` read."""
        return self.kind(
            **{
                name: value if convert is None else convert(value)
                for (name, convert), value in zip(self._from, row, strict=True)
            }
        )

    def recall(self, image: Mapping[str, Any]) -> Any:
        """The record of a row's image in the log; columns that came later have their defaults."""
        return self.kind(
            **{
                name: image[name] if convert is None else convert(image[name])
                for name, convert in self._from
                if name in image
            }
        )

    def key(self, record: msgspec.Struct) -> Any:
        """The record's key: one value, or a tuple of them."""
        values = msgspec.structs.astuple(record)
        parts = tuple(values[at] for at in self._key_at)
        return parts if len(parts) > 1 else parts[0]


TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (
        Table("users", User, "id"),
        Table("identities", Identity, "issuer", "subject"),
        Table("nodes", Node, "id"),
        Table("preauth_keys", PreauthKey, "id"),
        Table("session_tokens", SessionToken, "node_id"),
        Table("api_tokens", ApiToken, "id"),
        Table("refused_keys", RefusedKey, "node_key"),
        Table("resting_addresses", RestingAddress, "address"),
        Table("policies", PolicyVersion, "number"),
        Table("policy_trials", PolicyTrial, "number"),
        Table("access_requests", AccessRequest, "id"),
        Table("settings", Setting, "name"),
    )
}


def statement(write: Write) -> Statement:
    """The one statement that a decision's write is."""
    table = TABLES.get(write.table)
    if table is None:
        raise InternalError(f"a decision writes to a table that is not there: {write.table!r}")
    return table.put(write) if isinstance(write, Put) else table.delete(write)
