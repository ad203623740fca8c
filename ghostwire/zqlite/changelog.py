"""The change log: what a row's body says, how rows are chained, and how both are read back.

A body is msgpack, its first element the version of this format:

    [1, 0, since, entries]              row images and schema changes of one operation
    [1, 1, aggregate_id, payload]       an event of the application

`since` is the seq of the newest schema change before this row: it names the layouts that the entries were written
under. An entry is `[table id, 1 insert | 2 update | 3 delete, key, values]`, where the key is the row id, or the list
of primary key values in a table WITHOUT ROWID, and the values are those of every stored column (nil for a delete); an
update that moved the row has the new key as fifth element. `[table id, 4 patch, row id, [position, offset, bytes]]`
puts bytes into the BLOB of one column. Entries of table id 0 change the schema:
`[0, "table", layout, fills]` (a table is now like this; `fills` maps the position of an added column to the value that
existing rows got), `[0, "drop", id]`, `[0, "object", object]` and `[0, "gone", type, name]` (an index, view, trigger).

`hash` is BLAKE3 over `prev`, seq, epoch and ts (8 bytes each, big-endian), the lengths (4 bytes) and UTF-8 bytes of
actor and kind, and the body. The first `prev` is 32 zero bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from ghostwire._native import token
from ghostwire.errors import DatabaseError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite.layout import Catalogue, Layout, Object, Schema

VERSION: Final = 1
FORM_ROWS: Final = 0
FORM_EVENT: Final = 1
INSERT: Final = 1
UPDATE: Final = 2
DELETE: Final = 3
PATCH: Final = 4
SCHEMA: Final = 0

GENESIS: Final = bytes(32)
"""The `prev` of the first row."""

Key = int | tuple[Any, ...]
Act = Literal["insert", "update", "delete", "patch"]

_ACTS: tuple[Act, ...] = ("insert", "update", "delete", "patch")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_numbers = struct.Struct(">QQq").pack
_length = struct.Struct(">I").pack


@dataclass(frozen=True, slots=True)
class RowImage:
    """One row as an operation left it. `values` is empty for a delete; `new_key` is set where an update moved it.

    A `patch` has put the bytes in `values` into a BLOB from `offset` on.
    """

    table: str
    op: Act
    key: Key
    values: dict[str, Any]
    new_key: Key | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row of a log: where the next one follows. Kept elsewhere, it shows a log that was cut or rewritten."""

    seq: int
    ts: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """An event that the application added with `tx.event`."""

    aggregate_id: str
    payload: Any


def row_body(since: int, entries: Iterable[Any]) -> bytes:
    """The body of an operation's change row."""
    return _encode((VERSION, FORM_ROWS, since, entries))


def event_body(aggregate_id: str, payload: Any) -> bytes:
    """The body of an application's event."""
    return _encode((VERSION, FORM_EVENT, aggregate_id, payload))


def decode(body: bytes) -> tuple[int, list[Any]]:
    """`since` and entries of a body; an event has none. Raises DatabaseError for what no release has written."""
    form, rest = _open(body)
    return (rest[0], rest[1]) if form == FORM_ROWS else (0, [])


def event(body: bytes) -> Event | None:
    """The application's event in `body`, or None where it holds row images."""
    form, rest = _open(body)
    return Event(rest[0], rest[1]) if form == FORM_EVENT else None


def rows(body: bytes, catalogue: Catalogue) -> list[RowImage]:
    """The row images in `body` with names of tables and columns, as they were then; schema changes are passed over."""
    since, entries = decode(body)
    schema = catalogue.at(since)
    images = []
    for entry in entries:
        if entry[0] == SCHEMA:
            schema = apply_schema(schema, entry)
            continue
        layout = schema[entry[0]]
        if entry[1] == PATCH:
            position, offset, data = entry[3]
            images.append(RowImage(layout.name, "patch", entry[2], {layout.stored[position].name: data}, None, offset))
            continue
        names = (column.name for column in layout.stored)
        values = {} if entry[3] is None else dict(zip(names, entry[3], strict=True))
        moved = _key(entry[4]) if len(entry) > 4 else None
        images.append(RowImage(layout.name, _ACTS[entry[1] - 1], _key(entry[2]), values, moved))
    return images


def apply_schema(schema: Schema, entry: list[Any]) -> Schema:
    """The tables after a schema entry."""
    if entry[1] == "table":
        layout = msgspec.convert(entry[2], Layout)
        return {**schema, layout.id: layout}
    if entry[1] == "drop":
        return {table: layout for table, layout in schema.items() if table != entry[2]}
    return schema


def schema_object(entry: list[Any]) -> Object:
    """The index, view or trigger of an `object` entry."""
    return msgspec.convert(entry[2], Object)


def digest(seq: int, epoch: int, ts: int, actor: str, kind: str, body: bytes, prev: bytes) -> bytes:
    """The hash of a change row."""
    who, what = actor.encode(), kind.encode()
    return token.blake3(
        b"".join((prev, _numbers(seq, epoch, ts), _length(len(who)), who, _length(len(what)), what, body))
    )


def verify(records: Iterable[ChangeRecord], prev: bytes | None = None, seq: int = 0) -> Iterator[ChangeRecord]:
    """Hand the records on as long as they chain; raises DatabaseError that names the first that does not.

    `prev` and `seq` are the hash and number of the record before the first (left out: the chain starts at its origin).
    """
    expected = GENESIS if prev is None else prev
    for record in records:
        seq += 1
        if record.seq != seq:
            raise DatabaseError(f"the change log has a gap: after {seq - 1} comes {record.seq}")
        if record.prev != expected:
            raise DatabaseError(f"the change log is broken at {seq}: it does not follow from the row before it")
        expected = digest(seq, record.epoch, record.ts, record.actor, record.kind, record.body, record.prev)
        if record.hash != expected:
            raise DatabaseError(f"the change log is broken at {seq}: its content does not match its hash")
        yield record


def _open(body: bytes) -> tuple[int, list[Any]]:
    try:
        version, form, *rest = _decode(body)
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise DatabaseError("a change row's body is damaged: verify the store") from error
    if version != VERSION:
        raise DatabaseError(f"a change row has format {version}; this release reads up to {VERSION}: upgrade it")
    return form, rest


def _key(key: Any) -> Key:
    return tuple(key) if isinstance(key, list) else key
