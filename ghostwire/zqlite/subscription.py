"""Following the log: pages of it are read as fast as the follower takes them, then it is woken by commits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

from ghostwire.errors import NotFoundError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import archive

if TYPE_CHECKING:
    from ghostwire.zqlite.reader import Reader

PAGE: Final = 256

_SELECT: Final = f"{archive.ROWS} LIMIT :most"


class Bell:
    """Wakes every follower. Rung on the event loop only."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Event] = set()
        self.closed = False

    def ring(self) -> None:
        """Something was committed."""
        for follower in self._followers:
            follower.set()

    def close(self) -> None:
        """Nothing more will be committed: followers end after what there is."""
        self.closed = True
        self.ring()

    def follow(self) -> asyncio.Event:
        """A follower's own event, set at every ring."""
        event = asyncio.Event()
        self._followers.add(event)
        return event

    def leave(self, event: asyncio.Event) -> None:
        """The follower is gone."""
        self._followers.discard(event)


def page(reader: Reader, from_seq: int) -> list[ChangeRecord]:
    """The next rows of the log from `from_seq` on, at most `PAGE`. Raises NotFoundError when they are not kept."""
    records = [ChangeRecord(*row) for row in reader.query(_SELECT, {"after": from_seq - 1, "most": PAGE})]
    if from_seq > 0 and records and records[0].seq > from_seq:
        raise NotFoundError(f"the change log is kept from {records[0].seq} on, {from_seq} is gone")
    return records


Read = Callable[[Callable[["Reader"], list[ChangeRecord]]], Awaitable[list[ChangeRecord]]]


async def follow(read: Read, bell: Bell, from_seq: int) -> AsyncIterator[ChangeRecord]:
    """Every row from `from_seq` on (0: all that is kept), then each new one once it is on disk."""
    async with contextlib.aclosing(pages(read, bell, from_seq)) as following:
        async for records in following:
            for record in records:
                yield record


async def pages(read: Read, bell: Bell, from_seq: int) -> AsyncGenerator[list[ChangeRecord], None]:
    """The same, as many at a time as there are, at most `PAGE`."""
    event = bell.follow()
    try:
        while True:
            event.clear()
            ended = bell.closed
            at = from_seq
            records = [] if ended else await read(lambda reader: page(reader, at))  # noqa: B023 (awaited at once)
            if records:
                yield records
                from_seq = records[-1].seq + 1
            if ended:
                return
            if len(records) < PAGE:
                await event.wait()
    finally:
        bell.leave(event)
