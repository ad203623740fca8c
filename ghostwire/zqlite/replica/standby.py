"""A replica: a copy of a store in a file of its own, read like a store, that follows its primary and can replace it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ghostwire.errors import ConflictError, GhostwireError, UnavailableError
from ghostwire.zqlite import bootstrap, engine, fence
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.lock import FileLock
from ghostwire.zqlite.pool import LEAST, MOST, Pool
from ghostwire.zqlite.replica import frames, mirror
from ghostwire.zqlite.replica.frames import HandedOver, Hello, Rows, Tick
from ghostwire.zqlite.replica.session import SILENCE_S, Session
from ghostwire.zqlite.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostwire.zqlite.replica.link import Link

AGAIN_S: Final = 1.0


async def open_replica(
    path: str | os.PathLike[str],
    *,
    primary: str,
    link: Link,
    key: bytes | None = None,
    passphrase: str | None = None,
    cipher: engine.Cipher = "aegis",
    readers: tuple[int, int] = (LEAST, MOST),
) -> Replica:
    """Open the replica at `path` of the store at `primary` (`tls://HOST:PORT`), made if missing.

    Its file has a key of its own. A new one needs its primary to answer; one that is there does not. The file of an old
    primary, fenced by now, may follow the new one. Raises what
    `zqlite.open` raises, UnavailableError when a new one cannot reach its primary, and ConflictError for a store that
    follows nobody.
    """
    loop = asyncio.get_running_loop()
    engine.require_version()
    engine.check_access(key, passphrase, cipher)
    file = Path(os.path.abspath(path))  # noqa: ASYNC240, PTH100 (asks only for the working directory)
    lock = FileLock.take(file)
    session: Session | None = None
    try:
        if lock.created or file.stat().st_size == 0:  # noqa: ASYNC240 (one look at what is open already)
            session = await Session.open(primary, link, Hello(frames.VERSION))
    except BaseException:
        if lock.created:
            file.unlink(missing_ok=True)  # noqa: ASYNC240
        lock.release()
        raise
    founding = None if session is None else {**session.start.meta, fence.PRIMARY: primary, fence.META: _reason(primary)}

    def locate() -> engine.Location:
        return engine.locate(file, key, passphrase, cipher=cipher)

    def start() -> tuple[bootstrap.Opened, Pool]:
        opened = bootstrap.open_store(lock, locate, found_with=founding)
        try:
            if opened.fence is None:
                raise ConflictError(f"{file} is a store of its own, not a replica: name another file")
            return opened, Pool(opened.location, opened.prepare, readers, 5.0)
        except BaseException:
            engine.close(opened.applier.connection)
            opened.lock.release()
            raise

    opened, pool = await loop.run_in_executor(None, start)
    replica = Replica(opened, pool, primary, link)
    if session is not None:
        session.close()
    return replica


class Replica:
    """An open replica. It is read like a store; only its primary's rows are ever written to it."""

    def __init__(self, opened: bootstrap.Opened, pool: Pool, primary: str, link: Link) -> None:
        self.primary = primary
        self.primary_head = opened.applier.head.seq
        self.failed: Callable[[GhostwireError], None] = _ignore
        self._store = store = Store(opened, pool, asyncio.get_running_loop(), _ignore)
        self._link = link
        self._mirror = mirror.Mirror(opened.applier, opened.location, opened.prepare)
        self._opened = opened
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self.query, self.query_one, self.read, self.run = store.query, store.query_one, store.read, store.run
        self.changes, self.as_of, self.verify = store.changes, store.as_of, store.verify
        self.backup, self.path, self.identity = store.backup, store.path, store.identity

    @property
    def head(self) -> Head:
        """The newest row of the log that is here."""
        return self._store.head

    @property
    def epoch(self) -> int:
        """The epoch of the primary that it follows."""
        return self._store.epoch

    @property
    def lag(self) -> int:
        """How many rows the primary had more when it was last heard."""
        return max(0, self.primary_head - self.head.seq)

    async def sync(self) -> int:
        """Take over what the primary has now; the number of the newest row here.

        Raises UnavailableError when the primary cannot be reached, ConflictError when its log is another.
        """
        if self._task is not None:
            await self._until_current()
        else:
            session = await self._connect()
            try:
                await self._take(session, self._caught_up())
            finally:
                session.close()
        return self.head.seq

    def follow(self) -> None:
        """Follow the primary from now on, through its restarts, until `close`, `promote` or `stop`."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def promote(self, *, alone: bool = False) -> int:
        """Become the primary: the epoch that was opened. Close it and open the file with `zqlite.open`.

        The primary is asked to stop writing, and all of its rows are taken over first. `alone` goes on without it,
        when it is gone for good: what it had not sent is lost, and it stops by itself when it hears of this copy.
        Raises UnavailableError when it cannot be reached, ConflictError when another replica was faster.
        """
        await self.stop()
        return await self._store.promote(0 if alone else await self._hand_over() - 1)

    async def close(self) -> None:
        """Stop, and close the file."""
        await self.stop()
        await self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _hand_over(self) -> int:
        session = await self._connect()
        granted: list[HandedOver] = []

        def enough(message: Any) -> bool:
            if isinstance(message, HandedOver):
                granted.append(message)
            return bool(granted) and self._has(granted[0].seq)

        try:
            session.ask_to_hand_over()
            await self._take(session, enough)
        finally:
            session.close()
        return granted[0].epoch

    async def _follow(self) -> None:
        while True:
            try:
                session = await self._connect()
                try:
                    await self._take(session, lambda message: False)
                finally:
                    session.close()
            except GhostwireError as error:
                self.failed(error)
            await asyncio.sleep(AGAIN_S)

    async def _until_current(self) -> None:
        """Wait for the next word of the primary that is followed, then for the rows that it told of."""
        self._heard.clear()
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._heard.wait()
        except TimeoutError:
            raise UnavailableError(f"the primary {self.primary} has said nothing for {SILENCE_S:g} s") from None
        wanted = self.primary_head
        if not self._has(wanted):
            async with contextlib.aclosing(self._store.pages(wanted)) as pages:
                await anext(pages)

    async def _connect(self) -> Session:
        head = self._store.head
        hello = Hello(frames.VERSION, self.identity, self.epoch, head.seq, head.hash)
        session = await Session.open(self.primary, self._link, hello)
        start = session.start
        if start.epoch < self.epoch:
            session.close()
            raise ConflictError(
                f"{self.primary} is in epoch {start.epoch}, this replica in {self.epoch}: it is no longer the primary, "
                "name the one that was promoted"
            )
        standing = {fence.PRIMARY: self.primary, fence.META: _reason(self.primary)}
        await self._work(lambda: self._mirror.follow(start, standing))
        if session.parts:
            await self._work(lambda: self._mirror.seed(start, session.parts))
        return session

    async def _take(self, session: Session, enough: Callable[[Any], bool]) -> None:
        while True:
            message = await session.receive()
            if isinstance(message, Rows):
                rows = message
                session.confirm(await self._work(lambda: self._mirror.apply(rows)))  # noqa: B023 (awaited at once)
            elif isinstance(message, Tick):
                self.primary_head = message.seq
                self._heard.set()
            if enough(message):
                return

    def _caught_up(self) -> Callable[[Any], bool]:
        """Whether all is here that the primary had when it was first heard."""
        wanted: list[int] = []

        def enough(message: Any) -> bool:
            if isinstance(message, Tick) and not wanted:
                wanted.append(message.seq)
            return bool(wanted) and self._has(wanted[0])

        return enough

    def _has(self, seq: int) -> bool:
        return self._opened.applier.head.seq >= seq

    async def _work(self, function: Callable[[], Any]) -> Any:
        return await self._store.work(lambda applier: function(), logs=False)


def _reason(primary: str) -> str:
    return f"this copy is a replica of {primary}"


def _ignore(_error: GhostwireError) -> None:
    """Without a callback, `sync` still raises."""
