"""Signed heads: what they vouch for, and what a log is found out by."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import AuthenticationError, DatabaseError, GhostwireError, NotFoundError, ValidationError
from ghostwire.zqlite import heads
from ghostwire.zqlite.heads import SignedHead

KEY = bytes(range(32))


async def fill(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    await db.execute("INSERT INTO t(v) VALUES (1), (2)")


def names(folder: Path) -> set[str]:
    return {file.name.rsplit(".", 1)[0] if file.name.startswith(".") else file.name for file in folder.iterdir()}


def kept(file: Path) -> int:
    return SignedHead.load(file).head.seq if file.exists() else 0


async def test_a_signed_head_holds_against_its_log(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    signed = await db.sign_head()
    assert (signed.head, signed.store, signed.epoch) == (db.head, db.identity, 1)
    signed.save(tmp_path / "head")
    assert SignedHead.load(tmp_path / "head") == signed
    assert names(tmp_path) & {"head", ".head"} == {"head"}
    await db.execute("INSERT INTO t(v) VALUES (3)")
    assert (await db.verify(signed)).head.seq == 3


async def test_a_log_that_ends_before_the_head_is_found_out(db: zqlite.Store) -> None:
    await fill(db)
    key = db.signing_key(heads.USE)
    ahead = heads.sign(db.identity, 1, zqlite.Head(9, 0, bytes(32)), key)
    with pytest.raises(DatabaseError, match="cut off"):
        await db.verify(ahead)
    other = heads.sign(db.identity, 1, zqlite.Head(2, 0, bytes(32)), key)
    with pytest.raises(DatabaseError, match="rewritten"):
        await db.verify(other)
    later = heads.sign(db.identity, 2, db.head, key)
    with pytest.raises(DatabaseError, match="another copy was restored"):
        await db.verify(later)


async def test_what_no_key_of_the_store_signed_is_refused(db: zqlite.Store) -> None:
    await fill(db)
    signed = await db.sign_head()
    for change in (
        dataclasses.replace(signed, head=zqlite.Head(1, signed.head.ts, signed.head.hash)),
        dataclasses.replace(signed, epoch=0),
        dataclasses.replace(signed, signature=bytes(len(signed.signature))),
        heads.sign(db.identity, 1, db.head, zqlite.SigningKey(bytes(64))),
        heads.sign(db.identity, 1, db.head, db.signing_key("backups")),
    ):
        with pytest.raises(AuthenticationError, match="does not hold"):
            await db.verify(change)
    with pytest.raises(ValidationError, match="of store"):
        await db.verify(heads.sign(bytes(16), 1, db.head, db.signing_key(heads.USE)))


async def test_files_that_are_no_heads(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    told = json.loads((await db.sign_head()).to_text())
    for text in ("", "{}", "[1]", "[" * 60_000, json.dumps({**told, "seq": -1}), json.dumps({**told, "hash": "x"})):
        with pytest.raises(ValidationError, match="no signed head"):
            SignedHead.from_text(text)
    with pytest.raises(NotFoundError, match="cannot read"):
        SignedHead.load(tmp_path / "none")
    with pytest.raises(DatabaseError, match="cannot write"):
        (await db.sign_head()).save(tmp_path / "none" / "head")


async def test_the_newest_head_is_kept_in_a_file(db: zqlite.Store, tmp_path: Path) -> None:
    await fill(db)
    file = tmp_path / "head.sig"
    failures: list[GhostwireError] = []
    (file.parent / "head.sig").mkdir()
    keeping = asyncio.create_task(heads.keep(db, file, failures.append, every=0.01))
    try:
        while not failures:  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0.01)
        assert "cannot write the head" in failures[0].message
        file.rmdir()
        for seq in (2, 3):
            while kept(file) < seq:  # noqa: ASYNC110 (it is a file that is waited for)
                await asyncio.sleep(0.01)
            await db.execute("INSERT INTO t(v) VALUES (3)")
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
    await db.verify(SignedHead.load(file))
