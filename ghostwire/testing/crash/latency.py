"""A disk whose syncs take longer: this machine's may be far faster than the one that counts."""

# The methods have the names that SQLite gives them.
# ruff: noqa: N802

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def slow_sync(seconds: float) -> Iterator[str]:
    """Register a VFS that adds `seconds` to each sync; its name, for `zqlite.open(..., vfs=name)`.

    Close every store that uses it before the block ends.
    """
    name = f"slow-sync-{time.monotonic_ns()}"
    vfs = _SlowVFS(name, seconds)
    try:
        yield name
    finally:
        vfs.unregister()


class _SlowVFS(apsw.VFS):
    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name, "")
        self._seconds = seconds

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _SlowFile(name, flags, self._seconds)


class _SlowFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], seconds: float) -> None:
        super().__init__("", name, flags)
        self._seconds = seconds

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        time.sleep(self._seconds)
