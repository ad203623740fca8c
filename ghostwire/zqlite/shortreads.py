"""Short SELECTs of a read connection, run without letting go of the interpreter.

apsw lets go of it at each call of SQLite. Where another thread wants it that costs a read many times what SQLite takes,
for it has to wait until it is woken. So what is known to be short is run by `rust_ext.sqlite` on the same connection.
Whatever that does not answer plainly, errors included, is done again by apsw; but where the disk or memory failed and
SQLite has ended the transaction, that is the answer: apsw would read another moment.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import apsw

from ghostwire._native import rust_library, sqlite
from ghostwire.zqlite.rows import shape

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT_NS: Final = 50_000
"""A SELECT that apsw ran within this time is short: the next time it is run here."""
LONG_NS: Final = 1_000_000
"""One that takes longer here, though rust_ext gives up after some thousand steps of SQLite's machine, is not."""
_MOST: Final = 256
"""Statements of a connection."""
_ENTRY: Final = "ghostwire_sqlite_init"


class ShortReads:
    """Those of one connection. `statements` are what is known to be short, by text."""

    __slots__ = ("_connection", "_kept", "begin", "rollback", "statements")

    def __init__(self, connection: apsw.Connection) -> None:
        introduce()
        self._connection = sqlite.Connection(connection)
        self._kept: dict[str, sqlite.Statement] = {}
        self.statements: Mapping[str, sqlite.Statement] = self._kept
        self.begin = self._connection.begin
        self.rollback = self._connection.rollback

    def learn(self, text: str, took: int) -> None:
        """Hear that apsw has just run `text`, in `took` nanoseconds."""
        if took > SHORT_NS:
            self.forget(text)
        elif text not in self._kept and (statement := self._connection.prepare(text, shape)) is not None:
            if len(self._kept) == _MOST:
                self.forget(next(iter(self._kept)))
            self._kept[text] = statement

    def forget(self, text: str) -> None:
        """Leave `text` to apsw until that has run it in a short time."""
        if (statement := self._kept.pop(text, None)) is not None:
            statement.close()

    def close(self) -> None:
        """Let go of the connection, so that it can be closed: also where the trace of an error holds a statement."""
        for statement in self._kept.values():
            statement.close()
        self._kept.clear()
        self._connection.close()


@cache
def introduce() -> None:
    """Have SQLite hand its functions to rust_ext, as it does to every extension; once for all connections."""
    connection = apsw.Connection(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(rust_library(), _ENTRY)
    finally:
        connection.close()
