"""Real `ghostwire` processes for tests and for the demo: started apart, watched, ended by their ids.

A process started here gets SIGTERM from the kernel when the thread that started it ends, so none is left behind even
by a caller that is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from ghostwire.errors import InternalError, UnavailableError

T = TypeVar("T")


class Child:
    """One running `ghostwire VERB ...`; both its outputs go to the file `log`. A context manager stops it."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self.name, self.log = name, log
        self._process = process

    @classmethod
    def start(
        cls, arguments: Sequence[str], log: Path, environment: Mapping[str, str | None] | None = None, name: str = ""
    ) -> Self:
        """Start a verb in a session of its own, away from the terminal's signals.

        `environment` is laid over this process's; None takes a variable away.
        """
        command = [sys.executable, "-m", "ghostwire.cli.attached", str(os.getpid()), *arguments]
        merged: dict[str, str | None] = {**os.environ, **(environment or {})}
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={key: value for key, value in merged.items() if value is not None},
                start_new_session=True,
            )
        return cls(process, name or arguments[0], log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs still."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends by itself and return its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def stop(self, grace_s: float = 10.0) -> int:
        """End it with SIGTERM, after `grace_s` with SIGKILL; return its exit code, negative for a signal."""
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it with SIGKILL, as a crash would."""
        if self.running:
            self._process.send_signal(signal.SIGKILL)
        return self._process.wait()

    def tail(self, lines: int = 10) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def until(self, what: str, look: Callable[[], T | None], timeout_s: float) -> T:
        """Look again and again until there is something, and return it.

        UnavailableError from `look` counts as nothing yet. Raises InternalError with what the process wrote when it
        ends first or time runs out.
        """
        deadline = time.monotonic() + timeout_s
        pause = 0.01
        while True:
            try:
                found = look()
            except UnavailableError:
                found = None
            if found:
                return found
            if not self.running:
                raise InternalError(f"{self.name} ended with {self.stop()} before {what}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise InternalError(f"{self.name}: not {what} within {timeout_s:g} s:\n{self.tail()}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
