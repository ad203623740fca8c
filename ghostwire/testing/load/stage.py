"""What every scenario plays on: the network, the server, the clients, and the record of the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ghostwire.coordinator import Settings
from ghostwire.coordinator.pacing import MESSAGES_PER_S, WIDEST
from ghostwire.testing.load.fleet import Count, Fleet
from ghostwire.testing.load.latencies import Latencies
from ghostwire.testing.load.orders import Progress
from ghostwire.testing.load.questions import Questions
from ghostwire.testing.load.report import Clients, Curve, Sample, Trace
from ghostwire.testing.load.subject import Shares, Subject
from ghostwire.testing.load.topology import HUB_TAG, Topology

ASKERS: Final = 100
"""Nodes that ask queries, at most; they belong to the network like all others."""
MARGIN_S: Final = 0.4
"""Without a delivery for so long after the longest window, nothing is on its way."""
PERCENTS: Final = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
KEY_LIFE_S: Final = 86_400.0
SAMPLE_S: Final = 0.5

MIB: Final = 1024 * 1024

Tell = Callable[[str, Progress], None]
"""Told of progress: the scenario's name and where the clients stand."""


def askers(nodes: int) -> int:
    """How many of a network's nodes ask queries."""
    return min(ASKERS, nodes // 10)


@dataclass(slots=True)
class Spent:
    """CPU seconds: those before, until they are over."""

    server: Shares
    clients_s: float


class Stage:
    """One simulated network and its server.

    `lowest` is the fewest sessions since it was last set, `spare_key` a pre-auth key for members that mean harm.
    """

    def __init__(self, topology: Topology, subject: Subject, questions: Questions, tell: Tell) -> None:
        self.topology, self.subject, self.questions = topology, subject, questions
        self.askers = range(topology.nodes - askers(topology.nodes), topology.nodes)
        self.fleet = Fleet(self.askers.start, self._watch)
        self.lowest = 0
        shortest_s = Settings().coalesce_s
        self._quiet_s = min(max(topology.nodes / MESSAGES_PER_S, shortest_s), WIDEST * shortest_s) + MARGIN_S
        self.spare_key = ""
        self._faults: list[str] = []
        self._replaced: list[str] = []
        self._join_cpu_ms = 0.0
        self._delivery_cpu_us: float | None = None
        self._tell = tell
        self._began = time.monotonic()
        self._samples: list[Sample] = []
        self._scenes: list[tuple[float, str]] = []
        self._curves: list[Curve] = []

    @property
    def connected(self) -> int:
        """Nodes that should have a session, those that ask queries left out."""
        return self.askers.start

    def scene(self, name: str) -> None:
        """A scenario begins."""
        self._scenes.append((time.monotonic() - self._began, name))

    def prepare(self) -> Shares:
        """Put the policy in force, make a pre-auth key for each class, hand the nodes out, let those that ask join.

        What the server holds that knows the policy and no node; it is started again for that, so that what building
        the policy took for a moment does not count.
        """
        self.scene("prepare")
        tags = [HUB_TAG, *self.topology.tags()]
        self.subject.ask(lambda admin: admin.put("/v1/policy", {"text": self.topology.policy(), "note": "simulation"}))
        keys = self.subject.ask(
            lambda admin: {
                tag: admin.post("/v1/preauth-keys", {"tags": [tag], "uses": None, "life_s": KEY_LIFE_S})["key"]
                for tag in tags
            }
        )
        self.spare_key = keys[tags[-1]]
        self.subject.kill()
        self.subject.start()
        bare = self.subject.settled()
        self.fleet.populate(self.subject.door, self.topology.tag, keys)
        self.questions.meet(
            self.subject.door,
            self.askers,
            lambda number: keys[self.topology.tag(number)],
            self.topology.neighbour,
        )
        return bare

    def count(self, curve: str = "", pick: Callable[[Count], Latencies] = lambda count: count.changes) -> Count:
        """What was counted since the last time, perhaps kept as a curve too."""
        found = self.fleet.count()
        self._faults += found.faults
        self._replaced += found.replaced
        if curve:
            self.keep(curve, pick(found))
        return found

    def blame_replaced(self) -> None:
        """Digests differed: the maps in whose place others came since are at fault.

        Without such a digest they are those of nodes that were too slow to be told of each change.
        """
        self.count()
        self._faults += self._replaced
        self._replaced = []

    def keep(self, name: str, latencies: Latencies) -> None:
        """Keep a distribution for the report's plots."""
        self._curves.append(Curve(name=name, points=tuple(latencies.curve(PERCENTS))))

    def settle(self, longest_s: float = 60.0) -> None:
        """Wait until nothing is on its way to anyone, and no window is open in which changes are gathered."""
        deadline = time.monotonic() + longest_s
        before = -1
        while before != (before := self.fleet.progress.deliveries) and time.monotonic() < deadline:
            self.fleet.wait(self._quiet_s)

    @contextmanager
    def spent(self) -> Iterator[Spent]:
        """What the server and the clients use of the CPU within; the server must not be started again meanwhile."""
        spent = Spent(self.subject.cpu_s, self.fleet.cpu_s)
        yield spent
        spent.server = self.subject.cpu_s - spent.server
        spent.clients_s = self.fleet.cpu_s - spent.clients_s

    def note_clients(self, *, join_cpu_ms: float | None = None, delivery_cpu_us: float | None = None) -> None:
        """Keep what a join or a delivery took of the clients."""
        self._join_cpu_ms = self._join_cpu_ms if join_cpu_ms is None else join_cpu_ms
        self._delivery_cpu_us = self._delivery_cpu_us if delivery_cpu_us is None else delivery_cpu_us

    def trace(self) -> Trace:
        """The record of the run."""
        return Trace(
            samples=tuple(self._samples),
            scenes=tuple(self._scenes),
            curves=tuple(self._curves),
            clients=Clients(
                processes=self.fleet.processes,
                cpu_ms_per_join=self._join_cpu_ms,
                cpu_us_per_delivery=self._delivery_cpu_us,
                total_mib=self.fleet.resident / MIB,
            ),
            faults=(*self._faults, *self.questions.faults),
        )

    def _watch(self, progress: Progress) -> None:
        self.lowest = min(self.lowest, progress.sessions)
        at = time.monotonic() - self._began
        if not self._samples or at - self._samples[-1].at >= SAMPLE_S:
            used, held = self.subject.cpu_s, self.subject.resident
            self._samples.append(
                Sample(
                    at=at,
                    sessions=progress.sessions,
                    deliveries=progress.deliveries,
                    cpu_s=(used.leader, used.workers, self.fleet.cpu_s),
                    mib=(held.leader / MIB, held.workers / MIB),
                )
            )
        self._tell(self._scenes[-1][1] if self._scenes else "", progress)
