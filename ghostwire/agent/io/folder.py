"""The agent's folder: 0700, and one agent a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ghostwire.errors import ConflictError, PermissionDeniedError

LOCK = "agent.lock"
OWN_FILES = frozenset({LOCK, "agent.log", "agent.db"})


class Folder:
    """Holds `path` for one agent by a kernel lock that dies with its process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Folder:
        """Make the folder where it is missing and lock it. Raises `ConflictError` while another agent holds it."""
        try:
            _close(path)
            descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PermissionDeniedError(
                f"cannot use {path} ({error.strerror}): let uid {os.geteuid()} write it, or name another --state DIR"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise ConflictError(
                f"an agent runs in {path} already: see `ghostwire status`, or stop it with `ghostwire down`"
            ) from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the folder free."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _close(path: Path) -> None:
    """Make the folder, or close it where it is an agent's. Somebody else's folder is left as it is and refused."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.stat().st_mode & 0o077:
        return
    names = {entry.name for entry in path.iterdir()}
    if names and not names & OWN_FILES:
        raise PermissionDeniedError(f"{path} is open to others and holds other things: name a --state DIR of its own")
    path.chmod(0o700)
