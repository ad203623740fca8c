"""Rows of a big SELECT as they are found, page by page, while the event loop does other things."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from ghostwire.zqlite.operation import Params
    from ghostwire.zqlite.reader import Reader
    from ghostwire.zqlite.rows import Row

PAGE: Final = 512
_AHEAD: Final = 2
"""Pages that are read before the first of them is taken."""


async def stream(
    run: Callable[[Callable[[Reader], None]], Coroutine[None, None, None]], text: str, params: Params
) -> AsyncGenerator[Row, None]:
    """Every row, in one read transaction, which holds a connection until the last is taken or the stream is closed."""
    loop = asyncio.get_running_loop()
    pages: asyncio.Queue[list[Row] | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    left = threading.Event()

    def produce(reader: Reader) -> None:
        page: list[Row] = []
        for row in reader.stream(text, params):
            page.append(row)
            if len(page) == PAGE:
                room.acquire()
                if left.is_set():
                    return
                loop.call_soon_threadsafe(pages.put_nowait, page)
                page = []
        loop.call_soon_threadsafe(pages.put_nowait, page)

    reading = asyncio.ensure_future(run(produce))
    reading.add_done_callback(lambda _: pages.put_nowait(None))
    try:
        while (page := await pages.get()) is not None:
            for row in page:
                yield row
            room.release()
        await reading
    finally:
        left.set()
        room.release()
        reading.cancel()
