"""From a path to a running store's parts: lock, key, recovery, the store's own tables, the head of its log."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.errors import DatabaseError
from ghostwire.zqlite import archive, changelog, engine, faults, fence, functions, keyring, sealing, signing, spatial
from ghostwire.zqlite.applier import Applier, Start
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.index import session
from ghostwire.zqlite.index.shared import Shared
from ghostwire.zqlite.layout import Catalogue, Layout, decode_layout
from ghostwire.zqlite.lock import FileLock
from ghostwire.zqlite.pool import Pool
from ghostwire.zqlite.sealer import Sealer
from ghostwire.zqlite.sealing import Ring
from ghostwire.zqlite.series import insert as series_insert
from ghostwire.zqlite.series import shelf as shelves
from ghostwire.zqlite.series import table as series_table
from ghostwire.zqlite.signing import Signer
from ghostwire.zqlite.upkeep import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ghostwire.zqlite.watch import Watch

_BESIDE: Final = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a file."""
_TABLES: Final = f"""
CREATE TABLE zq_meta(key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE zq_layout(since INTEGER NOT NULL, table_id INTEGER NOT NULL, layout BLOB,
    PRIMARY KEY (since, table_id)) WITHOUT ROWID;
CREATE TABLE zq_snapshot(seq INTEGER NOT NULL, part INTEGER NOT NULL, ts INTEGER NOT NULL, hash BLOB NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (seq, part)) WITHOUT ROWID;
CREATE TABLE change(seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, ts INTEGER NOT NULL, actor TEXT NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, prev BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE zq_group(seq INTEGER PRIMARY KEY, signature BLOB NOT NULL);
{archive.TABLE};
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """A locked, recovered store: what the threads are then built on."""

    location: engine.Location
    lock: FileLock
    applier: Applier
    identity: bytes
    prepare: Callable[[apsw.Connection], None]
    shelf: shelves.Shelf
    archive: archive.Archive
    fence: str | None = None
    unfinished: bool = False


def open_store(
    lock: FileLock,
    locate: Callable[[], engine.Location],
    columns: Sequence[str] | None = None,
    clock: Callable[[], int] = time.time_ns,
    found_with: dict[str, Any] | None = None,
    block_cache_bytes: int = shelves.CACHE_BYTES,
) -> Opened:
    """Open the file behind `lock`, made if it is empty. On any failure nothing on disk has changed.

    `columns` are the ENCRYPTED columns that may be read and written, as `table.column`; all of them when left out. An
    empty file is made a store of its own, or with `found_with` (its settings, secrets in the clear) a copy of another.
    """
    beside = [name for name in _BESIDE if not Path(f"{lock.path}{name}").exists()]
    try:
        location = locate()
        engine.preflight(location)
        connection = _connect(location)
        try:
            meta = _identify(connection, location, found_with)
            identity = meta["id"]
            secret = signing.unwrap(meta[signing.META], location.signing_key)
            ring = Ring(identity, location.column_key, meta[sealing.META], columns, cipher=location.cipher, kept=meta)

            shelf = shelves.Shelf(identity, shelves.secret(meta[sealing.META], location.column_key), block_cache_bytes)

            archived = archive.Archive(shelf)
            indexes = Shared()

            def extend(connection: apsw.Connection) -> None:
                functions.register(connection)
                session.register(connection, indexes)
                series_table.register(connection, shelf)
                archived.register(connection)
                spatial.register(connection)

            def prepare(connection: apsw.Connection) -> None:
                extend(connection)
                ring.register(connection)

            extend(connection)
            sealer = Sealer(ring, connection)
            signer = Signer(identity, secret, meta.get(signing.FORMER))
            start = Start(_catalogue(connection), _head(connection), meta["epoch"])
            applier = Applier(connection, start, signer, sealer, clock)
            series_insert.register(applier, shelf)
        except BaseException:
            engine.forbid_checkpoint(connection)
            engine.close(connection)
            raise
        if lock.created:
            keyring.sync_directory(location.path.parent)
    except BaseException as error:
        for name in ("", *beside) if lock.created else beside:
            Path(f"{lock.path}{name}").unlink(missing_ok=True)
        lock.release()
        if isinstance(error, apsw.Error | OSError):
            raise faults.translate(error) from error
        raise
    return Opened(location, lock, applier, identity, prepare, shelf, archived, meta.get(fence.META), UNFINISHED in meta)


def _founding() -> dict[str, Any]:
    """The settings of a store that is new."""
    return {
        "id": secrets.token_bytes(16),
        "epoch": 1,
        sealing.META: secrets.token_bytes(sealing.SECRET_BYTES),
        signing.META: signing.new_secret(),
    }


def wrap(meta: dict[str, Any], location: engine.Location) -> dict[str, Any]:
    """Settings as a file keeps them: their secrets closed under its keys."""
    closed = dict(meta)
    for name, close, key in (
        (sealing.META, sealing.wrap, location.column_key),
        (signing.META, signing.wrap, location.signing_key),
    ):
        if name in meta:
            closed[name] = close(meta[name], key)
    return closed


def read_connections(opened: Opened, size: tuple[int, int], timeout: float, watch: Watch) -> Pool:
    """The pool of a store that was just opened; where there can be none, it is closed again."""
    try:
        return Pool(opened.location, opened.prepare, size, timeout, watch)
    except BaseException:
        engine.close(opened.applier.connection)
        opened.lock.release()
        raise


def make_tables(connection: apsw.Connection) -> None:
    """Make the store's own tables in an empty file."""
    with connection:
        connection.execute(_TABLES).fetchall()


def _connect(location: engine.Location) -> apsw.Connection:
    try:
        return engine.connect_writer(location)
    except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise engine.unwritable(location.path) from error


def _identify(
    connection: apsw.Connection, location: engine.Location, found_with: dict[str, Any] | None
) -> dict[str, Any]:
    """What the store's own table says: its id, its epoch, its wrapped secrets; a file without any is made a store."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
    if not names:
        made = wrap(found_with or _founding(), location)
        with connection:
            connection.execute(_TABLES).fetchall()
            connection.executemany("INSERT INTO zq_meta VALUES (?, ?)", list(made.items())).fetchall()
        return made
    if "zq_meta" not in names:
        raise DatabaseError(f"{location.path} is a database of another program: use another path")
    if "zq_archive" not in names:
        connection.execute(archive.TABLE).fetchall()
    pairs: Any = connection.execute("SELECT key, value FROM zq_meta").fetchall()
    meta: dict[str, Any] = dict(pairs)
    if "zq_group" not in names or not meta.keys() >= {"id", "epoch", sealing.META, signing.META}:
        raise DatabaseError(f"{location.path} was made by a release that was never published: make a new store")
    return meta


def _catalogue(connection: apsw.Connection) -> Catalogue:
    versions: dict[int, dict[int, Layout | None]] = {}
    rows: Any = connection.execute("SELECT since, table_id, layout FROM zq_layout ORDER BY since, table_id").fetchall()
    for since, table, data in rows:
        versions.setdefault(since, {})[table] = None if data is None else decode_layout(data)
    return Catalogue(versions.items())


def _head(connection: apsw.Connection) -> Head:
    rows: Any = connection.execute("SELECT seq, ts, hash FROM change ORDER BY seq DESC LIMIT 1").fetchall()
    return Head(*rows[0]) if rows else Head(0, 0, changelog.GENESIS)
