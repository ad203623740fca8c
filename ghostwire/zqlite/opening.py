"""From a path to an open store."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ghostwire.errors import ValidationError
from ghostwire.zqlite import bootstrap, engine
from ghostwire.zqlite.access import ignore
from ghostwire.zqlite.lock import FileLock
from ghostwire.zqlite.pool import LEAST, MOST, Pool, check_size
from ghostwire.zqlite.series import shelf as shelves
from ghostwire.zqlite.store import Store
from ghostwire.zqlite.watch import SLOW_SECONDS, Seen, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ghostwire.errors import DatabaseError

_LONGEST_NAME: Final = 255 - len("-journal")
"""Bytes: file systems take 255, and SQLite puts files beside the store."""


async def open(
    path: str | os.PathLike[str],
    *,
    key: bytes | None = None,
    passphrase: str | None = None,
    cipher: engine.Cipher = "aegis",
    durability: engine.Durability = "full",
    readers: tuple[int, int] = (LEAST, MOST),
    read_timeout: float = 5.0,
    on_fatal: Callable[[DatabaseError], None] | None = None,
    columns: Sequence[str] | None = None,
    vfs: str | None = None,
    cache_bytes: int = engine.WRITER_CACHE_BYTES,
    watch: Callable[[Seen], None] | None = None,
    slow: float = SLOW_SECONDS,
    block_cache_bytes: int = shelves.CACHE_BYTES,
) -> Store:
    """Open the store at `path`, made if missing, with its 32-byte key or its passphrase. It belongs to this event loop.

    `durability="lazy"` syncs at checkpoints only: a power cut may lose the last seconds, never the file. `readers` are
    the least and most read connections, `read_timeout` the seconds to wait for one. `on_fatal` is called on the loop
    when a disk error has stopped all writing. `columns` limits the store to these ENCRYPTED columns, as `table.column`:
    others then raise PermissionDeniedError. `vfs` names a registered VFS to put below the cipher; `cache_bytes`
    bounds the writer's page cache, `block_cache_bytes` the decoded blocks of series that all readers share. `watch` is
    called with all that the store does, on the thread that did it; queries of more than `slow` seconds are remembered.

    Raises ConflictError when it is open already, DatabaseError when it is no store, damaged, too new, or the key is
    wrong, PermissionDeniedError where it may not be written, ValidationError for a wrong call.
    """
    loop = asyncio.get_running_loop()
    engine.require_version()
    engine.check_access(key, passphrase, cipher)
    check_size(readers)
    _check_options(durability, columns, min(cache_bytes, block_cache_bytes))
    watching = Watch(watch, slow)
    file = _named(path)

    def locate() -> engine.Location:
        return engine.locate(
            file, key, passphrase, cipher=cipher, durability=durability, vfs=vfs, cache_bytes=cache_bytes
        )

    def start() -> tuple[bootstrap.Opened, Pool]:
        lock = FileLock.take(file)
        opened = bootstrap.open_store(lock, locate, columns, block_cache_bytes=block_cache_bytes)
        return opened, bootstrap.read_connections(opened, readers, read_timeout, watching)

    opened, pool = await loop.run_in_executor(None, start)
    return Store(opened, pool, loop, on_fatal or ignore, watching)


def _named(path: str | os.PathLike[str]) -> Path:
    """The file that is meant, whatever the working directory becomes."""
    text = os.fspath(path)
    if not text or text == ":memory:" or "\0" in text:
        raise ValidationError(f"a store is a file: {text!r} names none")
    file = Path(os.path.abspath(text))  # noqa: PTH100 (a symbolic link stays one)
    if len(os.fsencode(file.name)) > _LONGEST_NAME:
        raise ValidationError(f"the name of a store's file has {_LONGEST_NAME} bytes at most: {file.name}")
    return file


def _check_options(durability: str, columns: Sequence[str] | None, cache_bytes: int) -> None:
    if durability not in ("full", "lazy"):
        raise ValidationError(f"unknown durability {durability!r}: use 'full' or 'lazy'")
    if isinstance(columns, str):
        raise ValidationError(f"columns= takes a list of names, such as [{columns!r}]")
    if cache_bytes < 0:
        raise ValidationError("a cache has 0 bytes or more")
