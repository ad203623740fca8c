"""Durable changes: what a decision asks the store to write, and the row that the change log keeps of it."""

from __future__ import annotations

from typing import Any

import msgspec


class Put(msgspec.Struct, frozen=True):
    """Insert (`expect` 0) or replace a record of `table`.

    `expect` is the `version` that the decision has read. The writer's conditional statement must change exactly one
    row; if the row has moved on, the whole change fails and is decided again.
    """

    table: str
    record: msgspec.Struct
    expect: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Delete the record of `table` with this key, provided that its version is still `expect`."""

    table: str
    key: Any
    expect: int


Write = Put | Delete


class ChangeRecord(msgspec.Struct, frozen=True):
    """One row of the change log, `hash` = BLAKE3 over the others, chained by `prev`. `ts` is UTC nanoseconds."""

    seq: int
    epoch: int
    ts: int
    actor: str
    kind: str
    body: bytes
    prev: bytes
    hash: bytes
