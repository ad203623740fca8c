from collections.abc import Callable
from typing import Any, final

from apsw import Connection as Opener

@final
class Connection:
    """Another way to run short statements on an open `apsw.Connection`, which keeps the interpreter.

    SQLite must have loaded the library with `rust_ext` as an extension, by the entry point `ghostwire_sqlite_init`.
    Whatever is answered by False or None has changed nothing, and is for apsw to do, or to refuse. Where the disk or
    memory fails, SQLite ends the transaction: that raises DatabaseError, for apsw would begin another one.
    """

    def __new__(cls, opener: Opener) -> Connection: ...
    def begin(self) -> bool: ...
    def rollback(self) -> bool: ...
    def prepare(
        self, text: str, shape: Callable[[tuple[tuple[str, None], ...]], type[tuple[Any, ...]]]
    ) -> Statement | None: ...
    def close(self) -> None: ...

@final
class Statement:
    """One SELECT, run for as long as it is short. While it stands, SQLite does not close its connection."""

    def all(self, params: object) -> list[Any] | None: ...
    def first(self, params: object) -> tuple[Any, ...] | None: ...
    def values(self, params: object) -> tuple[Any, ...] | None: ...
    def close(self) -> None: ...
