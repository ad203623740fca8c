"""The server under test: a real `ghostwire serve` in a folder of its own, killed and started again as asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

from ghostwire.errors import InternalError
from ghostwire.testing.load.door import Door
from ghostwire.testing.processes import Child

HOST: Final = "127.0.0.1"
PATIENCE_S: Final = 120.0
STORE: Final = "ghostwire.db"
STILL_S: Final = 1.0
STILL: Final = 0.005
"""Memory stands still where it changes by less than this share in a second."""
CONFIG: Final = """\
# The simulation's server: all nodes come from a few addresses of one machine, at once.
limits:
  handshakes: 4096
  handshakes_per_address: 4096
  connections: 19000
"""


class Admin(Protocol):
    """What is asked of a server over its admin socket."""

    def get(self, path: str) -> Any:
        """Read a resource."""

    def put(self, path: str, body: Any) -> Any:
        """Replace a resource."""

    def post(self, path: str, body: Any) -> Any:
        """Make something."""

    def text(self, path: str) -> str:
        """Read a resource that is text."""


Dial = Callable[[Path], AbstractContextManager[Admin]]
"""Opens the admin socket in a server's folder."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What a server's processes hold or have used: the one that has the store, its workers, and all of them."""

    leader: float
    workers: float
    total: float

    def __sub__(self, before: Shares) -> Shares:
        return Shares(self.leader - before.leader, self.workers - before.workers, self.total - before.total)


class Subject:
    """One server's processes, run after run. Without workers it is a single one."""

    def __init__(self, folder: Path, dial: Dial, workers: int = 0, *, tls: bool = False) -> None:
        self.workers, self.tls = workers, tls
        self._folder = folder
        self._dial = dial
        self._child: Child | None = None
        self._leads: dict[psutil.Process, bool] = {}
        self.door = Door(HOST, 0, tls)

    def __enter__(self) -> Self:
        (self._folder / "server").mkdir(mode=0o700)
        (self._folder / "server" / "ghostwire.yaml").write_text(CONFIG, encoding="utf-8")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.stop()

    def start(self) -> None:
        """Start it, at the port that it had before, and wait until it is ready."""
        words = ["serve", "--data", str(self._folder / "server"), "--listen", self.door.authority]
        words += ["--tls", "on" if self.tls else "off", "--log-level", "warn"]
        if self.workers:
            words += ["--workers", str(self.workers)]
        self._child = Child.start(words, self._folder / "server.log", name="the server")
        found = self._child.until("ready", self._ready, PATIENCE_S)
        self.door = Door(HOST, int(found["listen"].rpartition(":")[2]), self.tls)

    def stop(self) -> None:
        """End it as an operator would."""
        self._running.stop(PATIENCE_S)

    def kill(self) -> None:
        """End every process as a crash would; the one that would start the others again goes first."""
        others = psutil.Process(self._running.pid).children(recursive=True)
        self._running.kill()
        for process in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(others)

    def ask(self, what: Callable[[Admin], Any]) -> Any:
        """Ask over the admin socket."""
        with self._dial(self._folder / "server") as admin:
            return what(admin)

    @property
    def cpu_s(self) -> Shares:
        """CPU seconds that the running server's processes have used."""
        return self._shares(lambda process: float(sum(process.cpu_times()[:2])))

    @property
    def resident(self) -> Shares:
        """Bytes of memory that the running server holds now."""
        return self._shares(lambda process: float(process.memory_info().rss))

    def settled(self) -> Shares:
        """The memory that it holds once that stands still: workers may still be loading what the leader knows."""
        deadline = time.monotonic() + PATIENCE_S
        before = self.resident
        while time.monotonic() < deadline:
            time.sleep(STILL_S)
            found = self.resident
            if abs(found.total - before.total) <= STILL * before.total:
                return found
            before = found
        return before

    def metrics(self) -> dict[str, float]:
        """What the server counts, by name; with labels, `name{value}`."""
        text = self.ask(lambda admin: admin.text("/metrics"))
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(sample.labels.values())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    @property
    def _running(self) -> Child:
        child = self._child
        assert child is not None  # noqa: S101 - it was started
        if not child.running:
            raise InternalError(f"the server ended with {child.stop()}:\n{child.tail()}")
        return child

    def _shares(self, read: Callable[[psutil.Process], float]) -> Shares:
        """Something of the process that was started and of its descendants, as far as they are still there."""
        first = psutil.Process(self._running.pid)
        leader = workers = total = 0.0
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found = read(process)
                total += found
                if self._is_leader(process):
                    leader += found
                elif process != first:
                    workers += found
        return Shares(leader, workers, total)

    def _is_leader(self, process: psutil.Process) -> bool:
        """Whether it has the store open; looked up once, since a worker has thousands of descriptors."""
        if process not in self._leads:
            self._leads[process] = any(Path(file.path).name == STORE for file in process.open_files())
        return self._leads[process]

    def _ready(self) -> dict[str, Any] | None:
        found: dict[str, Any] = self.ask(lambda admin: admin.get("/v1/status"))
        return found if found["ready"] else None
