"""The primary's end: it sends its log to replicas as it is committed, and hears how far they are.

`Store.pages` is the only source: what a replica gets is what every other follower of the log gets, with the signatures
and the settings that belong to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ghostwire.errors import ConflictError, GhostwireError, UnavailableError, ValidationError, WireError
from ghostwire.zqlite import archive, fence, snapshot
from ghostwire.zqlite.changelog import GENESIS, Head
from ghostwire.zqlite.replica import frames
from ghostwire.zqlite.replica.confirmation import PATIENCE_S, Confirmation
from ghostwire.zqlite.replica.frames import Ack, HandedOver, HandOver, Hello, Part, Refused, Rows, Start, Tick

if TYPE_CHECKING:
    from ghostwire.model.change import ChangeRecord
    from ghostwire.zqlite.reader import Reader
    from ghostwire.zqlite.replica.link import Link
    from ghostwire.zqlite.store import Store

TICK_S: Final = 1.0
HELLO_S: Final = 10.0
UNSIGNED_ROWS: Final = 4096
"""Rows that are sent without the signature of the commit they end in, where none comes."""


class Feed:
    """Replicas of one store. `async with await serve(...) as feed`."""

    def __init__(self, store: Store, confirmation: Confirmation | None) -> None:
        self._replicas: dict[asyncio.Task[None], int] = {}
        self.failed: Callable[[GhostwireError], None] = _ignore
        self._store = store
        self._confirmation = confirmation
        self._handed_over = b""
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None  # noqa: S101 (set by `serve`)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def confirmed(self) -> list[int]:
        """For each replica that is connected, the newest row that is on its disk."""
        return list(self._replicas.values())

    async def close(self, within: float = 0.0) -> None:
        """Let every replica go, after `within` seconds for what they are about to confirm.

        Answers that are held still are errors then.
        """
        if self._confirmation is not None:
            await self._confirmation.settle(within)
        if self._server is not None:
            self._server.close()
        for task in self._replicas:
            task.cancel()
        if self._replicas:
            await asyncio.wait(self._replicas)
        if self._confirmation is not None:
            self._store.hold_answers(None)
            self._confirmation.close()

    async def __aenter__(self) -> Feed:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A replica has connected and proved itself."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._replicas[task] = 0
        task.add_done_callback(self._replicas.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            hello = await asyncio.wait_for(frames.from_replica(reader), HELLO_S)
            if not isinstance(hello, Hello) or hello.version != frames.VERSION:
                raise WireError(f"a replica greets with hello, version {frames.VERSION}: use the same release")
            head = await self._begin(hello, writer, peer)
            own = asyncio.current_task()
            assert own is not None  # noqa: S101 (it runs in one)
            self._replicas[own] = head.seq
            jobs = [self._send_rows(head, writer), self._tick(writer), self._listen(own, reader, writer, peer)]
            tasks = [asyncio.get_running_loop().create_task(job) for job in jobs]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        except TimeoutError:
            self.failed(UnavailableError("a replica connected and said nothing"))
        except GhostwireError as error:
            if not isinstance(error, UnavailableError):
                self.failed(error)
            with contextlib.suppress(OSError):
                frames.send(writer, Refused(error.code, error.message))
                await writer.drain()
        except OSError as error:
            self.failed(UnavailableError(f"a replica has gone: {error}"))
        finally:
            writer.close()

    async def _begin(self, hello: Hello, writer: asyncio.StreamWriter, peer: bytes) -> Head:
        """Say where its rows begin, with a snapshot where it has none and the log before is gone."""
        store = self._store
        if hello.store and hello.store != store.identity:
            raise ValidationError(f"this primary holds store {store.identity.hex()}, not {hello.store.hex()}")
        if hello.store:
            log, told = (store.epoch, store.head), (hello.epoch, Head(hello.seq, 0, hello.hash))
            reason = await store.run(lambda reader: fence.judge(reader, log, told))
            if reason is not None:
                await store.fence(reason, hello.epoch)
        if store.fenced is not None and not hmac.compare_digest(self._handed_over, peer):
            raise ConflictError(f"this copy is no primary: {store.fenced.message}")
        start, parts = await store.run(lambda reader: self._start(reader, hello))
        frames.send(writer, start)
        for part in parts:
            frames.send(writer, Part(part))
            await writer.drain()
        return Head(start.seq, start.ts, start.hash)

    def _start(self, reader: Reader, hello: Hello) -> tuple[Start, tuple[bytes, ...]]:
        """Behind which row the replica goes on. Raises ConflictError where its log is not a part of this one."""
        behind = reader.query_one(archive.HEAD, {"seq": hello.seq}) or (
            reader.query_one("SELECT seq, ts, hash FROM zq_snapshot WHERE seq = ? LIMIT 1", (hello.seq,))
        )
        if behind is not None and behind[2] != hello.hash:
            raise ConflictError(
                f"the replica's log went another way before row {hello.seq}: move its file away and make it anew"
            )
        oldest = reader.value(archive.OLDEST) or 1
        meta = settings(reader, self._store)
        identity, epoch = self._store.identity, self._store.epoch
        if behind is not None:
            return Start(identity, epoch, meta, *behind), ()
        if hello.seq > self._store.head.seq:
            raise ConflictError(
                f"the replica has rows up to {hello.seq} that this primary never had: move its file away and make it "
                "anew"
            )
        if hello.seq:
            raise ConflictError(
                f"the log before row {oldest} is gone, and the replica ends at {hello.seq}: move its file away and "
                "make it anew"
            )
        if oldest <= 1:
            return Start(identity, epoch, meta, 0, 0, GENESIS), ()
        shot = snapshot.find(reader.connection)
        assert shot is not None  # noqa: S101 (the log is dropped behind one only)
        layouts = reader.query("SELECT since, table_id, layout FROM zq_layout WHERE since <= ?", (shot.head.seq,))
        head = shot.head
        rows = tuple((since, table, data) for since, table, data in layouts)
        return Start(identity, epoch, meta, head.seq, head.ts, head.hash, len(shot.parts), rows), shot.parts

    async def _send_rows(self, head: Head, writer: asyncio.StreamWriter) -> None:
        sent: dict[str, Any] = {}
        waiting: list[ChangeRecord] = []
        async for page in self._store.pages(head.seq + 1):
            waiting += page
            first, last = waiting[0].seq, waiting[-1].seq
            groups, meta = await self._store.run(lambda reader: _belonging(reader, first, last, self._store))  # noqa: B023 (awaited at once)
            whole = groups[-1][0] - first + 1 if groups else (len(waiting) if len(waiting) >= UNSIGNED_ROWS else 0)
            if not whole:
                continue
            records = tuple(msgspec.structs.astuple(each) for each in waiting[:whole])
            frames.send(writer, Rows(records, groups, None if meta == sent else meta))
            sent = meta
            del waiting[:whole]
            await writer.drain()

    async def _tick(self, writer: asyncio.StreamWriter) -> None:
        while True:
            frames.send(writer, Tick(self._store.epoch, self._store.head.seq, time.time_ns()))
            await writer.drain()
            await asyncio.sleep(TICK_S)

    async def _listen(
        self,
        replica: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: bytes,
    ) -> None:
        while True:
            message = await frames.from_replica(reader)
            if isinstance(message, Ack):
                self._replicas[replica] = message.seq
                if self._confirmation is not None:
                    self._confirmation.confirm(message.seq)
            elif isinstance(message, HandOver):
                await self._hand_over(writer, peer)
            else:
                raise WireError("a replica greets once")

    async def _hand_over(self, writer: asyncio.StreamWriter, peer: bytes) -> None:
        """Stop writing for good, and let one replica open the next epoch. The same one may ask again."""
        store = self._store
        if store.fenced is None:
            self._handed_over = peer
            await store.fence(f"epoch {store.epoch + 1} was handed over to a replica", store.epoch + 1)
        elif not hmac.compare_digest(self._handed_over, peer):
            raise ConflictError("another replica was promoted first: follow that one")
        frames.send(writer, HandedOver(store.epoch + 1, store.head.seq))
        await writer.drain()


async def serve(
    store: Store,
    link: Link,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    semi_sync: bool = False,
    patience: float | None = PATIENCE_S,
) -> Feed:
    """Let replicas follow `store` on this address. Belongs to the loop of the store; close it before the store.

    With `semi_sync`, every write is answered once a replica has it on its disk, too; after `patience` seconds without
    that it raises UnavailableError, though it stands here (None: it waits).

    Raises what `Link.context` raises, and UnavailableError where the address is taken.
    """
    context = link.context(server=True)
    confirmation = Confirmation(store.head.seq, patience) if semi_sync else None
    feed = Feed(store, confirmation)
    try:
        feed._server = await asyncio.start_server(feed.accepted, host, port, ssl=context, ssl_handshake_timeout=HELLO_S)
    except OSError as error:
        raise UnavailableError(f"cannot listen for replicas on {host}:{port}: {error.strerror or error}") from error
    store.hold_answers(confirmation)
    return feed


def settings(reader: Reader, store: Store) -> dict[str, Any]:
    """The store's settings as a replica is told them: its secrets in the clear, nothing of this copy's own standing."""
    meta: dict[str, Any] = dict(reader.query("SELECT key, value FROM zq_meta"))
    for own in fence.STANDING:
        meta.pop(own, None)
    return {name: store.unwrapped(name, value) for name, value in meta.items()}


def _belonging(
    reader: Reader, first: int, last: int, store: Store
) -> tuple[tuple[tuple[int, bytes], ...], dict[str, Any]]:
    """The signatures of the commits that end among these rows, and the settings now."""
    rows = reader.query("SELECT seq, signature FROM zq_group WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last))
    return tuple((seq, signature) for seq, signature in rows), settings(reader, store)


def _ignore(_error: GhostwireError) -> None:
    """Without a callback, the replica still hears why."""
