"""All client processes as one: orders go to each of them, what they count comes back merged."""

from __future__ import annotations

import math
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec
import psutil

from ghostwire.errors import InternalError
from ghostwire.testing.load import orders
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.latencies import Latencies

LARGEST: Final = 12_500
"""Nodes of one process: each is a descriptor, and many systems give a process 20,000."""
FEWEST: Final = 2
"""Processes in any case, so that what happens between processes happens."""
PATIENCE_S: Final = 60.0
_CHUNK: Final = 1 << 20
_decoder = msgspec.json.Decoder(orders.Said)
Watch = Callable[[orders.Progress], None]


class Count:
    """What all processes counted between two questions."""

    def __init__(self, tallies: list[orders.Tally]) -> None:
        self.joined = sum(tally.joined for tally in tallies)
        self.sessions = sum(tally.sessions for tally in tallies)
        self.lost = sum(tally.lost for tally in tallies)
        self.deliveries = sum(tally.deliveries for tally in tallies)
        self.most = max(tally.most for tally in tallies)
        self.told = {number for tally in tallies for number in tally.told}
        self.last_session = max(tally.last_session for tally in tallies)
        self.last_delivery = max(tally.last_delivery for tally in tallies)
        self.joins, self.changes = Latencies(), Latencies()
        self.resumed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        for tally in tallies:
            self.joins.merge(tally.joins)
            self.changes.merge(tally.changes)
            self.resumed.update(tally.resumed)
            self.refusals.update(tally.refusals)
        self.faults = [fault for tally in tallies for fault in tally.faults]
        self.replaced = [text for tally in tallies for text in tally.replaced]


class _Worker:
    """One process and what it said last."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.progress = orders.Progress(joined=0, sessions=0, deliveries=0)
        self.tally: orders.Tally | None = None
        self._rest = b""

    @property
    def output(self) -> int:
        """The descriptor that its answers come from."""
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        return self.process.stdout.fileno()

    def listen(self) -> None:
        """Take what it has said. Raises InternalError where it has ended."""
        data = os.read(self.output, _CHUNK)
        if not data:
            raise InternalError(f"a client process ended with {self.process.wait()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = _decoder.decode(line)
            if isinstance(said, orders.Tally):
                self.tally = said
            else:
                self.progress = said

    def tell(self, order: orders.Order) -> None:
        """Give it an order."""
        assert self.process.stdin is not None  # noqa: S101 - it was started with a pipe
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        self.process.stdin.flush()


class Fleet:
    """Every simulated node. `watch` is told the progress of all, again and again, while `wait` or `count` runs."""

    def __init__(self, nodes: int, watch: Watch) -> None:
        self.nodes = nodes
        self._watch = watch
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        for _ in range(max(FEWEST, math.ceil(self.nodes / LARGEST))):
            command = [sys.executable, "-m", "ghostwire.testing.load.process"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            worker = _Worker(process)
            self._workers.append(worker)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            with worker.process:
                worker.process.wait()

    @property
    def progress(self) -> orders.Progress:
        """What all processes said last."""
        said = [worker.progress for worker in self._workers]
        return orders.Progress(
            joined=sum(one.joined for one in said),
            sessions=sum(one.sessions for one in said),
            deliveries=sum(one.deliveries for one in said),
        )

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the clients have used."""
        times = [psutil.Process(worker.process.pid).cpu_times() for worker in self._workers]
        return sum(used.user + used.system for used in times)

    @property
    def processes(self) -> int:
        """How many client processes there are."""
        return len(self._workers)

    @property
    def resident(self) -> int:
        """Bytes of memory that the clients hold."""
        return sum(int(psutil.Process(worker.process.pid).memory_info().rss) for worker in self._workers)

    def populate(self, door: Door, tag: Callable[[int], str], keys: dict[str, str]) -> None:
        """Deal the nodes out to the processes, neighbours to different ones."""
        step = len(self._workers)
        for place, worker in enumerate(self._workers):
            numbers = tuple(range(place, self.nodes, step))
            tags = tuple(map(tag, numbers))
            own = {name: keys[name] for name in set(tags)}
            source = f"127.1.{place + 1}.1"
            worker.tell(orders.Population(door=door, source=source, numbers=numbers, tags=tags, keys=own))
        self._tallies()

    def join(self, at: float, rate: float) -> None:
        """Let every node join at its scheduled moment."""
        self._tell_all(orders.Join(at=at, rate=rate))

    def churn(self, at: float, rate: float, seconds: float) -> None:
        """Let nodes change their endpoints, one after the other."""
        for place, worker in enumerate(self._workers):
            worker.tell(orders.Churn(at=at, rate=rate, seconds=seconds, first=place, step=len(self._workers)))

    def leave(self) -> None:
        """Let every node leave and stay away."""
        self._tell_all(orders.Leave())

    def come_back(self, at: float, rate: float) -> None:
        """Let every node come back at its scheduled moment."""
        self._tell_all(orders.Return(at=at, rate=rate))

    def announce(self, node: int) -> None:
        """Let one node change its endpoints."""
        self._tell_all(orders.Announce(node=node))

    def beat(self, within_s: float) -> None:
        """Let every node give a sign of life."""
        self._tell_all(orders.Beat(within_s=within_s))

    def count(self) -> Count:
        """What was counted since the last time."""
        self._tell_all(orders.Count())
        return Count(self._tallies())

    def wait(self, seconds: float, until: Callable[[orders.Progress], bool] = lambda _: False) -> bool:
        """Let time pass, at most until something holds of all; whether it does."""
        deadline = time.monotonic() + seconds
        self._listen(0.0)  # what was said before counts as it is now
        while not until(self.progress):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._listen(left)
        return True

    def _tell_all(self, order: orders.Order) -> None:
        for worker in self._workers:
            worker.tell(order)

    def _tallies(self) -> list[orders.Tally]:
        deadline = time.monotonic() + PATIENCE_S
        while any(worker.tally is None for worker in self._workers):
            if time.monotonic() > deadline:
                raise InternalError(f"a client process did not answer within {PATIENCE_S:g} s")
            self._listen(1.0)
        found = [worker.tally for worker in self._workers if worker.tally is not None]
        for worker in self._workers:
            worker.tally = None
        return found

    def _listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data.listen()
        self._watch(self.progress)
