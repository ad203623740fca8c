"""The past and the proof: views of any kept moment, and the check that tables are what the log says."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import apsw

from ghostwire.errors import DatabaseError, NotFoundError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import archive, changelog, snapshot
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.reader import Reader
from ghostwire.zqlite.replay import Replay, content, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ghostwire.zqlite.signing import Signer

_FIRST = f"{archive.ROWS} LIMIT 1"
_SIGNED = (
    "SELECT seq, signature, coalesce(change.epoch, zq_archive.epoch), coalesce(change.hash, zq_archive.hash) "
    "FROM zq_group LEFT JOIN change USING (seq) LEFT JOIN zq_archive ON zq_archive.last = seq ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` has found to hold: the log from behind row `since` up to `head`, and the tables.

    `oldest` is the time of row `since` (UTC nanoseconds): what was before it is no longer kept; 0 where all of it is.
    """

    since: int
    head: Head
    oldest: int = 0


class Past:
    """The store as it was after row `head.seq` of its log: read-only, in memory, for one thread at a time."""

    def __init__(self, reader: Reader, head: Head) -> None:
        self.head = head
        self.query = reader.query
        self.query_one = reader.query_one
        self.stream = reader.stream
        self.value = reader.value
        self._reader = reader

    def close(self) -> None:
        """Free the memory."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_of(reader: Reader, ts: int, prepare: Callable[[apsw.Connection], None]) -> Past:
    """Rebuild the tables as they were at `ts` (UTC nanoseconds). Raises NotFoundError for a time that is not kept."""
    start = snapshot.find(reader.connection, ts)
    replay = Replay(apsw.Connection(":memory:"), prepare)
    head = _rebuild(reader, replay, start, ts)
    if head.seq == 0 or (start is None and _oldest(reader)[0] > 1):
        replay.connection.close()
        since = _oldest(reader)[1]
        if not since:
            raise NotFoundError("nothing was ever written to this store: it has no past")
        raise NotFoundError(f"the store can answer from {_moment(since)} on: {_moment(ts)} is too old")
    connection = replay.connection
    connection.pragma("query_only", True)
    return Past(Reader(connection), head)


def verify(
    reader: Reader, outside: Head | None, prepare: Callable[[apsw.Connection], None], signer: Signer
) -> Verified:
    """Check the chain and its signatures, the newest snapshot, that the tables are what the log says, and `outside`.

    Raises DatabaseError that names the first thing that does not hold. Without a head kept elsewhere, a log whose
    newest rows were cut off cannot be told from a shorter one.
    """
    oldest = _oldest(reader)[0]
    start = _anchor(reader, oldest)
    replay = Replay(apsw.Connection(":memory:"), prepare)
    try:
        head = _rebuild(reader, replay, start, None, outside)
        if outside is not None and head.seq < outside.seq:
            raise DatabaseError(
                f"the log ends at {head.seq}, yet a head for {outside.seq} was given out: its end was cut off"
            )
        _check_groups(reader, signer, head)
        wrong = differences(content(reader.connection), content(replay.connection))
    finally:
        replay.connection.close()
    if wrong:
        raise DatabaseError(f"the tables differ from what the log says: {', '.join(wrong)}")
    return Verified(0, head) if start is None else Verified(start.head.seq, head, start.head.ts)


def _rebuild(
    reader: Reader, replay: Replay, start: snapshot.Snapshot | None, ts: int | None, outside: Head | None = None
) -> Head:
    """Replay into `replay`, checking the chain on the way; where it ends."""
    head = Head(0, 0, changelog.GENESIS)
    with replay.connection:
        if start is not None:
            head = start.head
            for body in snapshot.unpack(start):
                replay.apply(ChangeRecord(head.seq, 0, head.ts, "", "", body, b"", b""))
        for record in changelog.verify(_records(reader, head.seq, ts), head.hash, head.seq):
            replay.apply(record)
            _compare(record, start, outside)
            head = Head(record.seq, record.ts, record.hash)
    replay.finish()
    return head


def _compare(record: ChangeRecord, start: snapshot.Snapshot | None, outside: Head | None) -> None:
    if outside is not None and record.seq == outside.seq and record.hash != outside.hash:
        raise DatabaseError(
            f"row {record.seq} is not the one that a head was given out for: the log was rewritten, or the store was "
            "restored from a backup that ends before it"
        )
    if record.kind == snapshot.KIND and start is not None:
        event = changelog.event(record.body)
        told = event.payload if event else {}
        if told.get("seq") == start.head.seq and (told["hash"], told["digest"]) != (start.head.hash, start.digest):
            raise DatabaseError(f"the snapshot at {start.head.seq} is not the one that the log vouches for")


def _check_groups(reader: Reader, signer: Signer, head: Head) -> None:
    """Check the signature of every commit. The newest row ends one, and so vouches for all before it."""
    newest = 0
    for seq, signature, epoch, digest in reader.stream(_SIGNED):
        if digest is None:
            raise DatabaseError(f"row {seq} was signed and is not in the log: its end was cut off")
        signer.check(signature, epoch, seq, digest)
        newest = seq
    if newest != head.seq:
        raise DatabaseError(f"the log goes on to row {head.seq} without a signature after {newest}: it was added to")


def _anchor(reader: Reader, oldest: int) -> snapshot.Snapshot | None:
    """Where the kept log starts: nowhere (row 1), or the snapshot that took the place of what was dropped."""
    if oldest <= 1:
        return None
    rows = reader.query("SELECT min(ts) FROM zq_snapshot WHERE seq = ?", (oldest - 1,))
    found = snapshot.find(reader.connection, rows[0][0]) if rows[0][0] is not None else None
    if found is None:
        raise DatabaseError(f"the log starts at {oldest} and no snapshot stands before it: its beginning was cut off")
    return found


def _records(reader: Reader, behind: int, ts: int | None) -> Iterator[ChangeRecord]:
    with contextlib.closing(reader.connection.cursor()) as cursor:
        rows: Any = cursor.execute(archive.ROWS, {"after": behind})
        for row in rows:
            record = ChangeRecord(*row)
            if ts is not None and record.ts > ts:
                return
            yield record


def _oldest(reader: Reader) -> tuple[int, int]:
    """Seq and time of the oldest row kept, and of the oldest snapshot's where it is older."""
    first = reader.query_one(_FIRST, {"after": 0})
    seq, ts = (1, 0) if first is None else (first[0], first[2])
    shot = reader.value("SELECT min(ts) FROM zq_snapshot")
    return seq, ts if shot is None else min(ts, shot)


def _moment(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).isoformat(timespec="milliseconds")
