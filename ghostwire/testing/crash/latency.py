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


class SlowDisk(apsw.VFS):
    """A VFS that adds `seconds` to each sync and counts them: hand its `vfs` to `zqlite.open(..., vfs=...)`."""

    def __init__(self, seconds: float) -> None:
        self.vfs = f"slow-disk-{time.monotonic_ns()}"
        self.seconds = seconds
        self.syncs = 0
        super().__init__(self.vfs, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        """Open a file whose syncs are slow."""
        return _SlowFile(self, name, flags)


class _SlowFile(apsw.VFSFile):
    def __init__(self, disk: SlowDisk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.syncs += 1
        time.sleep(self._disk.seconds)


@contextmanager
def slow_disk(seconds: float) -> Iterator[SlowDisk]:
    """Register a `SlowDisk`. Close every store that uses it before the block ends."""
    disk = SlowDisk(seconds)
    try:
        yield disk
    finally:
        disk.unregister()
