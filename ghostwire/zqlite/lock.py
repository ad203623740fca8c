"""One opener a file: a kernel lock that dies with its process and never meets SQLite's own locks.

The lock is an open-file-description lock on one byte far behind any that SQLite locks or writes, held through a
descriptor of its own. POSIX drops all locks of a process on a file when the process closes *any* descriptor of it, so
that descriptor must be opened before SQLite opens the file and closed after SQLite has closed it, and a second attempt
within the process is refused before it opens anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import threading
from typing import TYPE_CHECKING, Self

from ghostwire.errors import ConflictError, DatabaseError, PermissionDeniedError

if TYPE_CHECKING:
    from pathlib import Path

_BYTE = 1 << 62
_held: set[tuple[int, int]] = set()
_guard = threading.Lock()


class FileLock:
    """Holds a store's file against a second opener; makes the file (0600) if it is missing."""

    def __init__(self, path: Path, descriptor: int, identity: tuple[int, int], created: bool) -> None:
        self.path = path
        self.created = created
        self._descriptor = descriptor
        self._identity = identity

    @classmethod
    def take(cls, path: Path) -> Self:
        """Lock `path`. Raises ConflictError when it is open already, here or in another process."""
        with _guard:
            try:
                status = path.stat()
                if (status.st_dev, status.st_ino) in _held:
                    raise _taken(path, "this process")
                if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                    raise DatabaseError(f"{path} is a device, a pipe or a socket, not a store: name a file")
            except FileNotFoundError:
                pass
            except OSError as error:
                raise DatabaseError(f"cannot reach the store {path}: {error.strerror}") from error
            descriptor, created = _open(path)
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
            except OSError as error:
                os.close(descriptor)
                raise _taken(path, "another process") from error
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino)
            if not _names(path, identity):  # its holder has just put another file there
                os.close(descriptor)
                raise _taken(path, "another process")
            _held.add(identity)
        return cls(path, descriptor, identity, created)

    def release(self) -> None:
        """Give the file free. Call it only after every SQLite connection to the file is closed."""
        with _guard:
            if self._descriptor >= 0:
                _held.discard(self._identity)
                os.close(self._descriptor)
                self._descriptor = -1


def _names(path: Path, identity: tuple[int, int]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        return (status.st_dev, status.st_ino) == identity
    return False


def _flock(kind: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, _BYTE, 1, 0)


def _taken(path: Path, who: str) -> ConflictError:
    return ConflictError(f"the store {path} is already open in {who}: stop that one first, or use another file")


def _open(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
        except FileExistsError:
            return os.open(path, flags), False
    except IsADirectoryError as error:
        raise DatabaseError(f"{path} is a directory, not a store: name a file in it") from error
    except OSError as error:
        raise PermissionDeniedError(
            f"cannot open the store {path} for writing ({error.strerror}): let uid {os.geteuid()} write the file and "
            f"its directory {path.parent}, or use another path"
        ) from error
