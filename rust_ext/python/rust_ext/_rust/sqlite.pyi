from collections.abc import Callable, Sequence
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

@final
class Operations:
    """Another way to apply operations on an open `apsw.Connection`, which lets go of the interpreter once.

    `tables` are those whose rows can be read back: number, name, and the SELECT of a row's stored values by its row id.
    While it stands, SQLite does not close its connection.
    """

    def __new__(cls, opener: Opener, tables: Sequence[tuple[int, str, str]]) -> Operations: ...
    def learn(self, text: str) -> bool:
        """Keep a statement that gives no rows. False for any other text."""

    def forget(self, text: str) -> None: ...
    def apply(
        self,
        operations: Sequence[Any],
        times: Sequence[int],
        log: tuple[int, int, int, int, bytes],
        within: int,
    ) -> tuple[list[tuple[int, int, bytes, bytes, bytes, int]], bool, tuple[int, str] | None]:
        """Apply operations from the first on, until one is unusual or `within` nanoseconds are over.

        It begins a transaction where none is open. `times` are UTC nanoseconds, one for each; `log` is the epoch, the
        row that the tables' layout is from, and number, time and hash of the newest row. Returns number, time, body,
        hash before, own hash and nanoseconds of each that was applied; whether the next one was unusual, and was taken
        back; and code and message of the failure that has cost the whole transaction.
        """

    def sign(self, seq: int, signature: bytes) -> bool:
        """Enter the signature of a commit. False where apsw should."""

    def close(self) -> None: ...
