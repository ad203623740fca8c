"""Signed heads of the change log, told to nodes and heard from them again.

A head goes to each node with its map; each new one goes to a few nodes in turn, so that the work does not grow with the
network. Nodes return what they hold when they come back. A genuine head that is ahead of the log means that this store
is an older copy, or that another one was promoted: then nothing is written any more, and sessions go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from ghostwire import zqlite
from ghostwire.errors import GhostwireError, NotFoundError, ValidationError
from ghostwire.server.driver import Outlet
from ghostwire.server.observer import Observer
from ghostwire.wire import codec
from ghostwire.wire.messages import LogHead
from ghostwire.zqlite import SignedHead, heads

FILE: Final = "head.sig"
"""The newest signed head, in the server's folder: a copy kept elsewhere shows a log that was cut."""
WITNESSES: Final = 16
"""How many nodes are told of each new head."""


class Heads:
    """One server's."""

    def __init__(self, store: zqlite.Store, folder: Path, outlet: Outlet, observer: Observer) -> None:
        self._store, self._file, self._outlet, self._observer = store, folder / FILE, outlet, observer
        self._frame: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def frame(self) -> bytes | None:
        """The newest head as a message. A copy that another one is ahead of has none."""
        return self._frame if self._store.fenced is None else None

    async def start(self) -> None:
        """Hold the head in the folder against the log, then keep the newest one there."""
        try:
            await self._store.hear(SignedHead.load(self._file))
        except NotFoundError:
            pass
        except GhostwireError as error:
            self._failed(error)
        self._spawn(heads.keep(self._store, self._file, self._failed, self._made))

    async def stop(self) -> None:
        """Sign no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def returned(self, data: bytes, heard: Callable[[GhostwireError | None], None]) -> None:
        """A node has returned the head that it held, which is refused where it is not one of this store's."""
        self._spawn(self._hear(data, heard))

    async def _hear(self, data: bytes, heard: Callable[[GhostwireError | None], None]) -> None:
        try:
            await self._store.hear(SignedHead.from_bytes(data))
        except ValidationError as error:
            heard(error)
        except GhostwireError as error:
            self._failed(error)
            heard(error)
        else:
            heard(None)

    def _made(self, signed: SignedHead) -> None:
        key = self._store.signing_key(heads.USE).public.data
        self._frame = frame = codec.encode(LogHead(signed=signed.to_bytes(), key=key))
        self._outlet.tell_some(frame, WITNESSES)

    def _failed(self, error: GhostwireError) -> None:
        self._observer.event("error", "heads.failed", error=error.message)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
