"""A fresh root key: every page of a store is encrypted anew, beside the old file, then both are exchanged.

A store's files and the file with its key or passphrase cannot change in one step, so the step is taken by a file of
its own: once `KEY.next` is there, whole drafts of all stores are, too, and whoever comes next finishes the exchange;
before, drafts are rubbish.
"""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.errors import DatabaseError, ResourceExhaustedError, ValidationError
from ghostwire.zqlite import bootstrap, engine, faults, keyring, milestone, sealing, signing, snapshot
from ghostwire.zqlite.lock import FileLock
from ghostwire.zqlite.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Locate = Callable[[Path], engine.Location]

KIND: Final = "zqlite.rekey"
_DRAFT: Final = ".rekeyed"
_NEXT: Final = ".next"


def rotate(stores: Sequence[Path], key_file: Path) -> None:
    """Give these stores, which share a key file, a fresh root key. They must be closed.

    Raises ConflictError while one is open, what `keyring.load` raises, and ResourceExhaustedError when the disk has no
    room for a copy of each; then nothing has changed.
    """
    settle(stores, key_file)
    old, new = keyring.load(key_file), secrets.token_bytes(keyring.KEY_BYTES)
    _rotate(stores, key_file, new.hex(), lambda path: _locate(path, old), lambda path: _locate(path, new))


def rotate_passphrase(stores: Sequence[Path], passphrase_file: Path, old: str, new: str) -> None:
    """Give these stores, whose passphrase is `old`, another one, each with a fresh salt, and put it into the file.

    Raises what `rotate` raises, and ValidationError for a new passphrase that is empty.
    """
    if not new:
        raise ValidationError("the new passphrase is empty")
    settle(stores, passphrase_file)
    _rotate(stores, passphrase_file, new, lambda path: _phrased(path, old), lambda path: _phrased(path, new))


def _locate(path: Path, key: bytes) -> engine.Location:
    return engine.locate(path, key, None)


def _phrased(path: Path, passphrase: str) -> engine.Location:
    return engine.locate(path, None, passphrase)


def _rotate(stores: Sequence[Path], key_file: Path, secret: str, before: Locate, after: Locate) -> None:
    with ExitStack() as held:
        for path in stores:
            held.callback(FileLock.take(path).release)
        try:
            for path in stores:
                _copy(path, before, after)
            _write(_beside(key_file, _NEXT), secret)
        except apsw.FullError as error:
            raise ResourceExhaustedError("the disk is full: the stores keep their key, free some space") from error
        except (apsw.Error, OSError) as error:
            raise faults.translate(error) from error
        finally:
            if not _beside(key_file, _NEXT).exists():
                _forget(stores)
        _exchange(stores, key_file)


def settle(stores: Sequence[Path], key_file: Path) -> None:
    """Finish an exchange that was cut short, or throw away its drafts. Call it before the stores are opened."""
    unfinished = _beside(key_file, _NEXT).exists()
    if not unfinished and not any(_beside(path, _DRAFT).exists() for path in stores):
        return
    with ExitStack() as held:
        for path in stores:
            if path.exists():
                held.callback(FileLock.take(path).release)
        if unfinished:
            _exchange(stores, key_file)
        else:
            _forget(stores)


def _exchange(stores: Sequence[Path], key_file: Path) -> None:
    for path in stores:
        draft = _beside(path, _DRAFT)
        if draft.exists():
            draft.replace(path)
            keyring.sync_directory(path.parent)
    _beside(key_file, _NEXT).replace(key_file)
    keyring.sync_directory(key_file.parent)


def _forget(stores: Sequence[Path]) -> None:
    for path in stores:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{_beside(path, _DRAFT)}{suffix}").unlink(missing_ok=True)


def _copy(path: Path, old: Locate, new: Locate) -> None:
    """Write the draft of one store, whole and synced."""
    draft = _beside(path, _DRAFT)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    before, after = old(path), new(draft)
    engine.preflight(before)
    source = engine.connect_writer(before)
    try:
        source.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        target = engine.connect_writer(after)
        try:
            with target.backup("main", source, "main") as backup:
                backup.step()
            _close_secrets(target, before, after)
            if target.pragma("quick_check") != "ok":
                raise DatabaseError(f"{path} is damaged: restore it from a backup before its key is changed")
        finally:
            target.close()
    finally:
        source.close()
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())


def _close_secrets(target: apsw.Connection, before: engine.Location, after: engine.Location) -> None:
    """Close the store's secrets under the keys that follow from the new root key, and say so in the log."""
    pairs: Any = target.execute("SELECT key, value FROM zq_meta").fetchall()
    meta: dict[str, Any] = dict(pairs)
    opened = {
        sealing.META: sealing.unwrap(meta[sealing.META], before.column_key),
        signing.META: signing.unwrap(meta[signing.META], before.signing_key),
    }
    signer = Signer(meta["id"], opened[signing.META])
    with target:
        for name, value in bootstrap.wrap(opened, after).items():
            target.execute("UPDATE zq_meta SET value = ? WHERE key = ?", (value, name)).fetchall()
        milestone.enter(target.execute, snapshot.newest(target), meta["epoch"], signer, (KIND, {}))


def _write(path: Path, secret: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secret.encode() + b"\n")
        stream.flush()
        os.fsync(descriptor)
    draft.replace(path)
    keyring.sync_directory(path.parent)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
