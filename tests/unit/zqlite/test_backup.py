"""Backups: what comes back is what was there, and nothing that was touched comes back at all."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from ghostwire import zqlite
from ghostwire.errors import (
    AuthenticationError,
    ConflictError,
    DatabaseError,
    GhostwireError,
    NotFoundError,
    PermissionDeniedError,
    ValidationError,
)
from ghostwire.zqlite import Identity, SigningKey, backup, composite, engine
from ghostwire.zqlite.backup import Segment, manifest, segment
from ghostwire.zqlite.engine import Location
from ghostwire.zqlite.replay import content, differences

KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
ME = Identity(bytes(range(64, 96)))
SECRET = "the seed phrase of a wallet"
PLAIN = "marmalade-in-the-clear"


def locate(path: Path) -> Location:
    return engine.locate(path, OTHER_KEY, None)


async def fill(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE, s ENCRYPTED TEXT)")
    await db.execute("CREATE TABLE big(id INTEGER PRIMARY KEY, data BLOB)")
    await db.execute("INSERT INTO t(v, s) VALUES (?, ?), (1, 'b'), (1.5, NULL)", (PLAIN, SECRET))
    await db.execute("CREATE VIRTUAL TABLE docs USING fts5(body); INSERT INTO docs VALUES ('mesh of nodes')")
    await db.execute("CREATE VIEW seen AS SELECT v FROM t")
    await db.execute("DELETE FROM t WHERE id = 2")


async def grow(db: zqlite.Store) -> None:
    await db.execute("ALTER TABLE big ADD COLUMN note DEFAULT 7")
    await db.execute("INSERT INTO big(data) VALUES (?)", (os.urandom(200_000),))
    async with db.transaction() as tx:
        await tx.event("t-1", "seen", {"by": "alice"})


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def public(db: zqlite.Store) -> zqlite.VerifyingKey:
    return db.signing_key(manifest.USE).public


async def make(db: zqlite.Store, folder: Path, previous: Segment | None = None) -> Segment:
    made = await db.backup(folder, [ME.public], previous=previous)
    assert made is not None
    return made


async def same(db: zqlite.Store, other: zqlite.Store) -> list[str]:
    left = await db.run(lambda reader: content(reader.connection))
    right = await other.run(lambda reader: content(reader.connection))
    return differences(left, right)


async def test_round_trip_under_another_key(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    first = await make(db, tmp_path / "b")
    await grow(db)
    second = await make(db, tmp_path / "b", first)
    assert await db.backup(tmp_path / "b", [ME.public], previous=second) is None
    found = backup.find([tmp_path / "b"], public(db))
    assert [each.digest for each in found] == [first.digest, second.digest]
    checked = backup.verify(found, ME)
    assert (checked.head, checked.segments, checked.epoch) == (db.head, 2, 1)
    restored = backup.restore(found, ME, tmp_path / "r.db", locate, above=6)
    assert (restored.epoch, restored.head.seq) == (7, db.head.seq + 1)
    assert names(tmp_path) == {"b", "r.db", *(name for name in names(tmp_path) if name.startswith("store.db"))}
    async with await zqlite.open(tmp_path / "r.db", key=OTHER_KEY) as again:
        assert await same(db, again) == []
        assert (again.epoch, again.identity) == (7, db.identity)
        assert await again.query("SELECT v, s FROM t") == [(PLAIN, SECRET), (1.5, None)]
        assert await again.query("SELECT body FROM docs WHERE docs MATCH 'nodes'") == [("mesh of nodes",)]
        assert (await again.verify()).head == restored.head
        await again.execute("INSERT INTO t(v, s) VALUES ('after', 'c')")
        assert (await again.verify()).head.seq == restored.head.seq + 1
        await db.execute("INSERT INTO big(note) VALUES (1)")
        with pytest.raises(DatabaseError, match="restored from a backup that ends before it"):
            await again.verify(db.head)


async def test_a_log_that_was_dropped_comes_back_from_its_snapshot(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    first = await make(db, tmp_path / "b")
    await grow(db)
    taken = await db.snapshot()
    await db.execute("INSERT INTO t(v) VALUES ('later')")
    await db.retain(taken.seq)
    with pytest.raises(ConflictError, match="Make a full backup"):
        await db.backup(tmp_path / "b", [ME.public], previous=first)
    second = await make(db, tmp_path / "c")
    assert second.manifest.since == taken.seq
    backup.restore([second], ME, tmp_path / "r.db", locate)
    async with await zqlite.open(tmp_path / "r.db", key=OTHER_KEY) as again:
        assert await same(db, again) == []
        verified = await again.verify()
        assert (verified.since, verified.head.seq) == (taken.seq, db.head.seq + 1)
        follow = await again.backup(tmp_path / "c", [ME.public], previous=second)
        assert follow is not None
        assert follow.manifest.epoch == 2


async def test_an_empty_store_and_a_passphrase(db: zqlite.Store, tmp_path: Path) -> None:
    made = await make(db, tmp_path / "b")
    assert backup.verify([made], ME).head.seq == 0
    backup.restore([made], ME, tmp_path / "r.db", lambda path: engine.locate(path, None, "words"))
    async with await zqlite.open(tmp_path / "r.db", passphrase="words") as again:
        assert (await again.verify()).head.seq == 1


async def test_secrets_are_not_in_the_bytes(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    made = await make(db, tmp_path / "b")
    data = made.path.read_bytes()
    for secret in (SECRET.encode(), PLAIN.encode(), b"CREATE TABLE", b"mesh of nodes", KEY, KEY.hex().encode()):
        assert secret not in data
    again = (await make(db, tmp_path / "c")).path.read_bytes()
    assert again[8:4096] != data[8:4096]


async def test_every_part_that_is_changed_is_noticed(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    await grow(db)
    made = await make(db, tmp_path / "b")
    data, key = made.path.read_bytes(), public(db)
    size = len(data)
    tail = composite.SIGNATURE_BYTES + 12
    body = 8 + made.manifest.packed_bytes + 16 * len(made.manifest.chunks)
    places = {
        "magic": range(8),
        "chunks": (8, 9, 8 + 65536, 8 + 65536 + 16, body - 1),
        "manifest": (body, body + 10, (body + size - tail) // 2, size - tail - 1),
        "signature": (size - tail, size - 12 - 64, size - 13),
        "length": range(size - 12, size - 8),
        "end": range(size - 8, size),
    }
    assert len(made.manifest.chunks) >= 4
    for part, offsets in places.items():
        for at in offsets:
            spoilt = bytearray(data)
            spoilt[at] ^= 0x10
            made.path.write_bytes(spoilt)
            with pytest.raises(GhostwireError) as caught:
                backup.verify(backup.find([made.path], key), ME)
            assert isinstance(caught.value, AuthenticationError | DatabaseError), (part, at)
            assert made.path.name in caught.value.message, (part, at)
            with pytest.raises(GhostwireError):
                backup.restore(backup.find([made.path], key), ME, tmp_path / "r.db", locate)
            assert not any("r.db" in name for name in names(tmp_path) if not name.startswith("store.db")), (part, at)


async def test_cut_grown_and_swapped_files_are_noticed(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    await grow(db)
    made = await make(db, tmp_path / "b")
    data, key = made.path.read_bytes(), public(db)
    chunk = segment.CHUNK_BYTES + segment.TAG_BYTES
    first, second = data[8 : 8 + chunk], data[8 + chunk : 8 + 2 * chunk]
    forged = {
        "empty": b"",
        "head only": data[:8],
        "half": data[: len(data) // 2],
        "one byte less": data[:-1],
        "one byte more": data + b"\0",
        "without its first chunk": data[:8] + data[8 + chunk :],
        "first chunk twice": data[:8] + first + data[8:],
        "two chunks swapped": data[:8] + second + first + data[8 + 2 * chunk :],
        "something else": os.urandom(len(data)),
    }
    for name, content_now in forged.items():
        made.path.write_bytes(content_now)
        with pytest.raises(GhostwireError) as caught:
            backup.verify(backup.find([made.path], key), ME)
        assert isinstance(caught.value, AuthenticationError | DatabaseError), name
    made.path.write_bytes(data)
    backup.verify(backup.find([made.path], key), ME)


async def test_chunks_know_their_place_even_where_the_manifest_agrees(db: zqlite.Store, tmp_path: Path) -> None:
    """A signer who joined chunks wrongly would still be found out by the nonces."""
    await fill(db)
    await grow(db)
    made = await make(db, tmp_path / "b")
    data = made.path.read_bytes()
    chunk = segment.CHUNK_BYTES + segment.TAG_BYTES
    hashes = list(made.manifest.chunks)
    hashes[0], hashes[1] = hashes[1], hashes[0]
    swapped = msgspec.structs.replace(made.manifest, chunks=tuple(hashes))
    body = 8 + made.manifest.packed_bytes + 16 * len(hashes)
    with made.path.open("wb") as stream:
        stream.write(data[:8] + data[8 + chunk : 8 + 2 * chunk] + data[8 : 8 + chunk] + data[8 + 2 * chunk : body])
        segment.write_manifest(stream, swapped, db.signing_key(manifest.USE))
    with pytest.raises(DatabaseError, match=r"chunk 0 .* does not open"):
        backup.verify(backup.find([made.path], public(db)), ME)


async def test_only_recipients_open_it_and_only_the_signer_made_it(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    other, _ = Identity.generate()
    mine, _ = SigningKey.generate()
    made = await db.backup(tmp_path / "b", [ME.public, other.public], signer=mine)
    assert made is not None
    found = backup.find([made.path], mine.public)
    assert backup.verify(found, other).head == backup.verify(found, ME).head
    with pytest.raises(PermissionDeniedError, match="is not for the recipient"):
        backup.verify(found, Identity(bytes(32)))
    with pytest.raises(AuthenticationError, match="another key signed it"):
        backup.find([made.path], public(db))
    with pytest.raises(ValidationError, match="at least one recipient"):
        await db.backup(tmp_path / "c", [])
    with pytest.raises(DatabaseError, match=r"cannot write the backup .*Not a directory"):
        await db.backup(made.path / "c", [ME.public])
    with pytest.raises(DatabaseError, match="it is a file"):
        await db.backup(made.path, [ME.public])


async def test_segments_that_do_not_belong_together(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    first = await make(db, tmp_path / "b")
    await grow(db)
    second = await make(db, tmp_path / "b", first)
    with pytest.raises(NotFoundError, match="follows a segment that is not here"):
        backup.verify([second], ME)
    assert backup.verify([first], ME).head.seq == first.manifest.seq
    with pytest.raises(ConflictError, match="there already"):
        await db.backup(tmp_path / "b", [ME.public], previous=first)
    with pytest.raises(NotFoundError, match="no backup in"):
        backup.find([tmp_path], public(db))
    with pytest.raises(ConflictError, match="never writes over"):
        backup.restore([first], ME, db.path, locate)
    async with await zqlite.open(tmp_path / "other.db", key=KEY) as other:
        with pytest.raises(ValidationError, match="of another store"):
            await other.backup(tmp_path / "b", [ME.public], previous=first)


async def test_what_is_sealed_to_one_scope_does_not_open_in_another(db: zqlite.Store, tmp_path: Path) -> None:
    """A manifest that claims other rows, signed all the same, cannot use the sealed key."""
    await fill(db)
    made = await make(db, tmp_path / "b")
    data = made.path.read_bytes()
    body = 8 + made.manifest.packed_bytes + 16 * len(made.manifest.chunks)
    with made.path.open("wb") as stream:
        stream.write(data[:body])
        claimed = msgspec.structs.replace(made.manifest, epoch=2)
        segment.write_manifest(stream, claimed, db.signing_key(manifest.USE))
    with pytest.raises(PermissionDeniedError, match="another part of the log"):
        backup.verify(backup.find([made.path], public(db)), ME)
