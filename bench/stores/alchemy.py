"""SQLAlchemy's asynchronous sessions over aiosqlite, as a web service is commonly written: objects, loaded and flushed.

It works with another SQLite than ours, so it is measured in a process of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, event, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from bench import stores


class Base(DeclarativeBase):
    """The tables."""


class NodeRow(Base):
    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    node_key: Mapped[bytes] = mapped_column(unique=True)
    machine_key: Mapped[bytes]
    ipv4: Mapped[str] = mapped_column(unique=True)
    os: Mapped[str]
    endpoint: Mapped[str]
    node_metadata: Mapped[bytes] = mapped_column("metadata")


class Preauth(Base):
    __tablename__ = "preauth"
    id: Mapped[int] = mapped_column(primary_key=True)
    uses: Mapped[int]


class Event(Base):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    node: Mapped[int]
    kind: Mapped[str]
    body: Mapped[str]


class Source(Base):
    __tablename__ = "source"
    id: Mapped[int] = mapped_column(primary_key=True)
    rule: Mapped[int] = mapped_column(ForeignKey("rule.id"), index=True)
    name: Mapped[str] = mapped_column(index=True)


class Target(Base):
    __tablename__ = "target"
    id: Mapped[int] = mapped_column(primary_key=True)
    rule: Mapped[int] = mapped_column(ForeignKey("rule.id"), index=True)
    name: Mapped[str] = mapped_column(index=True)
    first: Mapped[int]
    last: Mapped[int]


class Rule(Base):
    __tablename__ = "rule"
    id: Mapped[int] = mapped_column(primary_key=True)
    protocol: Mapped[int]
    sources: Mapped[list[Source]] = relationship()
    targets: Mapped[list[Target]] = relationship()


class Membership(Base):
    __tablename__ = "membership"
    id: Mapped[int] = mapped_column(primary_key=True)
    node: Mapped[int] = mapped_column(index=True)
    name: Mapped[str]


class Alchemy:
    """An engine and its sessions."""

    def __init__(self, folder: Path) -> None:
        self._engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'alchemy.db'}")
        event.listen(self._engine.sync_engine, "connect", _settle)
        self._session = async_sessionmaker(self._engine, expire_on_commit=False)

    @classmethod
    async def open(cls, folder: Path) -> Alchemy:
        """In an empty folder."""
        made, given = cls(folder), stores.acls()
        async with made._engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(insert(Preauth), [{"id": 1, "uses": 0}])
            await connection.execute(insert(Rule), [{"id": rule, "protocol": kind} for rule, kind in given.rules])
            await connection.execute(insert(Source), [{"rule": rule, "name": name} for rule, name in given.sources])
            await connection.execute(
                insert(Target),
                [
                    {"rule": rule, "name": name, "first": first, "last": last}
                    for rule, name, first, last in given.targets
                ],
            )
            await connection.execute(insert(Membership), [{"node": n, "name": name} for n, name in given.memberships])
        return made

    async def register(self, nodes: list[stores.Node]) -> None:
        """A session each."""
        for node in nodes:
            row = NodeRow(**_values(node))
            async with self._session() as session, session.begin():
                await session.execute(update(Preauth).where(Preauth.id == 1).values(uses=Preauth.uses + 1))
                session.add(row)
                body = json.dumps({"name": row.name, "ipv4": row.ipv4})
                session.add(Event(node=row.id, kind="node.register", body=body))

    async def decide(self, questions: list[stores.Question]) -> list[bool]:
        """A session each, which loads the rules and looks through them."""
        found = []
        for source, target, port in questions:
            async with self._session() as session:
                found.append(await _decide(session, source, target, port))
        return found

    async def tell(self, endpoints: list[tuple[str, int]]) -> int:
        """A session each, then one that loads all."""
        for endpoint, number in endpoints:
            async with self._session() as session, session.begin():
                node = await session.get_one(NodeRow, number)
                node.endpoint = endpoint
        async with self._session() as session:
            return len((await session.scalars(select(NodeRow))).all())

    async def bring(self, nodes: list[stores.Node]) -> None:
        """One session, one statement with many parameters."""
        async with self._session() as session, session.begin():
            await session.execute(insert(NodeRow), [_values(node) for node in nodes])

    async def look(self, ids: list[int]) -> int:
        """In one session."""
        async with self._session() as session:
            return sum([await session.get(NodeRow, number) is not None for number in ids])

    async def close(self) -> None:
        """Free the file."""
        await self._engine.dispose()


async def _decide(session: AsyncSession, source: int, target: int, port: int) -> bool:
    async def names(node: int) -> set[str]:
        return {row.name for row in await session.scalars(select(Membership).where(Membership.node == node))}

    ours, theirs = await names(source), await names(target)
    rules = select(Rule).options(selectinload(Rule.sources), selectinload(Rule.targets))
    return any(
        rule.protocol in (stores.ANY, stores.TCP)
        and any(each.name in ours for each in rule.sources)
        and any(each.name in theirs and each.first <= port <= each.last for each in rule.targets)
        for rule in await session.scalars(rules)
    )


def _values(node: stores.Node) -> dict[str, Any]:
    """A node by the attributes of its row."""
    names = ("id", "name", "node_key", "machine_key", "ipv4", "os", "endpoint", "node_metadata")
    return dict(zip(names, node, strict=True))


def _settle(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
