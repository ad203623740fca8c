"""Plain SQLite through apsw, not encrypted: well used, and as scripts use it."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import apsw

from bench import stores
from bench.stores import Node, Question

EVENT = "INSERT INTO event(node, kind, body) VALUES (?, 'node.register', ?)"
DECIDE = """
SELECT EXISTS (
    SELECT 1 FROM membership AS us JOIN source ON source.name = us.name JOIN rule ON rule.id = source.rule
    JOIN target ON target.rule = rule.id JOIN membership AS them ON them.name = target.name
    WHERE us.node = ? AND them.node = ? AND ? BETWEEN target.first AND target.last AND rule.protocol IN (0, 6))
"""


class Apsw:
    """A write-ahead log, synced at each commit, one transaction a request, one query a decision."""

    journal = "wal"

    def __init__(self, folder: Path) -> None:
        self._connection = connection = apsw.Connection(str(folder / f"{type(self).__name__}.db"))
        connection.pragma("journal_mode", self.journal)
        connection.pragma("synchronous", "FULL")
        connection.execute(f"{stores.SCHEMA}; {stores.EVENTS}; {stores.ACLS}").fetchall()
        given = stores.acls()
        with connection:
            for table, rows in (
                ("rule", given.rules),
                ("source", given.sources),
                ("target", given.targets),
                ("membership", given.memberships),
            ):
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows).fetchall()
        self._execute = connection.cursor().execute

    def together(self) -> AbstractContextManager[object]:
        """What makes statements one commit."""
        return self._connection

    async def register(self, nodes: list[Node]) -> None:
        """One after another."""
        for node in nodes:
            with self.together():
                self._execute(stores.USE).fetchall()
                self._execute(stores.INSERT, node).fetchall()
                self._execute(EVENT, (node[0], json.dumps({"name": node[1], "ipv4": node[4]}))).fetchall()

    async def decide(self, questions: list[Question]) -> list[bool]:
        """By indexes."""
        return [bool(self._execute(DECIDE, question).fetchall()[0][0]) for question in questions]

    async def tell(self, endpoints: list[tuple[str, int]]) -> int:
        """One after another, then one read."""
        for each in endpoints:
            with self.together():
                self._execute(stores.TELL, each).fetchall()
        return len(self._execute(stores.ALL).fetchall())

    async def bring(self, nodes: list[Node]) -> None:
        """One statement with many parameters."""
        with self.together():
            self._connection.executemany(stores.INSERT, nodes).fetchall()

    async def look(self, ids: list[int]) -> int:
        """In one transaction, where this store has any."""
        with self.together():
            return sum(self._execute(stores.ONE, (number,)).fetchone() is not None for number in ids)

    async def close(self) -> None:
        """Free the file."""
        self._connection.close()


class Autocommit(Apsw):
    """A rollback journal and a commit for each statement: what a script gets that changes nothing."""

    journal = "delete"

    def together(self) -> AbstractContextManager[object]:
        """Nothing does."""
        return nullcontext()
