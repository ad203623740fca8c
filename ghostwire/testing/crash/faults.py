"""A disk whose N-th call fails: with an I/O error, a full disk or a short read, once or from then on."""

# The methods have the names that SQLite gives them.
# ruff: noqa: N802

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import apsw

if TYPE_CHECKING:
    from types import TracebackType

Call = Literal["read", "write", "sync", "truncate", "open"]

_CODES: dict[Call, int] = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "open": apsw.SQLITE_CANTOPEN,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Which call fails and how. `at` counts from 1 over `calls` together; `lasting` goes on from there."""

    kind: Literal["error", "full", "short"]
    at: int
    calls: tuple[Call, ...] = ("read", "write", "sync", "truncate", "open")
    lasting: bool = False


class FaultVFS:
    """A VFS with one fault. `count` says how many calls it has seen, `struck` how often it failed one."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.name = f"fault-{time.monotonic_ns()}"
        self.count = 0
        self.struck = 0
        self.fault = fault
        self._lock = threading.Lock()
        self._vfs = _FaultyVFS(self.name, self)

    def __enter__(self) -> FaultVFS:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vfs.unregister()

    def strikes(self, call: Call) -> bool:
        """Count a call; whether it is to fail."""
        fault = self.fault
        if fault is None or call not in fault.calls:
            return False
        with self._lock:
            self.count += 1
            if self.count == fault.at or (fault.lasting and self.count > fault.at):
                self.struck += 1
                return True
        return False

    def error(self, call: Call) -> apsw.Error:
        """What a failed call raises."""
        if self.fault is not None and self.fault.kind == "full" and call in ("write", "sync", "truncate"):
            if call == "write":
                return apsw.FullError("no space is left (injected)")
            failed: apsw.Error = apsw.IOError("no space is left (injected)")
        elif call == "open":
            return apsw.CantOpenError("cannot open (injected)")
        else:
            failed = apsw.IOError(f"{call} failed (injected)")
        setattr(failed, "extendedresult", _CODES[call])  # noqa: B010 (the type stubs do not know it)
        return failed


class _FaultyVFS(apsw.VFS):
    def __init__(self, name: str, control: FaultVFS) -> None:
        super().__init__(name, "")
        self._control = control

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        if self._control.strikes("open"):
            raise self._control.error("open")
        return _FaultyFile(name, flags, self._control)


class _FaultyFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], control: FaultVFS) -> None:
        super().__init__("", name, flags)
        self._control = control

    def xRead(self, amount: int, offset: int) -> bytes:
        data = super().xRead(amount, offset)
        if self._control.strikes("read"):
            if self._control.fault is not None and self._control.fault.kind == "short":
                return data[: len(data) // 2]
            raise self._control.error("read")
        return data

    def xWrite(self, data: Any, offset: int) -> None:
        if self._control.strikes("write"):
            raise self._control.error("write")
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        if self._control.strikes("truncate"):
            raise self._control.error("truncate")
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        if self._control.strikes("sync"):
            raise self._control.error("sync")
        super().xSync(flags)
