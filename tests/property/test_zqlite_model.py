"""Whatever is done to a store, it holds what a dict would: reopened, after a crash, in a replica, at every moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ghostwire import zqlite
from ghostwire.errors import ConflictError, NotFoundError
from ghostwire.zqlite import Link, Operation, Statement
from ghostwire.zqlite.replica import link

KEY = bytes(range(32))
EXAMPLES = int(os.environ.get("GHOSTWIRE_MODEL_EXAMPLES", "200"))
MEMORY = Path("/dev/shm")

keys = st.integers(0, 7)
values = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.binary(max_size=3), st.just("x" * 9000))


class StoreIsADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.path = self.directory / "store.db"
        self.model: dict[int, Any] = {}
        self.past: list[tuple[int, dict[int, Any]]] = []
        self.kept = 0
        self.head = zqlite.Head(0, 0, bytes(32))
        self.turn = 0
        self.elsewhere = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.following: tuple[zqlite.replica.Feed, zqlite.Replica] | None = None
        for name in ("primary", "replica"):
            link.write(self.elsewhere / name, name)

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    async def open(self) -> None:
        self.db = await zqlite.open(self.path, key=KEY, durability="lazy", readers=(1, 4))

    @initialize()
    def create(self) -> None:
        self.run(self.open())
        self.run(self.db.execute("CREATE TABLE t(k INTEGER PRIMARY KEY, v)"))
        self.remember()

    def remember(self) -> None:
        """After a write: its moment, and what the store held then."""
        self.head = self.db.head
        self.past.append((self.head.ts, dict(self.model)))

    @rule(key=keys, value=values)
    def put(self, key: int, value: Any) -> None:
        self.run(self.db.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value)))
        self.model[key] = value
        self.remember()

    @rule(key=keys)
    def delete(self, key: int) -> None:
        result = self.run(self.db.execute("DELETE FROM t WHERE k = ?", (key,)))
        assert result.changes == (key in self.model)
        self.model.pop(key, None)
        self.remember()

    @rule(back=st.booleans())
    def move(self, back: bool) -> None:
        spread = max(self.model) - min(self.model) + 1 if self.model else 1  # so that no row lands on another
        by = -spread if back else spread
        self.run(self.db.execute("UPDATE t SET k = k + ?", (by,)))
        self.model = {key + by: value for key, value in self.model.items()}
        self.remember()

    @rule(pairs=st.lists(st.tuples(keys, values), min_size=1, max_size=6))
    def race(self, pairs: list[tuple[int, Any]]) -> None:
        """Concurrent inserts: of those with the same key the first wins."""

        async def insert() -> list[Any]:
            return await asyncio.gather(
                *(
                    self.db.submit(Operation("put", "", (Statement("INSERT INTO t VALUES (?, ?)", pair, 1),)))
                    for pair in pairs
                ),
                return_exceptions=True,
            )

        for (key, value), answer in zip(pairs, self.run(insert()), strict=True):
            if key in self.model:
                assert isinstance(answer, ConflictError)
            else:
                assert isinstance(answer, zqlite.Committed)
                self.model[key] = value
        self.remember()

    @rule(pairs=st.lists(st.tuples(keys, values), max_size=4), fail=st.booleans())
    def transact(self, pairs: list[tuple[int, Any]], fail: bool) -> None:
        async def work() -> None:
            async with self.db.transaction() as tx:
                await tx.execute("DELETE FROM t")
                for key, value in pairs:
                    await tx.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value))
                await tx.event("t", "replaced", len(pairs))
                if fail:
                    raise KeyError("on purpose")

        if fail:
            with pytest.raises(KeyError):
                self.run(work())
        else:
            self.run(work())
            self.model = dict(pairs)
            self.remember()

    @rule()
    def reopen(self) -> None:
        self.run(self.leave())
        self.run(self.db.close())
        assert [entry.name for entry in self.directory.iterdir()] == ["store.db"]
        self.run(self.open())

    @rule()
    def crash(self) -> None:
        """Go on from a copy of the files as they are, as after kill -9."""
        self.turn += 1
        copy = self.directory.with_name(f"{self.directory.name}-{self.turn}")
        copy.mkdir()
        for name in ("store.db", "store.db-wal"):
            if (self.directory / name).exists():
                shutil.copy(self.directory / name, copy / name)
        self.run(self.leave())
        self.run(self.db.close())
        shutil.rmtree(self.directory)
        self.directory, self.path = copy, copy / "store.db"
        self.run(self.open())

    @rule()
    def checkpoint(self) -> None:
        self.run(self.db.checkpoint())

    @precondition(lambda self: self.past)
    @rule(which=st.integers(0, 1000))
    def look_back(self, which: int) -> None:
        ts, then = self.past[which % len(self.past)]
        if ts < self.kept:
            with pytest.raises(NotFoundError):
                self.run(self.db.as_of(ts))
            return
        with self.run(self.db.as_of(ts)) as past:
            assert dict(past.query("SELECT k, v FROM t")) == then

    @rule()
    def replicate(self) -> None:
        """A replica takes over what is new, and holds the same. It may be opened again, or be too far behind by now."""

        async def sync() -> int:
            if self.following is None:
                await self.follow()
            assert self.following is not None
            return await self.following[1].sync()

        try:
            seq = self.run(sync())
        except ConflictError as error:
            assert "make it anew" in error.message
            assert self.kept > 0
            self.run(self.leave())
            (self.elsewhere / "replica.db").unlink()
            seq = self.run(sync())
        assert self.following is not None
        assert seq == self.db.head.seq
        assert dict(self.run(self.following[1].query("SELECT k, v FROM t"))) == self.model

    async def follow(self) -> None:
        here, there = self.elsewhere / "primary", self.elsewhere / "replica"
        feed = await zqlite.replica.serve(self.db, Link(here.with_suffix(".key"), (there.with_suffix(".pub"),)))
        try:
            replica = await zqlite.open_replica(
                there.with_suffix(".db"),
                primary=f"tls://127.0.0.1:{feed.port}",
                link=Link(there.with_suffix(".key"), (here.with_suffix(".pub"),)),
                key=KEY,
                readers=(1, 4),
            )
        except ConflictError:
            await feed.close()
            raise
        self.following = (feed, replica)

    async def leave(self) -> None:
        """The replica loses its primary, and keeps its file."""
        if self.following is not None:
            feed, replica = self.following
            self.following = None
            await replica.close()
            await feed.close()

    @rule(drop=st.booleans())
    def snapshot(self, drop: bool) -> None:
        taken = self.run(self.db.snapshot())
        if drop:
            self.run(self.db.retain(taken.seq))
            self.kept = taken.ts

    @rule(back=st.integers(0, 5))
    def archive(self, back: int) -> None:
        """The older log goes into blocks, and nothing else changes."""
        with contextlib.suppress(NotFoundError):  # there is no snapshot yet
            self.run(self.db.archive(self.db.head.seq - back))

    @rule()
    def verify(self) -> None:
        assert self.run(self.db.verify(self.head)).head.seq >= self.head.seq

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "db"):
            return
        with self.db.read() as reader:
            assert dict(reader.query("SELECT k, v FROM t")) == self.model  # type: ignore[arg-type]

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.run(self.leave())
            self.run(self.db.close())
        self.runner.close()
        shutil.rmtree(self.directory)
        shutil.rmtree(self.elsewhere)


TestStoreIsADict = StoreIsADict.TestCase
TestStoreIsADict.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
