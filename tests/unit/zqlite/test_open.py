"""Bad input at the door: each gets a clear error, and nothing on disk changes."""

# A test may block its own loop.
# ruff: noqa: ASYNC221, ASYNC240

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, ValidationError
from ghostwire.zqlite import engine

KEY = bytes(range(32))


def state(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {entry.name: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in directory.iterdir()}


async def make(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE t(a)")
        await db.executemany("INSERT INTO t VALUES (?)", [(os.urandom(500),) for _ in range(50)])


async def refused(path: Path, error: type[Exception], match: str, **options: object) -> None:
    before = state(path.parent)
    with pytest.raises(error, match=match):
        await zqlite.open(path, **({"key": KEY} | options))
    assert state(path.parent) == before


async def test_wrong_key_passphrase_cipher(path: Path) -> None:
    await make(path)
    await refused(path, DatabaseError, "right key", key=bytes(32))
    await refused(path, DatabaseError, "right key", key=None, passphrase="guess")
    await refused(path, DatabaseError, "right key", cipher="chacha20")
    await make_again_works(path)


async def make_again_works(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        assert (await db.query_one("SELECT count(*) FROM t"))[0] == 50


async def test_wrong_key_beside_a_log_to_recover(path: Path, tmp_path: Path) -> None:
    """The log of a killed process must survive a wrong guess."""
    program = (
        "import asyncio, os, sys\nfrom ghostwire import zqlite\n"
        "async def main():\n"
        "    db = await zqlite.open(sys.argv[1], key=bytes(range(32)))\n"
        "    await db.execute('CREATE TABLE t(a); INSERT INTO t VALUES (7)')\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, os.fspath(path)], timeout=60, check=True)
    Path(f"{path}-shm").unlink()
    await refused(path, DatabaseError, "right key", key=bytes(32))
    # A first page torn by the same crash: only the log can mend it, and only with the right key.
    whole = path.read_bytes()
    path.write_bytes(whole[:2048] + bytes(2048) + whole[4096:])
    await refused(path, DatabaseError, "right key", key=bytes(32))
    path.write_bytes(whole)
    async with await zqlite.open(path, key=KEY) as db:
        assert await db.query("SELECT a FROM t") == [(7,)]


async def test_truncated(path: Path) -> None:
    await make(path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 4096, 5000, 4096, 100, 1):
        path.write_bytes(whole[:length])
        await refused(path, DatabaseError, "cut short|damaged")


async def test_foreign_files(path: Path) -> None:
    path.write_bytes(os.urandom(8192))
    await refused(path, DatabaseError, "not a store")
    path.write_text("hello\n" * 3000)
    await refused(path, DatabaseError, "not a store")
    path.unlink()
    plain = apsw.Connection(os.fspath(path))
    plain.execute("CREATE TABLE t(a)").fetchall()
    plain.close()
    await refused(path, DatabaseError, "plain SQLite")
    path.unlink()
    path.mkdir()
    with pytest.raises(DatabaseError, match="is a directory"):
        await zqlite.open(path, key=KEY)


async def test_another_programs_database_under_the_same_key(path: Path) -> None:
    location = engine.locate(path, KEY, None)
    connection = apsw.Connection(os.fspath(path))
    connection.pragma("cipher", "aegis")
    connection.pragma("key", f"raw:{location.page_key.hex()}")
    connection.execute("CREATE TABLE t(a)").fetchall()
    connection.close()
    await refused(path, DatabaseError, "another program")


async def test_newer_format(path: Path) -> None:
    location = engine.locate(path, KEY, None)
    connection = apsw.Connection(os.fspath(path))
    connection.pragma("cipher", "aegis")
    connection.pragma("key", f"raw:{location.page_key.hex()}")
    connection.pragma("application_id", engine.APPLICATION_ID)
    connection.pragma("user_version", engine.FORMAT + 1)
    connection.execute("CREATE TABLE t(a)").fetchall()
    connection.close()
    await refused(path, DatabaseError, "newer release")


async def test_wrong_calls(path: Path) -> None:
    before = state(path.parent)
    for options, match in (
        ({}, "always encrypted"),
        ({"key": KEY, "passphrase": "x"}, "always encrypted"),
        ({"key": b"short"}, "32 raw bytes"),
        ({"key": "x" * 32}, "32 raw bytes"),
        ({"passphrase": ""}, "empty"),
        ({"key": KEY, "cipher": "rot13"}, "unknown cipher"),
        ({"key": KEY, "readers": (4, 65)}, "pool"),
        ({"key": KEY, "durability": "FULL"}, "unknown durability"),
        ({"key": KEY, "columns": "users.email"}, "a list of names"),
        ({"key": KEY, "cache_bytes": -1}, "0 bytes or more"),
        ({"key": KEY, "block_cache_bytes": -1}, "0 bytes or more"),
    ):
        with pytest.raises(ValidationError, match=match):
            await zqlite.open(path, **options)
    for nothing in ("", ":memory:", f"{path}\0", path.with_name("x" * 248)):
        with pytest.raises(ValidationError, match=r"a store is a file|has 247 bytes at most"):
            await zqlite.open(nothing, key=KEY)
    assert state(path.parent) == before


async def test_damage_behind_the_first_page(path: Path) -> None:
    await make(path)
    damaged = bytearray(path.read_bytes())
    damaged[5000] ^= 1
    path.write_bytes(damaged)
    await refused(path, DatabaseError, "is damaged .* restore a backup")


async def test_what_is_no_file(path: Path) -> None:
    os.mkfifo(path)
    for other in (path, Path("/dev/null")):
        with pytest.raises(DatabaseError, match="a device, a pipe or a socket"):
            await zqlite.open(other, key=KEY)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_second_opener_here_and_elsewhere(path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom ghostwire import zqlite\nfrom ghostwire.errors import ConflictError\n"
        "async def main():\n"
        "    try:\n"
        "        await zqlite.open(sys.argv[1], key=bytes(range(32)))\n"
        "    except ConflictError as error:\n"
        "        print(error)\n"
        "asyncio.run(main())\n"
    )
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE t(a)")
        with pytest.raises(ConflictError, match="this process"):
            await zqlite.open(path, key=KEY)
        for _ in range(2):  # the refused attempt must not have cost the first its locks
            done = subprocess.run(
                [sys.executable, "-c", program, os.fspath(path)], timeout=60, check=True, capture_output=True, text=True
            )
            assert "already open in another process" in done.stdout
        await db.execute("INSERT INTO t VALUES (1)")
    async with await zqlite.open(path, key=KEY) as db:
        assert await db.query("SELECT a FROM t") == [(1,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user to lose the right to write")
def test_read_only_directory(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\nfrom ghostwire import zqlite\nfrom ghostwire.errors import PermissionDeniedError\n"
        "async def main():\n"
        "    await (await zqlite.open(sys.argv[2], key=bytes(32))).close()\n"  # all is imported while it still may be
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "    try:\n"
        "        await zqlite.open(sys.argv[1], key=bytes(range(32)))\n"
        "    except PermissionDeniedError as error:\n"
        "        print(error)\n"
        "asyncio.run(main())\n"
    )
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    path = tmp_path / "closed" / "store.db"
    path.parent.mkdir(mode=0o755)
    for present in (False, True):
        if present:
            path.touch(mode=0o666)
            path.chmod(0o666)
        before = state(path.parent)
        command = [sys.executable, "-c", program, os.fspath(path), os.fspath(tmp_path / "warm.db")]
        done = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True)
        assert "uid 65534 write" in done.stdout, done
        assert state(path.parent) == before


def test_an_old_sqlite_is_refused() -> None:
    engine.require_version()
    with pytest.raises(DatabaseError, match=r"3\.51\.3 or newer"):
        engine.require_version("3.51.2")
