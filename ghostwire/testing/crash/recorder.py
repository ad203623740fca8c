"""Logs every write, truncation, deletion and sync that a store makes, in the order it makes them."""

# The methods have the names that SQLite gives them.
# ruff: noqa: N802

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import apsw

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that reached the VFS. `file` is a base name; a `mark` is the test's own note."""

    act: Literal["write", "truncate", "delete", "sync", "mark"]
    file: str = ""
    offset: int = 0
    data: bytes = b""
    note: int = 0


class Recorder:
    """A VFS that records. `swallow` names the file endings whose syncs are lost, to prove that the checks notice."""

    def __init__(self, swallow: tuple[str, ...] = ()) -> None:
        self.name = f"recorder-{time.monotonic_ns()}"
        self.steps: list[Step] = []
        self._swallow = swallow
        self._lock = threading.Lock()
        self._vfs = _RecordingVFS(self.name, self)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vfs.unregister()

    def mark(self, note: int) -> None:
        """Note, between the steps, what the store's user has been told by now."""
        self.add(Step("mark", note=note))

    def add(self, step: Step) -> None:
        """Append a step."""
        if step.act == "sync" and self._swallows(step.file):
            return
        with self._lock:
            self.steps.append(step)

    def _swallows(self, file: str) -> bool:
        kind = file[file.rindex("-") :] if "-" in file else "main"
        return kind in self._swallow


class _RecordingVFS(apsw.VFS):
    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__(name, "")
        self._recorder = recorder

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _RecordingFile(name, flags, self._recorder)

    def xDelete(self, name: str, sync: bool) -> None:
        super().xDelete(name, sync)
        self._recorder.add(Step("delete", os.path.basename(name)))  # noqa: PTH119


class _RecordingFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], recorder: Recorder) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = os.path.basename(path or "")  # noqa: PTH119
        self._recorder = recorder
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._recorder.add(Step("write", self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._recorder.add(Step("truncate", self._name, size))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._recorder.add(Step("sync", self._name))
