"""`async with db.transaction() as tx`: several statements that happen together or not at all."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from ghostwire.errors import UnavailableError, ValidationError
from ghostwire.zqlite import changelog
from ghostwire.zqlite.conversation import Conversation, End, Note
from ghostwire.zqlite.hold import Hold, outcome
from ghostwire.zqlite.operation import Patch, Result, Script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ghostwire.model.change import ChangeRecord
    from ghostwire.zqlite.operation import Params
    from ghostwire.zqlite.rows import Row

_within: ContextVar[Transaction | None] = ContextVar("zqlite_transaction", default=None)


class Transaction:
    """Exclusive: while it is open, other writers wait, so it must not wait for anything slow.

    Its statements see each other's rows. Leaving the block commits (and returns once that is on disk); an exception
    rolls back. A statement that fails leaves the others standing. One row of the change log holds all its rows, and
    each `event` adds one; `committed` has them after the block.
    """

    def __init__(self, enlist: Callable[[Conversation], None], actor: str, kind: str, patience: float) -> None:
        self.committed: tuple[ChangeRecord, ...] = ()
        self._enlist = enlist
        self._actor = actor
        self._kind = kind
        self._patience = patience
        self._conversation: Conversation | None = None
        self._outer: Any = None
        self._used = False

    async def execute(self, sql: str, params: Params = (), *, within: float | None = None) -> Result:
        """Run one statement or several.

        One that takes longer than `within` seconds is stopped with UnavailableError; where it was writing, SQLite takes
        the whole transaction back.
        """
        return await self._run(Script(sql, params, hold=Hold()), within)

    async def executemany(self, sql: str, many: Sequence[Params]) -> Result:
        """Run one statement once for each of `many` parameters."""
        return await self._run(Script(sql, (), many))

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows of a SELECT, which sees what this transaction has written."""
        return await self._run(Script(sql, params, hold=Hold()))

    async def query_one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        rows = await self._run(Script(sql, params))
        return rows[0] if rows else None

    async def write_blob(self, table: str, column: str, rowid: int, offset: int, data: bytes) -> None:
        """Put bytes into a BLOB from `offset` on, without reading or logging the rest; its length stays.

        Make room with `zeroblob(n)`. Raises ValidationError where there is no such BLOB, or it ends before, and for
        indexed columns and tables WITHOUT ROWID.
        """
        await self._run(Patch(table, column, rowid, offset, bytes(data)))

    async def event(self, aggregate_id: str, kind: str, body: Any = None) -> None:
        """Add an event of the application to the log, after this transaction's rows.

        `body` is anything msgpack can hold: bytes, text, numbers, lists, dicts. Raises ValidationError for the rest.
        """
        try:
            encoded = changelog.event_body(aggregate_id, body)
        except (TypeError, OverflowError, ValueError) as error:
            raise ValidationError(f"the body of event {kind!r} cannot be encoded: {error}") from error
        self._open().say(Note(kind, encoded), None)

    async def own(self, sql: str, params: Params = ()) -> Result:
        """Run a statement of the store itself, which may write the store's own tables."""
        return await self._run(Script(sql, params, own=True))

    async def __aenter__(self) -> Self:
        refuse_within()
        if self._used:
            raise ValidationError("a transaction object serves one block: call db.transaction() again")
        self._used = True
        loop = asyncio.get_running_loop()
        self._conversation = Conversation(
            loop.create_future(), loop.create_future(), self._actor, self._kind, self._patience
        )
        try:
            self._enlist(self._conversation)
            await self._conversation.started
        except BaseException:
            self._leave(commit=False)
            raise
        self._outer = _within.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _within.reset(self._outer)
        conversation = self._open()
        self._leave(commit=kind is None)
        if kind is None:
            self.committed = tuple(await asyncio.shield(conversation.ended))

    @property
    def open(self) -> bool:
        """Whether the block is running."""
        return self._conversation is not None

    def _leave(self, *, commit: bool) -> None:
        conversation = self._open()
        conversation.ended.add_done_callback(_heard)
        conversation.started.add_done_callback(_heard)
        conversation.say(End(commit), None)
        self._conversation = None

    async def _run(self, line: Script | Patch, within: float | None = None) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._open().say(line, answer)
        result: Result = await outcome(answer, line.hold if isinstance(line, Script) else None, within)
        return result

    def _open(self) -> Conversation:
        if self._conversation is None:
            raise UnavailableError("this transaction is over")
        return self._conversation


def refuse_within() -> None:
    """A write beside an open transaction of the same task would wait for that transaction, which waits for the task."""
    outer = _within.get()
    if outer is not None and outer.open:
        raise ValidationError("inside a transaction block, write through its `tx`")


def _heard(future: asyncio.Future[Any]) -> None:
    """Nobody awaits this outcome: look at it, so that asyncio doesn't complain."""
    if not future.cancelled():
        future.exception()
