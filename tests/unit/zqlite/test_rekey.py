"""Keys that are changed: the root key with every page, and the keys that sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, ValidationError
from ghostwire.zqlite import heads, keyring, rekey


async def fill(path: Path, key: bytes) -> zqlite.SignedHead:
    async with await zqlite.open(path, key=key) as db:
        await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v, s ENCRYPTED TEXT)")
        await db.execute("INSERT INTO t(v, s) VALUES (1, 'sealed')")
        return await db.sign_head()


async def holds(path: Path, key: bytes, head: zqlite.SignedHead) -> None:
    async with await zqlite.open(path, key=key) as db:
        assert await db.query("SELECT v, s FROM t") == [(1, "sealed")]
        assert await db.query("PRAGMA integrity_check") == [("ok",)]
        await db.verify(head)
        await db.execute("UPDATE t SET v = 1")


def only(folder: Path, *names: str) -> bool:
    return {file.name for file in folder.iterdir()} == set(names)


async def test_every_page_is_under_the_fresh_key(tmp_path: Path) -> None:
    stores, key_file = (tmp_path / "a.db", tmp_path / "b.db"), tmp_path / "store.key"
    old = keyring.load_or_create(key_file)
    told = [await fill(path, old) for path in stores]
    rekey.rotate(stores, key_file)
    assert only(tmp_path, "a.db", "b.db", "store.key")
    new = keyring.load(key_file)
    assert new != old
    assert key_file.stat().st_mode & 0o777 == 0o600
    for path, head in zip(stores, told, strict=True):
        with pytest.raises(DatabaseError, match="the key"):
            await zqlite.open(path, key=old)
        async with await zqlite.open(path, key=new) as db:
            assert (await anext(db.changes(head.head.seq + 1))).kind == "zqlite.rekey"
        await holds(path, new, head)


async def test_another_passphrase_with_a_fresh_salt(tmp_path: Path) -> None:
    path, file = tmp_path / "a.db", tmp_path / "passphrase"
    file.write_text("correct horse\n")
    async with await zqlite.open(path, passphrase="correct horse") as db:
        await db.execute("CREATE TABLE t(s ENCRYPTED TEXT)")
        await db.execute("INSERT INTO t VALUES ('sealed')")
        head = await db.sign_head()
    salt = path.read_bytes()[: keyring.SALT_BYTES]
    with pytest.raises(ValidationError, match="empty"):
        rekey.rotate_passphrase((path,), file, "correct horse", "")
    with pytest.raises(DatabaseError, match="passphrase"):
        rekey.rotate_passphrase((path,), file, "wrong", "battery staple")
    assert file.read_text() == "correct horse\n"
    rekey.rotate_passphrase((path,), file, "correct horse", "battery staple")
    assert only(tmp_path, "a.db", "passphrase")
    assert file.read_text() == "battery staple\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes()[: keyring.SALT_BYTES] != salt
    with pytest.raises(DatabaseError, match="passphrase"):
        await zqlite.open(path, passphrase="correct horse")
    async with await zqlite.open(path, passphrase="battery staple") as db:
        assert await db.query("SELECT s FROM t") == [("sealed",)]
        await db.verify(head)


async def test_an_open_store_keeps_its_key(tmp_path: Path) -> None:
    path, key_file = tmp_path / "a.db", tmp_path / "store.key"
    old = keyring.load_or_create(key_file)
    head = await fill(path, old)
    async with await zqlite.open(path, key=old):
        with pytest.raises(ConflictError, match="already open"):
            rekey.rotate((path,), key_file)
    assert keyring.load(key_file) == old
    await holds(path, old, head)


class CutError(BaseException):
    """The machine stops here."""


@pytest.mark.parametrize("at", range(4))
async def test_cut_short_anywhere_one_key_opens_all(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th file is not renamed, nor is anything done after that; then the next start comes."""
    stores, key_file = (tmp_path / "a.db", tmp_path / "b.db"), tmp_path / "store.key"
    old = keyring.load_or_create(key_file)
    told = [await fill(path, old) for path in stores]
    left = at

    def replace(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise CutError
        left -= 1
        self.rename(target)
        return target

    def unlink(self: Path, missing_ok: bool = False) -> None:
        raise CutError

    with monkeypatch.context() as stopping:
        stopping.setattr(Path, "replace", replace)
        stopping.setattr(Path, "unlink", unlink)
        with pytest.raises(CutError):
            rekey.rotate(stores, key_file)
    rekey.settle(stores, key_file)
    for file in tmp_path.glob(".store.key.next.*"):  # noqa: ASYNC240 (nothing else runs here)
        assert at == 0, "only a key that was never given its name may be left"
        file.unlink()
    assert only(tmp_path, "a.db", "b.db", "store.key")
    assert (keyring.load(key_file) == old) == (at == 0)
    for path, head in zip(stores, told, strict=True):
        await holds(path, keyring.load(key_file), head)


async def test_fresh_keys_sign_and_what_was_signed_still_verifies(tmp_path: Path) -> None:
    path, key = tmp_path / "a.db", bytes(range(32))
    first = await fill(path, key)
    async with await zqlite.open(path, key=key) as db:
        await db.rotate_signer()
        second = await db.sign_head()
        assert second.signer != first.signer
        await db.execute("INSERT INTO t(v, s) VALUES (2, 'more')")
    async with await zqlite.open(path, key=key) as db:
        await db.rotate_signer()
        for head in (first, second, await db.sign_head()):
            await db.verify(head)
        await db.hear(heads.sign(db.identity, 3, db.head, db.signing_key(heads.USE)))
        assert db.fenced is not None
