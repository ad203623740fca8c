"""SQLite as the store uses it: one library in the process, always encrypted, every setting a promise rests on."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import apsw

from ghostwire.errors import DatabaseError, GhostwireError, PermissionDeniedError, ValidationError
from ghostwire.zqlite import bindings, faults, keyring

Cipher = Literal["aegis", "chacha20"]
Durability = Literal["full", "lazy"]

OLDEST_SQLITE: Final = (3, 51, 3)
"""Before it, two connections that checkpoint while a third commits can corrupt a WAL database."""

APPLICATION_ID: Final = 0x7A716C74
FORMAT: Final = 1
PAGE_BYTES: Final = 4096

_PLAIN_HEADER: Final = b"SQLite format 3\0"
WRITER_CACHE_BYTES: Final = 64 * 1024 * 1024
READER_CACHE_BYTES: Final = 8 * 1024 * 1024
"""Of a read connection that is always there: a page that is not in it costs a decryption, twice the whole query."""
SPARE_CACHE_BYTES: Final = 512 * 1024
"""Of one that is opened when all others are busy: there may be sixty of them."""
_BUSY_MS: Final = 5000


@dataclass(frozen=True, slots=True)
class Location:
    """A store's file and what opens it. `vfs` names a registered VFS that stands below the cipher.

    `cache_bytes` bounds the writer's page cache.
    """

    path: Path
    cipher: Cipher
    page_key: bytes = field(repr=False)
    column_key: bytes = field(repr=False)
    signing_key: bytes = field(repr=False)
    salt: bytes | None = field(default=None, repr=False)
    durability: Durability = "full"
    vfs: str | None = None
    cache_bytes: int = WRITER_CACHE_BYTES


def require_version(version: str | None = None) -> None:
    """Refuse a SQLite with the WAL-reset fault, or one that cannot capture rows."""
    version = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise DatabaseError(f"SQLite {version} can corrupt a store: install apsw-sqlite3mc with {oldest} or newer")
    if "ENABLE_PREUPDATE_HOOK" not in apsw.compile_options:
        raise DatabaseError("this SQLite lacks the pre-update hook: install apsw-sqlite3mc")


def check_access(key: bytes | None, passphrase: str | None, cipher: str) -> None:
    """Refuse, before anything is touched, a call that could not open any store."""
    if cipher not in ("aegis", "chacha20"):
        raise ValidationError(f"unknown cipher {cipher!r}: use 'aegis' or 'chacha20'")
    if (key is None) == (passphrase is None):
        raise ValidationError("a store is always encrypted: give either key= or passphrase=")
    if key is not None:
        keyring.check(key)
    elif not passphrase:
        raise ValidationError("the passphrase is empty")


def locate(
    path: Path,
    key: bytes | None,
    passphrase: str | None,
    *,
    cipher: Cipher = "aegis",
    durability: Durability = "full",
    vfs: str | None = None,
    cache_bytes: int = WRITER_CACHE_BYTES,
) -> Location:
    """Work out what opens `path`; a passphrase is stretched here, once. The file is locked and may be empty."""
    salt: bytes | None = None
    if key is not None:
        root = keyring.check(key)
    else:
        assert passphrase is not None  # noqa: S101 (check_access has seen to it)
        with path.open("rb") as stream:
            salt = stream.read(keyring.SALT_BYTES)
        if len(salt) < keyring.SALT_BYTES:
            salt = secrets.token_bytes(keyring.SALT_BYTES)
        root = keyring.from_passphrase(passphrase, salt)
    return Location(
        path,
        cipher,
        keyring.page_key(root),
        keyring.column_key(root),
        keyring.signing_key(root),
        salt,
        durability,
        vfs,
        cache_bytes,
    )


def preflight(location: Location) -> None:
    """Find out, without writing a byte, whether the file is a store that this key opens.

    An empty file passes; so does one whose making was cut short, which is emptied.
    """
    path = location.path
    size = path.stat().st_size
    if size == 0:
        return
    with path.open("rb") as stream:
        if stream.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER:
            raise DatabaseError(f"{path} is a plain SQLite file, not a store: import its rows into a new store")
    recovers = _holds(path, "-wal")
    if not recovers and size <= PAGE_BYTES and _holds(path, "-journal"):
        _start_over(path)
        return
    if not recovers and (size < PAGE_BYTES or size % PAGE_BYTES):
        raise DatabaseError(f"{path} is cut short ({size} bytes) or not a store: restore it from a backup")
    try:
        _read_header(location, "immutable=1")
    except (apsw.NotADBError, apsw.CorruptError, apsw.IOError) as error:
        if not recovers:
            raise _unreadable(location, error) from error
        _try_recovered(location)


def _holds(path: Path, suffix: str) -> bool:
    beside = Path(f"{path}{suffix}")
    return beside.exists() and beside.stat().st_size > 0


def _start_over(path: Path) -> None:
    """The very first transaction was cut short: one page at most, and nobody was ever told of a store here.

    Only a store in the making has a rollback journal. A second cut between these two lines leaves an empty file, whose
    journal SQLite drops.
    """
    os.truncate(path, 0)
    Path(f"{path}-journal").unlink()


def _try_recovered(location: Location) -> None:
    """The file alone does not open, yet the log beside it may mend it. Ask, and leave both as they were."""
    shared = Path(f"{location.path}-shm")
    existed = shared.exists()
    try:
        _read_header(location, "nolock=0")
    except apsw.Error as error:
        raise _unreadable(location, error) from error
    finally:
        if not existed:
            shared.unlink(missing_ok=True)


def _read_header(location: Location, option: str) -> None:
    quoted = str(location.path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = apsw.Connection(
        f"file:{quoted}?{option}",
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        vfs=_vfs_name(location),
    )
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        _unlock(connection, location)
        application: Any = connection.pragma("application_id")
        version: Any = connection.pragma("user_version")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    finally:
        close(connection)
    if application != APPLICATION_ID and (application or tables):
        raise DatabaseError(f"{location.path} is a database of another program: use another path")
    if version > FORMAT:
        raise DatabaseError(f"{location.path} was written by a newer release (format {version}): upgrade this one")


def _unreadable(location: Location, error: Exception) -> GhostwireError:
    path = location.path
    if isinstance(error, apsw.NotADBError):
        return DatabaseError(
            f"cannot open {path}: the key or the cipher is not the one it was made with, or it is not a store, or its "
            "first page is damaged. Give the right key or passphrase, or restore a backup"
        )
    if isinstance(error, apsw.CorruptError):
        return DatabaseError(f"{path} is cut short or damaged: restore it from a backup")
    return faults.translate(error)


def unwritable(path: Path) -> GhostwireError:
    """SQLite may not write beside the file."""
    return PermissionDeniedError(
        f"cannot write {path} or make files beside it: let uid {os.geteuid()} write {path.parent}, or use another path"
    )


def connect_writer(location: Location) -> apsw.Connection:
    """The one connection that writes and checkpoints."""
    connection = apsw.Connection(str(location.path), vfs=_vfs_name(location), statementcachesize=512)
    try:
        # Until the store is known to be sound, closing must not move the log into the file.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_timeout(_BUSY_MS)
        _unlock(connection, location)
        _settle(connection, location.cache_bytes // 1024)
        if location.path.stat().st_size == 0:
            connection.pragma("page_size", PAGE_BYTES)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", FORMAT)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise DatabaseError(f"{location.path}: this file system cannot hold a write-ahead log; use a local disk")
        connection.pragma("synchronous", "FULL" if location.durability == "full" else "NORMAL")
        connection.pragma("foreign_keys", True)
        connection.pragma("secure_delete", "fast")
        connection.wal_autocheckpoint(0)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    except BaseException:
        close(connection)
        raise
    return connection


def connect_reader(location: Location, cache_bytes: int = SPARE_CACHE_BYTES) -> apsw.Connection:
    """A connection that cannot write."""
    connection = apsw.Connection(
        str(location.path), flags=apsw.SQLITE_OPEN_READONLY, vfs=_vfs_name(location), statementcachesize=256
    )
    try:
        connection.set_busy_timeout(_BUSY_MS)
        _unlock(connection, location)
        _settle(connection, cache_bytes // 1024)
        connection.pragma("query_only", True)
    except BaseException:
        close(connection)
        raise
    return connection


def duplicate(connection: apsw.Connection, location: Location) -> None:
    """Write what a connection's transaction sees to the empty file of `location`, under its key."""
    target = apsw.Connection(str(location.path), vfs=_vfs_name(location))
    try:
        _unlock(target, location)
        with target.backup("main", connection, "main") as pages:
            pages.step(-1)
    finally:
        close(target)


def close(connection: apsw.Connection) -> None:
    """Close for good. If the log cannot be moved into the file now, it stays beside it and the next open moves it."""
    with contextlib.suppress(apsw.Error):
        connection.close()


def checkpoint(connection: apsw.Connection, mode: int) -> None:
    """Move the log into the file as far as readers let it, and wait for none: all writers would wait, too.

    Raises apsw.BusyError where that was not all.
    """
    connection.set_busy_timeout(0)
    try:
        connection.wal_checkpoint(mode=mode)
    finally:
        connection.set_busy_timeout(_BUSY_MS)


def forbid_checkpoint(connection: apsw.Connection) -> None:
    """After a failed sync: leave the log alone on close, for the pages it holds may not be in the file."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def _unlock(connection: apsw.Connection, location: Location) -> None:
    connection.pragma("cipher", location.cipher)
    salt = location.salt.hex() if location.salt else ""
    connection.pragma("key", f"raw:{location.page_key.hex()}{salt}")


def _settle(connection: apsw.Connection, cache_kib: int) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    connection.convert_binding = bindings.convert
    connection.pragma("trusted_schema", False)
    connection.pragma("cell_size_check", True)
    connection.pragma("cache_size", -cache_kib)


def _vfs_name(location: Location) -> str | None:
    """The cipher stands on a VFS of its own; over a foreign one it is named after that."""
    return None if location.vfs is None else f"multipleciphers-{location.vfs}"
