"""The agent's encrypted local store: identity, session, last map, traffic, and what the last run was asked for.

`DIR/agent.db` is a zqlite store under the key in `DIR/store.key` (0600). That key protects copies of the file, not the
folder. The map is kept part by part, so that a small change is a small write.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from ghostwire import zqlite
from ghostwire.agent.io.journal import logger
from ghostwire.agent.memory import KeptMap, Memory
from ghostwire.agent.traffic import Traffic
from ghostwire.agent.wishes import Wishes
from ghostwire.errors import GhostwireError
from ghostwire.model.position import Position
from ghostwire.wire.netmap import NetMap
from ghostwire.zqlite import keyring

FILE: Final = "agent.db"
KEY_FILE: Final = "store.key"
ACTOR: Final = "agent"

_SCHEMA: Final = """CREATE TABLE identity(
    id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, pin BLOB NOT NULL, node_private BLOB NOT NULL,
    machine_private BLOB NOT NULL, next_private BLOB NOT NULL, node INTEGER NOT NULL, name TEXT NOT NULL,
    facts BLOB NOT NULL, key_born INTEGER NOT NULL) STRICT;
CREATE TABLE session(
    id INTEGER PRIMARY KEY CHECK (id = 1), token TEXT, contact INTEGER NOT NULL, highest INTEGER NOT NULL) STRICT;
CREATE TABLE part(name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE peer(node INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE profile(owner INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE traffic(
    node INTEGER PRIMARY KEY, name TEXT NOT NULL, rx_bytes INTEGER NOT NULL, tx_bytes INTEGER NOT NULL) STRICT;
"""
_MIGRATIONS: Final = (
    zqlite.Migration(1, "initial", _SCHEMA),
    zqlite.Migration(2, "heads", "ALTER TABLE session ADD COLUMN heads BLOB NOT NULL DEFAULT x''"),
)
_PUT: Final = {
    "identity": "INSERT OR REPLACE INTO identity VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "session": "INSERT OR REPLACE INTO session VALUES (1, ?, ?, ?, ?)",
    "part": "INSERT OR REPLACE INTO part VALUES (?, ?)",
    "peer": "INSERT OR REPLACE INTO peer VALUES (?, ?)",
    "profile": "INSERT OR REPLACE INTO profile VALUES (?, ?)",
    "traffic": "INSERT OR REPLACE INTO traffic VALUES (?, ?, ?, ?)",
}
_CLEAR: Final = ("DELETE FROM part WHERE name <> 'wishes'", "DELETE FROM peer", "DELETE FROM profile")
_DELETE: Final = {
    "part": "DELETE FROM part WHERE name = ?",
    "peer": "DELETE FROM peer WHERE node = ?",
    "profile": "DELETE FROM profile WHERE owner = ?",
}
_IDENTITY: Final = (
    "origin", "pin", "node_private", "machine_private", "next_private", "node", "name", "facts", "key_born",
)  # fmt: skip
_SESSION: Final = ("token", "contact", "highest", "heads")
_POSITION: Final = "position"
_WISHES: Final = "wishes"


_NO_MAP: Final = KeptMap(None, {}, {}, {})


class LocalStore:
    """What lasts of an agent. Writes are queued in order; await `flush` to know them on disk."""

    def __init__(self, db: zqlite.Store, folder: Path, compact_after: int) -> None:
        self._db = db
        self._folder = folder
        self._identity: tuple[Any, ...] = ()
        self._session: tuple[Any, ...] = ()
        self._kept: KeptMap | None = _NO_MAP
        self._last: asyncio.Future[Any] | None = None
        self._writes = 0
        self._compact_after = compact_after
        self._compacting: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, folder: Path, compact_after: int = 1000) -> LocalStore:
        """Open the store in `folder`, made where it is missing; its log is shortened every so many writes.

        Raises what `zqlite.open` raises.
        """
        key = keyring.load_or_create(folder / KEY_FILE)
        db = await zqlite.open(folder / FILE, key=key, readers=(1, 1))
        try:
            await zqlite.migrate.apply(db, _MIGRATIONS)
        except BaseException:
            await db.close()
            raise
        return cls(db, folder, compact_after)

    # Reading, at the start.

    async def memory(self) -> Memory | None:
        """What was kept of the node, None in a folder without one."""
        identity = await self._db.query_one("SELECT * FROM identity")
        session = await self._db.query_one("SELECT * FROM session")
        if identity is None or session is None:
            return None
        self._identity, self._session = tuple(identity)[1:], tuple(session)[1:]
        known = dict(zip(_IDENTITY + _SESSION, self._identity + self._session, strict=True))
        return Memory(**known)

    async def netmap(self) -> NetMap:
        """The last map, empty where none was kept. Raises `WireError`."""
        parts: dict[str, bytes] = dict(await self._db.query("SELECT name, body FROM part"))
        position = parts.pop(_POSITION, None)
        parts.pop(_WISHES, None)
        if position is None:
            return NetMap()
        kept = KeptMap(
            msgspec.msgpack.decode(position, type=Position | None),
            parts,
            dict(await self._db.query("SELECT node, body FROM peer")),
            dict(await self._db.query("SELECT owner, body FROM profile")),
        )
        self._kept = kept
        return kept.restore()

    async def wishes(self) -> Wishes | None:
        """What the last run was asked for."""
        row = await self._db.query_one("SELECT body FROM part WHERE name = ?", (_WISHES,))
        return None if row is None else msgspec.msgpack.decode(row[0], type=Wishes)

    async def traffic(self) -> dict[int, Traffic]:
        """Bytes by peer."""
        rows = await self._db.query("SELECT node, name, rx_bytes, tx_bytes FROM traffic")
        return {row[0]: Traffic(*row) for row in rows}

    # Writing.

    def keep(self, memory: Memory) -> None:
        """Keep what changed of the node."""
        identity = tuple(getattr(memory, name) for name in _IDENTITY)
        session = tuple(getattr(memory, name) for name in _SESSION)
        statements = []
        if identity != self._identity:
            statements.append(zqlite.Statement(_PUT["identity"], identity))
        if session != self._session:
            statements.append(zqlite.Statement(_PUT["session"], session))
        self._identity, self._session = identity, session
        self._submit("node", statements)

    def keep_map(self, kept: KeptMap) -> None:
        """Keep what changed of the map."""
        statements = []
        before = self._kept
        if before is None:
            statements += [zqlite.Statement(sql) for sql in _CLEAR]
            before = _NO_MAP
        statements += _differences("part", before.parts, kept.parts)
        statements += _differences("peer", before.peers, kept.peers)
        statements += _differences("profile", before.profiles, kept.profiles)
        if kept.position != before.position:
            statements.append(zqlite.Statement(_PUT["part"], (_POSITION, msgspec.msgpack.encode(kept.position))))
        self._kept = kept
        self._submit("netmap", statements)

    def keep_wishes(self, wishes: Wishes) -> None:
        """Keep what this run was asked for."""
        self._submit("wishes", [zqlite.Statement(_PUT["part"], (_WISHES, msgspec.msgpack.encode(wishes)))])

    def keep_traffic(self, rows: list[Traffic]) -> None:
        """Keep the traffic with these peers."""
        self._submit("traffic", [zqlite.Statement(_PUT["traffic"], msgspec.structs.astuple(row)) for row in rows])

    async def flush(self) -> None:
        """Return once everything that was kept is on disk. Raises `DatabaseError` and what writing raises."""
        last, self._last = self._last, None
        if last is not None:
            await last

    async def close(self) -> None:
        """Write what is queued and close."""
        try:
            await self.flush()
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._compacting is not None:
            await self._compacting
        await self._db.close()

    async def forget(self) -> None:
        """Close, and remove the store and its key from the disk."""
        await self._close()
        for name in (KEY_FILE, FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (self._folder / name).unlink(missing_ok=True)

    def _submit(self, kind: str, statements: list[zqlite.Statement]) -> None:
        if not statements:
            return
        self._last = self._db.submit(zqlite.Operation(kind, ACTOR, tuple(statements)))
        self._last.add_done_callback(self._written)
        self._writes += 1
        if self._writes % self._compact_after == 0 and (self._compacting is None or self._compacting.done()):
            self._compacting = asyncio.get_running_loop().create_task(self._compact())

    async def _compact(self) -> None:
        """Drop the history of what is kept: nobody asks for it, and it would grow for ever."""
        try:
            await self._db.retain((await self._db.snapshot()).seq)
        except GhostwireError as error:
            logger().error("the store's log could not be shortened: %s", error)

    def _written(self, written: asyncio.Future[Any]) -> None:
        """A write that nobody waits for must not fail in silence. The agent goes on, and writes all of it next time."""
        if written.cancelled() or (error := written.exception()) is None:
            return
        self._identity = self._session = ()
        self._kept = None
        logger().error("what this node knows could not be kept: %s", error)


def _differences(table: str, old: dict[Any, bytes], new: dict[Any, bytes]) -> list[zqlite.Statement]:
    gone = [zqlite.Statement(_DELETE[table], (name,)) for name in old.keys() - new.keys()]
    return gone + [zqlite.Statement(_PUT[table], (name, body)) for name, body in new.items() if old.get(name) != body]
