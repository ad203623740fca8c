"""What is done with a store as a whole: its past and proof, its keys, copies, and the length of its log."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostwire.errors import ConflictError, DatabaseError
from ghostwire.zqlite import (
    archive,
    bootstrap,
    changelog,
    engine,
    fence,
    heads,
    history,
    keyring,
    promotion,
    signing,
    snapshot,
)
from ghostwire.zqlite.access import Access, ignore
from ghostwire.zqlite.backup import manifest, take
from ghostwire.zqlite.composite import SigningKey
from ghostwire.zqlite.lock import FileLock
from ghostwire.zqlite.pool import MOST, Pool
from ghostwire.zqlite.reader import Reader
from ghostwire.zqlite.watch import SILENT
from ghostwire.zqlite.writer import Errand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostwire.zqlite.backup.segment import Segment
    from ghostwire.zqlite.seal import Recipient
    from ghostwire.zqlite.writer import Gate


class Store(Access):
    """An open store. Every method that is awaited belongs to the event loop that opened it.

    A write returns once it is on disk, and then every read that starts sees it.
    """

    async def as_of(self, ts: int) -> history.Past:
        """The store as it was at `ts` (UTC nanoseconds), to be closed. Raises NotFoundError when that is not kept."""
        return await self.run(lambda reader: history.as_of(reader, ts, self._prepare))

    async def verify(self, head: changelog.Head | heads.SignedHead | None = None) -> history.Verified:
        """Check the whole log and that the tables are what it says; with a `head` kept elsewhere, also its end.

        Raises DatabaseError that names what does not hold; for a signed head, also AuthenticationError where its
        signature does not hold and ValidationError where it is of another store.
        """
        outside = head
        if isinstance(outside, heads.SignedHead):
            outside = heads.admit(outside, self.identity, self.epoch, self._applier.signer.head_keys)
        signer = self._applier.signer
        return await self.run(lambda reader: history.verify(reader, outside, self._prepare, signer))

    async def hear(self, signed: heads.SignedHead) -> None:
        """Hold a head that comes back from outside against the log. A genuine one that is ahead fences the store.

        For one that is ahead of the log or contradicts it, raises AuthenticationError where its signature does not
        hold, and ValidationError where it is of another store.
        """
        log, told = (self.epoch, self.head), (signed.epoch, signed.head)
        reason = await self.run(lambda reader: fence.judge(reader, log, told))
        if reason is not None:  # only then is it worth the time of a signature
            heads.check(signed, self.identity, self._applier.signer.head_keys)
            await self.fence(reason, signed.epoch)

    async def fence(self, reason: str, heard: int = 0) -> None:
        """Write nothing any more, also after the next `open`: every write raises DatabaseError with `reason`.

        `heard` is the epoch of the copy that is ahead, where that is known.
        """
        if self._writer.fence is None:
            self._writer.fence = error = fence.fenced(reason)
            self.on_fence(error)
            await self.work(lambda applier: fence.lay(applier, reason, heard), logs=False)

    async def promote(self, above: int = 0) -> int:
        """Go on from this copy: open an epoch above `above` and all that it has heard of, and end the fence.

        Every other copy stops writing when it hears of that. Returns the epoch.
        """
        epoch = await self.work(lambda applier: promotion.promote(applier, above), logs=False)
        self._writer.fence = None
        return epoch

    @property
    def fenced(self) -> DatabaseError | None:
        """Why nothing may be written because another copy of the store is ahead, if so."""
        return self._writer.fence

    async def sign_head(self, into: str | os.PathLike[str] | None = None) -> heads.SignedHead:
        """The newest row of the log, signed under the keyring's key for heads: keep it elsewhere, for `verify`.

        With `into` it is also put in that file, whole or not at all; raises DatabaseError where that fails, and where
        another copy is ahead of this one.
        """
        if self.fenced is not None:
            raise DatabaseError(self.fenced.message)

        def sign(reader: Reader) -> heads.SignedHead:
            newest = snapshot.newest(reader.connection)
            signed = heads.sign(self.identity, self.epoch, newest, self.signing_key(heads.USE))
            if into is not None:
                signed.save(Path(into))
            return signed

        return await self.run(sign)

    def signing_key(self, use: str) -> SigningKey:
        """The signing key for one use: `heads.USE`, or `backup.manifest.USE`, which follows from the root key."""
        if use == manifest.USE:
            return SigningKey(keyring.signing_seed(self._location.signing_key, use))
        return self._applier.signer.key(use)

    async def rotate_signer(self) -> None:
        """Sign heads and commits under fresh keys from now on; what was signed before still verifies."""
        await self.work(lambda applier: signing.rotate(applier, self._location.signing_key))

    async def backup(
        self,
        directory: str | os.PathLike[str],
        recipients: Sequence[Recipient],
        *,
        signer: SigningKey | None = None,
        previous: Segment | None = None,
    ) -> Segment | None:
        """Write a backup that only `recipients` can open, signed by `signer` or the keyring, while work goes on.

        After `previous` it holds what came since, and is None where nothing did. Raises ConflictError when the log does
        not go on from there, ResourceExhaustedError when the disk is full, ValidationError without a recipient.
        """
        started = time.perf_counter_ns()
        source = self._source
        key = signer or self.signing_key(manifest.USE)
        order = take.Order(Path(directory), tuple(recipients), key, previous)
        made = await self.run(lambda reader: take.take(reader, source, order))
        size = 0 if made is None else made.manifest.packed_bytes
        self._watch.tell("backup", time.perf_counter_ns() - started, count=size)
        return made

    def unwrapped(self, name: str, value: Any) -> Any:
        """A setting of the store's own table as it goes to backups and replicas: a secret is in the clear."""
        return self._source.open(name, value)

    def hold_answers(self, gate: Gate | None) -> None:
        """Let `gate` decide from now on when an answer may be given; None: at once."""
        self._writer.gate = gate

    @property
    def _source(self) -> take.Source:
        location = self._location
        return take.Source(self.identity, self.epoch, location.column_key, location.signing_key)

    async def copy(self, path: str | os.PathLike[str]) -> Store:
        """The store as it is now in a new file, open, under the same key: to try something out, then to be deleted.

        It is no backup, and must never be written in the store's place: it cannot be told from it. Raises ConflictError
        where there is such a file.
        """
        location = replace(self._location, path=Path(os.path.abspath(path)), durability="lazy")  # noqa: ASYNC240, PTH100

        def start(reader: Reader) -> tuple[bootstrap.Opened, Pool]:
            lock = FileLock.take(location.path)
            if not lock.created:
                lock.release()
                raise ConflictError(f"{location.path} is there already: a copy needs a path of its own")
            try:
                engine.duplicate(reader.connection, location)
            except BaseException:
                location.path.unlink()
                lock.release()
                raise
            opened = bootstrap.open_store(lock, lambda: location)
            return opened, bootstrap.read_connections(opened, (1, MOST), 5.0, SILENT)

        opened, pool = await self.run(start)
        return Store(opened, pool, self._loop, ignore)

    async def snapshot(self) -> changelog.Head:
        """Keep a snapshot of all rows, so that `retain` may drop the log before it; the row it stands behind."""
        taken = await self.run(lambda reader: snapshot.take(reader, self.catalogue))
        await self._enqueue(Errand(lambda applier: snapshot.keep(applier, taken)))
        return taken.head

    async def retain(self, since: int) -> int:
        """Drop the log before the newest snapshot that is not behind row `since`; how many rows went.

        `as_of` and `verify` then start there. Raises NotFoundError when there is no such snapshot.
        """
        gone: int = await self._enqueue(Errand(lambda applier: snapshot.drop_log(applier, since)))
        return gone

    async def archive(self, before: int) -> int:
        """Put the log up to row `before`, but not beyond the newest snapshot, into column blocks; how many rows went.

        `changes`, `as_of`, `verify`, backups and replicas read them as before, and so does SQL by the table-valued
        function `change_archived(after)`. Raises NotFoundError where there is no snapshot.
        """
        upto = await self.run(lambda reader: archive.limit(reader, before))
        gone = at = 0
        while (piece := await self.run(partial(archive.piece, after=at, upto=upto))) is not None:
            at = piece.last
            if piece.rows:
                gone += await self._enqueue(Errand(partial(self._archive.keep, piece=piece)))
        return gone

    async def rotate_keys(self) -> None:
        """Seal ENCRYPTED columns under fresh keys; returns once every value is, while reads and writes go on.

        What a crash or `close` cuts short, the next `open` finishes in the background. Raises DatabaseError where
        values do not open; they are left as they are, all others are done.
        """
        await self._upkeep.rotate(self._host())

    async def train(self) -> int:
        """Train dictionaries for COMPRESSED columns now, where they pay; how many. In time it happens by itself."""
        return await self._upkeep.train(self._host())
