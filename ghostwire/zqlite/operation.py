"""What the writer is asked to do, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite.hold import Hold
from ghostwire.zqlite.rows import Row

Value: TypeAlias = int | float | str | bytes | None
Params: TypeAlias = Sequence[Value] | Mapping[str, Value]

Committed = ChangeRecord
"""What a submitted operation became: its row in the change log, which is on disk when the future resolves."""


class Statement(msgspec.Struct, frozen=True):
    """One INSERT, UPDATE or DELETE. With `rows`, it must change exactly that many rows or its operation is refused."""

    sql: str
    params: Params = ()
    rows: int | None = None


class Operation(msgspec.Struct, frozen=True):
    """Statements that happen together or not at all, as one row of the change log labelled `kind` and `actor`."""

    kind: str
    actor: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """SQL text as a caller wrote it: one statement or several, once, or once for each of `many`.

    `own` text is the store's: it may write the store's tables. `hold` is where its caller may take it back.
    """

    sql: str
    params: Params = ()
    many: Sequence[Params] | None = None
    kind: str = ""
    actor: str = ""
    own: bool = False
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes to be put into a BLOB from `offset` on, in the row `rowid`; its length stays."""

    table: str
    column: str
    rowid: int
    offset: int
    data: bytes


class Result(list[Row]):
    """The rows that an `execute` returned (a SELECT's or RETURNING's), and what it did.

    `changes`: rows it inserted, updated or deleted directly. `rowid`: of the last row inserted by this store, 0 before
    any. `seq`: its row in the change log, 0 where nothing was written.
    """

    __slots__ = ("changes", "rowid", "seq")

    def __init__(self, rows: Sequence[Row] = (), changes: int = 0, rowid: int = 0, seq: int = 0) -> None:
        super().__init__(rows)
        self.changes = changes
        self.rowid = rowid
        self.seq = seq
