"""Ours: encrypted, one writer with group commit, a change log; decisions by the policy engine in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench import stores
from bench.stores import Node, Question
from ghostwire import zqlite
from ghostwire.policy import Engine
from ghostwire.zqlite import Operation, Statement


class Ours:
    """A store, and the engine that a coordinator builds from it."""

    def __init__(self, db: zqlite.Store, engine: Engine) -> None:
        self._db = db
        self._engine = engine

    @classmethod
    async def open(cls, folder: Path) -> Ours:
        """In an empty folder."""
        db = await zqlite.open(folder / "store.db", key=bytes(32))
        await db.execute(stores.SCHEMA)
        return cls(db, stores.network().engine())

    async def register(self, nodes: list[Node]) -> None:
        """One operation each; they are committed in groups."""
        await asyncio.gather(*(self._db.submit(_registration(node)) for node in nodes))

    async def decide(self, questions: list[Question]) -> list[bool]:
        """From memory."""
        return [self._engine.decide(source, target, stores.TCP, port) for source, target, port in questions]

    async def tell(self, endpoints: list[tuple[str, int]]) -> int:
        """One operation each, then one read."""
        told = (Operation("endpoint", "", (Statement(stores.TELL, each, 1),)) for each in endpoints)
        await asyncio.gather(*map(self._db.submit, told))
        return len(await self._db.query(stores.ALL))

    async def bring(self, nodes: list[Node]) -> None:
        """One statement with many parameters, committed at once."""
        await self._db.executemany(stores.INSERT, nodes)

    async def look(self, ids: list[int]) -> int:
        """In one read transaction."""
        with self._db.read() as reader:
            return sum(reader.query_one(stores.ONE, (number,)) is not None for number in ids)

    async def close(self) -> None:
        """Free the file."""
        await self._db.close()


def _registration(node: Node) -> Operation:
    return Operation("node.register", "alice", (Statement(stores.USE, (), 1), Statement(stores.INSERT, node, 1)))
