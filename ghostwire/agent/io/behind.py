"""Going behind: `up --detach` leaves the terminal and tells it how the start went."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ghostwire.agent.io.start import News
from ghostwire.errors import UnavailableError

LOG = "agent.log"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a start went: the news, or why it failed and the code of that in the error tree."""

    news: News | None = None
    failure: str = ""
    code: str = ""


Tell = Callable[[Report], None]


def fork(folder: Path) -> tuple[Report | None, Tell]:
    """Split into this process, which gets the report, and a daemon, which gets None and the way to report.

    It must come before threads and event loops. The daemon writes to `DIR/agent.log` and holds no terminal. Raises
    `UnavailableError` here where the daemon ends without a word.
    """
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            text = pipe.read()
        os.wait()
        if not text:
            raise UnavailableError(f"the agent ended at its start: see {folder / LOG}")
        return msgspec.json.decode(text, type=Report), lambda report: None
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(read)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)
    return None, _Once(write)


class _Once:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, report: Report) -> None:
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(msgspec.json.encode(report))
