"""Making a segment from a running store: one read transaction, while writes go on."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ghostwire.errors import ConflictError, DatabaseError, GhostwireError, ResourceExhaustedError, ValidationError
from ghostwire.zqlite import archive, changelog, keyring, replay, sealing, signing, snapshot
from ghostwire.zqlite.backup import items, segment
from ghostwire.zqlite.backup.manifest import VERSION, Manifest, Sealed
from ghostwire.zqlite.backup.segment import SUFFIX, ChunkWriter, Segment
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.composite import SigningKey
from ghostwire.zqlite.seal import FILE_KEY_BYTES, Recipient, Scope

if TYPE_CHECKING:
    from ghostwire.zqlite.reader import Reader

_DISK_FULL: Final = (28, 122)


@dataclass(frozen=True, slots=True)
class Source:
    """Whose backup it is: the store's id and epoch, and the keys that wrap the secrets of its columns and signers."""

    identity: bytes
    epoch: int
    column_key: bytes = field(repr=False)
    signing_key: bytes = field(repr=False)

    def open(self, name: str, value: Any) -> Any:
        """A setting as a backup holds it: its secrets in the clear."""
        if name == sealing.META:
            return sealing.unwrap(value, self.column_key)
        return signing.unwrap(value, self.signing_key) if name == signing.META else value


@dataclass(frozen=True, slots=True)
class Order:
    """What to make: in which directory, for whom, signed by whom, and after which segment (None: a full one)."""

    directory: Path
    recipients: tuple[Recipient, ...]
    signer: SigningKey = field(repr=False)
    previous: Segment | None = None


def take(reader: Reader, source: Source, order: Order) -> Segment | None:
    """Write a segment; None where nothing has happened since `previous`.

    Raises ValidationError without a recipient or for a `previous` of another store, ConflictError when the log does not
    go on from `previous`, or the file is there already, ResourceExhaustedError when the disk is full.
    """
    if not order.recipients:
        raise ValidationError("a backup needs at least one recipient: whose private key shall open it?")
    head = snapshot.newest(reader.connection)
    since = _start(reader) if order.previous is None else _follow(reader, source, order.previous)
    if order.previous is not None and head.seq == since.seq:
        return None
    path = order.directory / f"{source.epoch:08d}-{since.seq:012d}-{head.seq:012d}{SUFFIX}"
    if path.exists():
        raise ConflictError(f"the backup {path} is there already: name another directory, or make an incremental one")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        order.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = _write(reader, source, order, since, head, draft)
        os.link(draft, path)  # never over a file that is there
        draft.unlink()
        keyring.sync_directory(order.directory)
    except FileExistsError as error:
        if not order.directory.is_dir():
            raise DatabaseError(f"cannot write a backup into {order.directory}: it is a file") from error
        raise ConflictError(f"the backup {path} is there already: name another directory") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # where it could not be made, it cannot be removed either
            draft.unlink()
    return Segment(path, *made)


def _write(
    reader: Reader, source: Source, order: Order, since: Head, head: Head, draft: Path
) -> tuple[Manifest, bytes]:
    scope = Scope(source.identity, source.epoch, since.seq, head.seq)
    key = secrets.token_bytes(FILE_KEY_BYTES)
    with draft.open("xb") as stream:
        writer = ChunkWriter(stream, key)
        for packed in items.pack(_items(reader, source, since, order.previous is None)):
            writer.write(packed)
        writer.finish()
        manifest = Manifest(
            version=VERSION,
            network=source.identity,
            epoch=source.epoch,
            since=since.seq,
            since_hash=since.hash,
            seq=head.seq,
            ts=head.ts,
            hash=head.hash,
            previous=b"" if order.previous is None else order.previous.digest,
            made_at=time.time_ns(),
            packed_bytes=writer.size,
            chunks=tuple(writer.hashes),
            recipients=tuple(Sealed(each.fingerprint, each.seal(key, scope)) for each in order.recipients),
        )
        digest = segment.write_manifest(stream, manifest, order.signer)
        stream.flush()
        os.fsync(stream.fileno())
    return manifest, digest


def _items(reader: Reader, source: Source, since: Head, full: bool) -> Iterator[list[Any]]:
    connection = reader.connection
    for name, value in connection.execute("SELECT key, value FROM zq_meta ORDER BY key"):
        yield ["meta", name, source.open(str(name), value)]
    layouts = "SELECT since, table_id, layout FROM zq_layout WHERE since > ? ORDER BY since, table_id"
    for row in connection.execute(layouts, (-1 if full else since.seq,)):
        yield ["layout", *row]
    if full and since.seq:
        parts = "SELECT seq, part, ts, hash, data FROM zq_snapshot WHERE seq = ? ORDER BY part"
        for row in connection.execute(parts, (since.seq,)):
            yield ["snapshot", *row]
    for row in connection.execute(archive.ROWS, {"after": since.seq}):
        yield ["change", *row]
    yield ["tables", items.digests(replay.content(connection))]


def _start(reader: Reader) -> Head:
    """Where the kept log starts: at nothing, or behind the snapshot that took the place of what was dropped."""
    oldest = reader.value(archive.OLDEST)
    if oldest is None or oldest <= 1:
        return Head(0, 0, changelog.GENESIS)
    row = reader.query_one("SELECT seq, ts, hash FROM zq_snapshot WHERE seq = ? LIMIT 1", (oldest - 1,))
    if row is None:
        raise DatabaseError(f"the log starts at {oldest} and no snapshot stands before it: its beginning was cut off")
    return Head(*row)


def _follow(reader: Reader, source: Source, previous: Segment) -> Head:
    """Where `previous` ended, once it is known that the log goes on from there."""
    manifest = previous.manifest
    if manifest.network != source.identity:
        raise ValidationError(f"{previous.path.name} is a backup of another store: name the directory of this one's")
    if manifest.seq == 0:
        return manifest.head
    row = reader.query_one(archive.HEAD, {"seq": manifest.seq})
    found = None if row is None else row[2]
    if found is None:
        found = reader.value("SELECT hash FROM zq_snapshot WHERE seq = ?", (manifest.seq,))
    gone = reader.value(archive.OLDEST)
    if found != manifest.hash or (gone is not None and gone > manifest.seq + 1):
        raise ConflictError(
            f"the log does not go on from {previous.path.name} (row {manifest.seq}): the store was restored, or that "
            "part of its log was dropped. Make a full backup"
        )
    return manifest.head


def _unwritable(path: Path, error: OSError) -> GhostwireError:
    if error.errno in _DISK_FULL:
        return ResourceExhaustedError(f"the disk is full: the backup {path} was not made, free some space")
    return DatabaseError(f"cannot write the backup {path}: {error.strerror}")


def newest(found: Sequence[Segment], network: bytes) -> Segment | None:
    """The segment of this network that an incremental one follows."""
    mine = [each for each in found if each.manifest.network == network]
    return max(mine, key=_age, default=None)


def _age(found: Segment) -> tuple[int, int, int]:
    return found.manifest.epoch, found.manifest.seq, found.manifest.made_at
