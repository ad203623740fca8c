"""What a store does to its sealed columns beside its users' work: fresh keys, fresh dictionaries, re-encryption."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import DatabaseError, ResourceExhaustedError
from ghostwire.zqlite import dictionaries, nonces, upkeep
from ghostwire.zqlite.nonces import LOT, Ledger
from tests.unit.zqlite.conftest import forge
from tests.unit.zqlite.raw import KEY, raw

NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, secret ENCRYPTED TEXT, both ENCRYPTED COMPRESSED, packed COMPRESSED)"
ROWS = 1000
BEFORE_ROTATION = 2
"""Rows of the log: the table and its rows."""


def metadata(draw: random.Random, number: int) -> str:
    """What a node tells of itself."""
    return json.dumps(
        {
            "hostname": f"node-{number}",
            "os": draw.choice(["linux", "darwin", "windows"]),
            "endpoints": [f"198.51.{draw.randrange(256)}.{draw.randrange(256)}:{draw.randrange(65536)}"],
            "nat": {"mapping": draw.choice(["easy", "hard"]), "hairpin": draw.random() < 0.5, "upnp": False},
            "services": [{"proto": "tcp", "port": 22, "description": "ssh"}],
            "tags": draw.sample(["tag:web", "tag:db", "tag:ci", "tag:prod"], 2),
        }
    )


async def fill(db: zqlite.Store, count: int, first: int = 1) -> None:
    draw = random.Random(first)
    rows = [(n, f"secret {n}", metadata(draw, n), metadata(draw, n)) for n in range(first, first + count)]
    await db.executemany("INSERT INTO note VALUES (?, ?, ?, ?)", rows)


async def until(db: zqlite.Store, condition: str) -> None:
    """Wait until this holds in the store."""
    while (await db.query_one(f"SELECT {condition}")) != (1,):  # noqa: ASYNC110 (what it waits for is in the file)
        await asyncio.sleep(0.002)


async def quiet(db: zqlite.Store) -> None:
    """Wait until the upkeep in the background has ended."""
    await until(db, f"NOT EXISTS (SELECT 1 FROM zq_meta WHERE key = '{upkeep.UNFINISHED}')")


def versions(path: Path) -> set[int]:
    """The key versions of what the table holds."""
    return {int.from_bytes(value[1:5]) for pair in raw(path, "SELECT secret, both FROM note_sealed") for value in pair}


async def test_rotation_while_work_goes_on(db: zqlite.Store, path: Path) -> None:
    await db.execute(NOTES)
    await fill(db, ROWS)
    before = db.head.ts
    rotation = asyncio.create_task(db.rotate_keys())
    written = 0
    while not rotation.done():
        await db.execute("UPDATE note SET secret = 'new' WHERE id = ?", (written % ROWS + 1,))
        assert await db.query_one("SELECT count(*) FROM note WHERE both LIKE '%node-%'") == (ROWS,)
        written += 1
    await rotation
    assert written > 1
    assert await db.query_one("SELECT count(*) FROM note WHERE secret = 'new'") == (min(written, ROWS),)
    with await db.as_of(before) as past:
        assert past.query("SELECT secret FROM note WHERE id = 1") == [("secret 1",)]
    await db.verify()
    await db.close()
    assert versions(path) == {2}


async def resealed(db: zqlite.Store, batches: int) -> None:
    """Wait until so many batches are re-encrypted."""
    await until(db, f"max(seq) >= {batches + BEFORE_ROTATION} FROM change")


@pytest.mark.parametrize("batches", [1, 20])
async def test_a_rotation_that_is_cut_short_goes_on_at_the_next_open(
    path: Path, tmp_path: Path, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 16)
    db = await zqlite.open(path, key=KEY)
    await db.execute("CREATE TABLE note(id INTEGER PRIMARY KEY, secret ENCRYPTED, both ENCRYPTED)")
    await db.executemany("INSERT INTO note VALUES (?, ?, 'b')", [(n, f"secret {n}") for n in range(ROWS)])
    rotation = asyncio.create_task(db.rotate_keys())
    await resealed(db, batches)
    copy = tmp_path / "copy.db"
    with db.read() as reader:  # nothing of the log goes into the file meanwhile: this is what a crash would leave
        reader.query("SELECT 1 FROM note LIMIT 1")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    rotation.cancel()
    await asyncio.wait((rotation,))
    await db.close()
    for file in (path, copy):
        assert 1 in versions(file)
        async with await zqlite.open(file, key=KEY) as again:
            assert await again.query("SELECT id, secret FROM note") == [(n, f"secret {n}") for n in range(ROWS)]
            await quiet(again)
            assert await again.query("SELECT id, secret FROM note") == [(n, f"secret {n}") for n in range(ROWS)]
            await again.verify()
            assert again.upkeep_error is None
    assert versions(path) == {2}
    assert len(versions(copy)) == 1


async def test_keys_change_by_themselves_before_they_wear_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute(NOTES)
        await fill(db, 10)
    uses = dict(raw(path, "SELECT key, value FROM zq_meta WHERE key LIKE 'uses %'"))
    assert len(uses) == 2
    assert all(count >= 10 + LOT // 2 for count in uses.values())
    monkeypatch.setattr(nonces, "CHANGE_AT", max(uses.values()) + 5)
    async with await zqlite.open(path, key=KEY) as db:
        await fill(db, 10, first=11)
        await until(db, "max(seq) > 3 FROM change")
        await quiet(db)
        await db.execute("UPDATE note SET secret = 'x' WHERE id = 1")
        await db.verify()
    assert versions(path) == {2}


def test_uses_are_reserved_before_they_happen_and_never_forgotten() -> None:
    key = (b"c" * 16, 1)
    ledger = Ledger({"epoch": 1})
    ledger.spend(key)
    assert ledger.short
    ((name, reserved),) = ledger.due()
    for _ in range(LOT // 2):
        ledger.spend(key)
    assert not ledger.short
    ledger.spend(key)
    assert ledger.short  # half of what is on the disk is left when more is asked for
    assert ledger.used(key) < reserved
    ledger.rolled_back()
    assert ledger.due() == [(name, ledger.used(key) + LOT)]
    again = Ledger({name: reserved})
    assert again.used(key) == reserved
    again = Ledger({name: nonces.MOST - 2})
    again.spend(key)
    assert again.worn
    with pytest.raises(ResourceExhaustedError, match="rotate"):
        again.spend(key)


async def test_dictionaries_come_by_themselves_and_are_kept_encrypted(db: zqlite.Store, path: Path) -> None:
    await db.execute(NOTES)
    await fill(db, ROWS)
    await until(db, "count(*) = 2 FROM zq_dictionary")
    await quiet(db)
    await fill(db, 10, first=ROWS + 1)
    plain = await db.query_one("SELECT sum(length(packed)), sum(length(both)) FROM note")
    sealed = await db.query_one("SELECT sum(length(packed)), sum(length(both)) FROM note_sealed")
    assert plain is not None
    assert sealed is not None
    assert sealed[0] < plain[0] / 3
    assert sealed[1] < plain[1] / 2  # nonce, tag, version: 33 bytes a value
    assert await db.query("SELECT * FROM note WHERE id IN (1, ?) AND packed LIKE '%node-%'", (ROWS + 1,))
    await db.verify()
    moment = db.head.ts
    await db.rotate_keys()
    with await db.as_of(moment) as past:
        assert past.value("SELECT count(*) FROM note WHERE both LIKE '%hostname%'") == ROWS + 10
    await db.close()
    held = raw(path, "SELECT ratio, data FROM zq_dictionary ORDER BY data")
    assert all(0 < ratio < 0.5 for ratio, _ in held)
    assert b"hostname" in held[0][1]  # the plain column's
    assert held[1][1][0] & 1
    assert int.from_bytes(held[1][1][1:5]) == 2
    assert b"hostname" not in held[1][1]


async def test_a_dictionary_that_stopped_paying_is_replaced(db: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "WINDOW", 300)
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, packed COMPRESSED)")
    draw = random.Random(7)
    old = [(metadata(draw, n),) for n in range(600)]
    await db.executemany("INSERT INTO t(packed) VALUES (?)", old)
    assert await db.train() <= 1
    assert await db.query("SELECT number FROM zq_dictionary") == [(1,)]
    await db.executemany("INSERT INTO t(packed) VALUES (?)", old[:301])
    assert await db.query("SELECT number FROM zq_dictionary") == [(1,)]  # it still pays
    new = [
        (f"<reading device='{draw.randrange(999)}' celsius='{draw.random():.3f}' state='nominal'/>",)
        for _ in range(900)
    ]
    for at in range(0, 900, 300):
        await db.executemany("INSERT INTO t(packed) VALUES (?)", new[at : at + 300])
    await until(db, "max(number) = 2 FROM zq_dictionary")
    await db.executemany("INSERT INTO t(packed) VALUES (?)", new[:1])
    assert await db.query("SELECT packed FROM t ORDER BY id") == [*old, *old[:301], *new, *new[:1]]
    await db.verify()


async def test_what_does_not_open_stays_and_is_told(db: zqlite.Store) -> None:
    await db.execute(NOTES)
    await fill(db, 20)
    await forge(db, "UPDATE note_sealed SET secret = (SELECT secret FROM note_sealed WHERE id = 1) WHERE id = 2")
    with pytest.raises(DatabaseError, match="1 sealed values do not open"):
        await db.rotate_keys()
    assert await db.query_one("SELECT count(*) FROM note WHERE id <> 2 AND secret = 'secret ' || id") == (19,)
    await fill(db, 200, first=100)
    await forge(db, "UPDATE note_sealed SET both = x'0305' WHERE id = 150")
    with pytest.raises(DatabaseError, match="2 sealed values do not open"):
        await db.train()
    assert await db.query("SELECT count(*) FROM zq_dictionary") == [(2,)]
