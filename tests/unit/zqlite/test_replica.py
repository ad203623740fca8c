"""A copy on another machine: it follows, it catches up, it takes over, and only one of two does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, UnavailableError, ValidationError
from ghostwire.zqlite import archive, changelog
from ghostwire.zqlite.replay import content, differences
from ghostwire.zqlite.replica import Feed, Link, Replica, link, open_replica, serve

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@dataclass
class Pair:
    """A primary that lets replicas follow it, and what they need to do so."""

    folder: Path
    db: zqlite.Store
    feed: Feed

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.feed.port}"

    def replica_link(self, name: str = "replica") -> Link:
        return Link(self.folder / f"{name}.key", (self.folder / "primary.pub",))

    async def replica(self, name: str = "replica") -> Replica:
        link = self.replica_link("second" if name == "second" else "replica")
        return await open_replica(self.folder / f"{name}.db", primary=self.url, link=link, key=OTHER)


@pytest.fixture
def links(tmp_path: Path) -> Link:
    for name in ("primary", "replica", "second", "stranger"):
        link.write(tmp_path / name, name)
    return Link(tmp_path / "primary.key", (tmp_path / "replica.pub", tmp_path / "second.pub"))


@pytest.fixture
async def pair(tmp_path: Path, links: Link) -> AsyncIterator[Pair]:
    async with await zqlite.open(tmp_path / "primary.db", key=KEY) as db, await serve(db, links) as feed:
        yield Pair(tmp_path, db, feed)


async def differ(db: zqlite.Store, replica: Replica) -> list[str]:
    """What is not the same in both: log, signatures, tables, definitions."""
    mine, theirs = [await each.run(_all) for each in (db, replica)]
    return differences(mine, theirs)


def _all(reader: zqlite.Reader) -> dict[str, Any]:
    logged = {name: reader.query(f"SELECT * FROM {name}") for name in ("change", "zq_group", "zq_layout")}
    return {**content(reader.connection), **logged}


STEPS = (
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)",
    "INSERT INTO t(v) VALUES ('a'), ('b')",
    "UPDATE t SET v = 'c' WHERE v = 'a'; CREATE INDEX i ON t(v DESC)",
    "CREATE TABLE log(v); CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.v); END",
    "INSERT INTO t(v) VALUES ('d')",
    "ALTER TABLE t ADD COLUMN w DEFAULT 7; CREATE VIEW x AS SELECT v FROM t",
    "ALTER TABLE t RENAME COLUMN w TO z; CREATE UNIQUE INDEX u ON t(z, id)",
    "DROP INDEX u; UPDATE t SET z = 1",
    "DELETE FROM t WHERE v = 'b'",
    "CREATE VIRTUAL TABLE docs USING fts5(body); INSERT INTO docs VALUES ('mesh of nodes')",
    "CREATE TABLE wallet(id TEXT PRIMARY KEY, secret ENCRYPTED TEXT); INSERT INTO wallet VALUES ('a', 'plain')",
    "INSERT INTO docs VALUES ('more nodes'); DROP TABLE log; DROP TRIGGER g",
    "ALTER TABLE t RENAME TO renamed",
)


async def test_it_holds_at_every_step_what_its_primary_holds(pair: Pair) -> None:
    async with await pair.replica() as replica:
        for sql in STEPS:
            await pair.db.execute(sql)
            assert await replica.sync() == pair.db.head.seq
            assert await differ(pair.db, replica) == []
        assert await replica.query("SELECT v, z FROM renamed ORDER BY v") == [("c", 1), ("d", 1)]
        assert len(await replica.query("SELECT * FROM docs WHERE docs MATCH 'nodes'")) == 2
        assert await replica.query("SELECT secret FROM wallet") == [("plain",)]
        await pair.db.rotate_keys()
        await pair.db.execute("INSERT INTO wallet VALUES ('b', 'under the next key')")
        await replica.sync()
        assert await replica.query("SELECT secret FROM wallet WHERE id = 'b'") == [("under the next key",)]
        assert (await replica.verify(await pair.db.sign_head())).head == pair.db.head
        rows = [image for record in [await anext(replica.changes(2))] for image in pair.db.rows(record.body)]
        assert [image.values["v"] for image in rows] == ["a", "b"]


async def test_it_follows_and_goes_on_after_both_were_closed(pair: Pair, links: Link) -> None:
    for sql in STEPS:
        await pair.db.execute(sql)
    async with await pair.replica() as replica:
        replica.follow()
        for number in range(300):
            await pair.db.execute("INSERT INTO renamed(v) VALUES (?)", (number,))
        while replica.head.seq < pair.db.head.seq:  # noqa: ASYNC110 (it is the file that is waited for)
            await asyncio.sleep(0.01)
        await pair.db.execute("INSERT INTO renamed(v) VALUES ('now')")
        assert await replica.sync() >= pair.db.head.seq
        assert replica.lag == 0
    await pair.db.execute("INSERT INTO renamed(v) VALUES ('last')")
    async with await pair.replica() as again:
        await again.sync()
        assert await differ(pair.db, again) == []


async def test_it_begins_from_a_snapshot_where_the_log_before_is_gone(pair: Pair) -> None:
    for sql in STEPS:
        await pair.db.execute(sql)
    await pair.db.snapshot()
    await pair.db.retain(99)
    await pair.db.execute("INSERT INTO renamed(v) VALUES ('after')")
    async with await pair.replica() as replica:
        await replica.sync()
        assert await differ(pair.db, replica) == []
        assert (await replica.verify()).since == len(STEPS)
    await pair.db.execute("INSERT INTO renamed(v) VALUES ('more')")
    await pair.db.snapshot()
    await pair.db.retain(99)
    async with await pair.replica() as behind:
        with pytest.raises(ConflictError, match="make it anew"):
            await behind.sync()


async def test_it_takes_what_is_in_blocks_too(pair: Pair) -> None:
    for sql in STEPS:
        await pair.db.execute(sql)
    await pair.db.execute("CREATE TABLE many(v)")
    for start in range(0, 600, 50):
        await asyncio.gather(*(pair.db.execute("INSERT INTO many VALUES (?)", (v,)) for v in range(start, start + 50)))
    await pair.db.snapshot()
    assert await pair.db.archive(1 << 40) > 600
    async with await pair.replica() as replica:
        await replica.sync()
        assert await differ(pair.db, replica) == ["change"], "the primary has it in blocks"
        rows = [await db.query(archive.ROWS, {"after": 0}) for db in (pair.db, replica)]
        assert rows[0] == rows[1]
        assert (await replica.verify()).since == 0


async def test_a_handover_loses_nothing_and_the_old_primary_writes_no_more(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as replica, await pair.replica("second") as second:
        await second.sync()
        await pair.db.execute("INSERT INTO t VALUES (1)")
        assert await replica.promote() == 2
        with pytest.raises(DatabaseError, match="epoch 2 was handed over"):
            await pair.db.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(ConflictError, match=r"promoted first|no primary"):
            await second.promote()
    async with await zqlite.open(pair.folder / "replica.db", key=OTHER) as now:
        assert now.epoch == 2
        await now.execute("INSERT INTO t VALUES (3)")
        assert await now.query("SELECT v FROM t") == [(1,), (3,)]
        await pair.db.hear(await now.sign_head())
        assert (await now.verify()).head.seq == 4
        record = await anext(now.changes(3))
        assert (record.kind, record.epoch) == ("zqlite.promote", 2)


async def test_the_old_primary_follows_the_new_one(pair: Pair, tmp_path: Path) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as replica:
        await replica.promote()
    await pair.feed.close()
    await pair.db.close()
    there, back = Link(tmp_path / "replica.key", (tmp_path / "primary.pub",)), (tmp_path / "replica.pub",)
    async with (
        await zqlite.open(tmp_path / "replica.db", key=OTHER) as now,
        await serve(now, there) as feed,
    ):
        await now.execute("INSERT INTO t VALUES (1)")
        url, home = f"tls://127.0.0.1:{feed.port}", Link(tmp_path / "primary.key", back)
        async with await open_replica(tmp_path / "primary.db", primary=url, link=home, key=KEY) as old:
            await old.sync()
            assert await differ(now, old) == []
            assert (old.epoch, await old.query("SELECT v FROM t")) == (2, [(1,)])
            assert await old.promote() == 3
    async with await zqlite.open(tmp_path / "primary.db", key=KEY) as again:
        await again.execute("INSERT INTO t VALUES (2)")
        assert (await again.verify()).head.seq == 5


async def test_rows_that_the_new_primary_never_had_are_told(pair: Pair, tmp_path: Path) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as replica:
        await replica.sync()
        await pair.feed.close()
        for number in range(3):
            await pair.db.execute("INSERT INTO t VALUES (?)", (number,))
        await replica.promote(alone=True)
    await pair.db.fence("for the test")
    await pair.db.close()
    there, home = (
        Link(tmp_path / "replica.key", (tmp_path / "primary.pub",)),
        Link(tmp_path / "primary.key", (tmp_path / "replica.pub",)),
    )
    async with (
        await zqlite.open(tmp_path / "replica.db", key=OTHER) as now,
        await serve(now, there) as feed,
        await open_replica(tmp_path / "primary.db", primary=f"tls://127.0.0.1:{feed.port}", link=home, key=KEY) as old,
    ):
        with pytest.raises(ConflictError, match="never had"):
            await old.sync()
        assert now.fenced is None


async def test_two_that_promote_at_once(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as one, await pair.replica("second") as two:
        ended = await asyncio.gather(one.promote(), two.promote(), return_exceptions=True)
    assert sorted(type(each).__name__ for each in ended) == ["ConflictError", "int"]


async def test_the_same_file_is_promoted_once(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica():
        with pytest.raises(ConflictError, match="already open"):
            await pair.replica()
        with pytest.raises(ConflictError, match="already open"):
            await zqlite.open(pair.folder / "replica.db", key=OTHER)


async def test_without_the_primary(pair: Pair, links: Link) -> None:
    """It must be said that the primary is gone; when it hears of the new epoch after all, it stops."""
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as replica:
        await replica.sync()
        port = pair.feed.port
        await pair.feed.close()
        await pair.db.execute("INSERT INTO t VALUES ('lost')")
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await replica.promote()
        assert await replica.promote(alone=True) == 2
        async with await serve(pair.db, links, port=port):
            with pytest.raises(ConflictError, match=r"no primary.*epoch 2 was opened"):
                await replica.sync()
        with pytest.raises(DatabaseError, match="epoch 2 was opened by another copy"):
            await pair.db.execute("INSERT INTO t VALUES (2)")


async def test_two_copies_in_one_epoch_both_stop(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    for name in ("replica", "second"):
        async with await pair.replica(name) as replica:
            await replica.sync()
            await replica.promote(alone=True)
    async with (
        await zqlite.open(pair.folder / "replica.db", key=OTHER) as one,
        await zqlite.open(pair.folder / "second.db", key=OTHER) as two,
    ):
        told = await one.sign_head(), await two.sign_head()
        await one.hear(told[1])
        await two.hear(told[0])
        for each in (one, two):
            with pytest.raises(DatabaseError, match="went apart"):
                await each.execute("INSERT INTO t VALUES (1)")


async def test_a_replica_writes_nothing_of_its_own(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as replica:
        await replica.sync()
    async with await zqlite.open(pair.folder / "replica.db", key=OTHER) as plain:
        with pytest.raises(DatabaseError, match=r"replica of tls://.*ghostwire db promote"):
            await plain.execute("INSERT INTO t VALUES (1)")
    async with await zqlite.open(pair.folder / "own.db", key=OTHER):
        pass
    with pytest.raises(ConflictError, match="store of its own"):
        await pair.replica("own")


async def test_only_those_that_know_each_other_talk(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    path = pair.folder / "stranger.db"
    for stranger in (
        pair.replica_link("stranger"),
        Link(pair.folder / "replica.key", (pair.folder / "second.pub",)),
    ):
        with pytest.raises(UnavailableError, match=r"do not know each other|has gone"):
            await open_replica(path, primary=pair.url, link=stranger, key=OTHER)
        assert not path.exists()
    with pytest.raises(ValidationError, match=r"write tls://HOST:PORT"):
        await open_replica(path, primary="https://example", link=pair.replica_link(), key=OTHER)
    async with await zqlite.open(path, key=OTHER) as other:
        await other.fence("for the test")
    async with await open_replica(path, primary=pair.url, link=pair.replica_link(), key=OTHER) as foreign:
        with pytest.raises(ValidationError, match="holds store"):
            await foreign.sync()


async def test_a_primary_that_was_put_back_hears_it_from_its_replica(pair: Pair, links: Link) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    await pair.db.checkpoint()
    older = (pair.folder / "primary.db").read_bytes()
    await pair.db.execute("INSERT INTO t VALUES (1)")
    async with await pair.replica() as replica:
        await replica.sync()
        (pair.folder / "older.db").write_bytes(older)
        async with await zqlite.open(pair.folder / "older.db", key=KEY) as db, await serve(db, links) as feed:
            replica.primary = f"tls://127.0.0.1:{feed.port}"
            with pytest.raises(ConflictError, match="this copy is older"):
                await replica.sync()
            assert db.fenced is not None


async def test_semi_synchronous_writes_wait_for_a_replica(tmp_path: Path, links: Link) -> None:
    async with await zqlite.open(tmp_path / "primary.db", key=KEY) as db:
        await db.execute("CREATE TABLE t(v)")
        async with await serve(db, links, semi_sync=True, patience=0.2) as feed:
            pair = Pair(tmp_path, db, feed)
            with pytest.raises(UnavailableError, match="no replica has confirmed"):
                await db.execute("INSERT INTO t VALUES (0)")
            async with await pair.replica() as replica:
                replica.follow()
                while replica.head.seq < 2:  # noqa: ASYNC110 (it is the file that is waited for)
                    await asyncio.sleep(0.01)
                for number in range(1, 20):
                    seq = (await db.execute("INSERT INTO t VALUES (?)", (number,))).seq
                    assert replica.head.seq >= seq
        await db.execute("INSERT INTO t VALUES (20)")


async def test_what_does_not_follow_is_not_applied(pair: Pair) -> None:
    await pair.db.execute("CREATE TABLE t(v)")
    async with await pair.replica() as replica:
        await replica.sync()
        before = replica.head
        record = await anext(pair.db.changes(1))
        body = changelog.event_body("", "forged")
        forged = zqlite.replica.frames.Rows(((2, 1, record.ts + 1, "", "k", body, bytes(32), bytes(32)),), (), None)
        with pytest.raises(DatabaseError, match="broken at 2"):
            await replica._work(lambda: replica._mirror.apply(forged))
        assert replica.head == before
        await pair.db.execute("INSERT INTO t VALUES (1)")
        await replica.sync()
        assert await differ(pair.db, replica) == []
