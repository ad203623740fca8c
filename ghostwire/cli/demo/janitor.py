"""Cleans up after a demo that was killed: a process of its own that outlives it by a moment.

Run as a script with the folder to remove; its standard input names process ids, one a line. `done` means that the
demo has cleaned up itself. When the input ends without it, the processes are ended and the folder is removed.
Process ids are held as descriptors (pidfd_open(2)), so that an id given again hits nobody.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

GRACE_S = 5.0


class Janitor:
    """The demo's side."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", __file__, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def watch(self, pid: int) -> None:
        """End this process too, should the demo be killed."""
        self._say(str(pid))

    def dismiss(self) -> None:
        """Everything is cleaned up."""
        self._say("done")
        self._input().close()
        self._process.wait()

    def _say(self, line: str) -> None:
        self._input().write(line.encode() + b"\n")
        self._input().flush()

    def _input(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise ValueError("the janitor was started without a pipe")
        return self._process.stdin


def clean(folder: str, lines: IO[str]) -> None:
    """Wait for the demo's end, and do what it could not."""
    processes = []
    for line in lines:
        if line.strip() == "done":
            return
        with contextlib.suppress(ProcessLookupError):
            processes.append(os.pidfd_open(int(line)))
    for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
        processes = [process for process in processes if not select.select([process], [], [], patience)[0]]
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    clean(sys.argv[1], sys.stdin)
