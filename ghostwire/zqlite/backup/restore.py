"""From segments back to a store: in memory to see whether they hold, or in a new file.

Everything is checked before a file gets its name: signatures, the chain of segments, the chain of the log, and that the
tables it makes are what they were when the backup was made. A restored store opens a new epoch.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw

from ghostwire.errors import ConflictError, DatabaseError, NotFoundError, ResourceExhaustedError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import (
    bootstrap,
    changelog,
    engine,
    faults,
    fence,
    functions,
    keyring,
    milestone,
    sealing,
    signing,
    snapshot,
)
from ghostwire.zqlite.backup import items, segment
from ghostwire.zqlite.backup.segment import SUFFIX, Segment
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.composite import VerifyingKey
from ghostwire.zqlite.engine import Location
from ghostwire.zqlite.replay import Replay, content
from ghostwire.zqlite.seal import Identity
from ghostwire.zqlite.signing import Signer
from ghostwire.zqlite.snapshot import Snapshot

KIND: Final = "zqlite.restore"


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out: the network's id, the epoch, the newest row, and how many tables were compared."""

    network: bytes
    epoch: int
    head: Head
    segments: int
    tables: int


@dataclass(slots=True)
class _Kept:
    """What a restored file keeps beside its tables."""

    meta: dict[str, Any] = field(default_factory=dict)
    layouts: list[tuple[Any, ...]] = field(default_factory=list)
    parts: list[tuple[Any, ...]] = field(default_factory=list)
    tables: dict[str, bytes] = field(default_factory=dict)


def find(paths: Sequence[Path], signer: VerifyingKey) -> list[Segment]:
    """The segments in files and directories, each with its signature checked. Raises NotFoundError where none is."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise NotFoundError(f"there is no backup in {', '.join(map(str, paths))}: files end in {SUFFIX}")
    return [segment.read(file, signer) for file in files]


def chain(found: Sequence[Segment]) -> list[Segment]:
    """From a full segment to the newest, each named by the one after it.

    Raises NotFoundError when one between them is missing, DatabaseError when they do not fit together.
    """
    by_digest = {each.digest: each for each in found}
    newest = max(found, key=lambda each: (each.manifest.epoch, each.manifest.seq, each.manifest.made_at))
    links = [newest]
    while links[0].manifest.previous:
        after = links[0]
        before = by_digest.get(after.manifest.previous)
        if before is None:
            raise NotFoundError(f"{after.path.name} follows a segment that is not here: add the one before it")
        if (before.manifest.network, before.manifest.seq, before.manifest.hash) != (
            after.manifest.network,
            after.manifest.since,
            after.manifest.since_hash,
        ):
            raise DatabaseError(f"{after.path.name} does not go on where {before.path.name} ends")
        links.insert(0, before)
    return links


def verify(found: Sequence[Segment], identity: Identity) -> Restored:
    """Restore into memory and compare.

    Raises DatabaseError for what does not hold, PermissionDeniedError for a key that does not open it.
    """
    links = chain(found)
    connection = apsw.Connection(":memory:")
    try:
        kept, head = _Rebuild(connection, identity).run(links)
    finally:
        connection.close()
    newest = links[-1].manifest
    return Restored(newest.network, newest.epoch, head, len(links), len(kept.tables))


def restore(
    found: Sequence[Segment], identity: Identity, path: Path, locate: Callable[[Path], Location], above: int = 0
) -> Restored:
    """Restore into a new file at `path`, whose epoch is above that of the backup and above `above`.

    `locate` says what opens a file at the path that it is given. Raises what `verify` raises, ConflictError when
    `path` exists, ResourceExhaustedError when the disk is full.
    """
    links = chain(found)
    if path.exists():
        raise ConflictError(f"{path} exists: a restore never writes over a store. Move it away, or name another file")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        restored = _fill(draft, links, identity, locate, above)
        os.link(draft, path)  # never over a file that is there
        keyring.sync_directory(path.parent)
    except FileExistsError as error:
        raise ConflictError(f"{path} exists: a restore never writes over a store") from error
    except apsw.FullError as error:
        raise ResourceExhaustedError(f"the disk is full: {path} was not restored, free some space") from error
    except (apsw.Error, OSError) as error:
        raise faults.translate(error) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{draft}{suffix}").unlink(missing_ok=True)
    return restored


def _fill(
    draft: Path, links: list[Segment], identity: Identity, locate: Callable[[Path], Location], above: int
) -> Restored:
    location = locate(draft)
    connection = engine.connect_writer(location)
    try:
        bootstrap.make_tables(connection)
        kept, head = _Rebuild(connection, identity, keep=True).run(links)
        newest = links[-1]
        epoch = max(newest.manifest.epoch, above) + 1
        signer = Signer(kept.meta["id"], kept.meta[signing.META])
        for own in fence.STANDING:
            kept.meta.pop(own, None)
        with connection:
            told = {**kept.meta, "epoch": epoch, sealing.META: sealing.next_version(kept.meta[sealing.META])}
            meta = bootstrap.wrap(told, location)
            connection.executemany("INSERT INTO zq_meta VALUES (?, ?)", list(meta.items())).fetchall()
            connection.executemany("INSERT INTO zq_layout VALUES (?, ?, ?)", kept.layouts).fetchall()
            connection.executemany("INSERT INTO zq_snapshot VALUES (?, ?, ?, ?, ?)", kept.parts).fetchall()
            told = {"seq": head.seq, "hash": head.hash, "epoch": newest.manifest.epoch, "backup": newest.digest}
            head = milestone.enter(connection.execute, head, epoch, signer, (KIND, told))
    except BaseException:
        engine.forbid_checkpoint(connection)
        engine.close(connection)
        raise
    connection.close()
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    return Restored(newest.manifest.network, epoch, head, len(links), len(kept.tables))


class _Rebuild:
    """Replays segments into a database; with `keep`, the log too."""

    def __init__(self, connection: apsw.Connection, identity: Identity, keep: bool = False) -> None:
        self._connection = connection
        self._identity = identity
        self._keep = keep
        self._kept = _Kept()
        self._replay: Replay | None = None

    def run(self, links: list[Segment]) -> tuple[_Kept, Head]:
        """Replay them all and compare the tables with what they were."""
        first = links[0].manifest
        head = Head(first.since, 0, first.since_hash)
        with self._connection:
            for link in links:
                head = self._segment(link, head)
        if self._replay is None:
            raise DatabaseError(f"{links[0].path.name} holds no store: make a new backup")
        self._replay.finish()
        found = items.digests(content(self._connection))
        told = self._kept.tables
        wrong = sorted(name for name in found.keys() | told.keys() if found.get(name) != told.get(name))
        if wrong:
            raise DatabaseError(f"the restored tables differ from what was backed up: {', '.join(wrong)}")
        return self._kept, head

    def _segment(self, link: Segment, head: Head) -> Head:
        self._kept.meta.clear()
        self._kept.tables = {}
        unpacked = items.unpack(segment.chunks(link, segment.file_key(link, self._identity)))
        records = self._records(link, unpacked, head)
        for record in changelog.verify(records, head.hash, head.seq):
            self._apply(record)
            head = Head(record.seq, record.ts, record.hash)
        manifest = link.manifest
        if (head.seq, head.hash) != (manifest.seq, manifest.hash):
            raise DatabaseError(f"the log in {link.path.name} ends at {head.seq}, not where its manifest says")
        return head

    def _records(self, link: Segment, unpacked: Iterator[list[Any]], head: Head) -> Iterator[ChangeRecord]:
        """Hand the log's rows on, and take in what stands between them."""
        shots: list[tuple[Any, ...]] = []
        started = False
        for name, *values in unpacked:
            if name == "change":
                started = started or self._begin(link, head, shots)
                yield ChangeRecord(*values)
            elif name == "meta":
                self._kept.meta[values[0]] = values[1]
            elif name == "layout":
                self._kept.layouts.append(tuple(values))
            elif name == "snapshot":
                shots.append(tuple(values))
            elif name == "tables":
                self._kept.tables = values[0]
            else:
                raise DatabaseError(f"{link.path.name} holds {name!r}, which this release does not know: upgrade it")
        if not started:
            self._begin(link, head, shots)

    def _begin(self, link: Segment, head: Head, shots: list[tuple[Any, ...]]) -> bool:
        """Before a segment's first row: the functions that tables may need, and the snapshot it starts from."""
        meta = self._kept.meta
        if meta.get("id") != link.manifest.network or not isinstance(meta.get(sealing.META), bytes):
            raise DatabaseError(f"{link.path.name} holds another store than its manifest says")
        if self._replay is None:
            self._replay = Replay(self._connection, self._prepare)
        if shots:
            start = Snapshot(Head(shots[0][0], shots[0][2], shots[0][3]), tuple(shot[4] for shot in shots))
            if (start.head.seq, start.head.hash) != (head.seq, head.hash):
                raise DatabaseError(f"the snapshot in {link.path.name} is not the one that its manifest names")
            for body in snapshot.unpack(start):
                self._replay.apply(ChangeRecord(start.head.seq, 0, start.head.ts, "", "", body, b"", b""))
            self._kept.parts = shots
        return True

    def _prepare(self, connection: apsw.Connection) -> None:
        functions.register(connection)
        key = secrets.token_bytes(keyring.KEY_BYTES)
        secret = sealing.wrap(self._kept.meta[sealing.META], key)
        sealing.Ring(self._kept.meta["id"], key, secret, None).register(connection)

    def _apply(self, record: ChangeRecord) -> None:
        assert self._replay is not None  # noqa: S101 (the first row has begun it)
        self._replay.apply(record)
        if self._keep:
            self._connection.execute(
                "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(record.seq, record.epoch, record.ts, record.actor, record.kind),
                    *(record.body, record.prev, record.hash),
                ),
            ).fetchall()
