"""A worker as the leader sees it: what is told to one that does not take it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from ghostwire.coordinator.replica import Batch
from ghostwire.coordinator.replica.events import FilterSet
from ghostwire.server.workers.link import Greeting, Link
from ghostwire.server.workers.messages import LEADER_BATCH, Mark, Replicated
from ghostwire.server.workers.station import SNAPSHOT_BYTES, Station
from tests.unit.server.turns import Turns

PAGE = SNAPSHOT_BYTES // 4
PAGES = 12


class Wire:
    """A stream that carries what the leader says to a worker's link."""

    def __init__(self, other: Link) -> None:
        self.other = other
        self.heard: list[Any] = []
        self.take: Callable[[bytes], None] | None = None

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            payload = self.other.take(data[at + 4 : end])
            if payload is not None:
                self.heard += LEADER_BATCH.decode(payload)
            at = end

    def cut(self, reason: str) -> None: ...

    def confirm(self) -> None:
        assert self.take is not None
        self.take(self.other.confirm()[4:])


class Coordination:
    position = None


def pages(asked: list[int]) -> Iterator[Batch]:
    for number in range(PAGES):
        asked.append(number)
        yield Batch((FilterSet(number, b"f" * PAGE),), None)


async def test_no_page_of_a_snapshot_is_made_while_a_worker_has_enough_to_take() -> None:
    station = Station(None, Coordination(), b"l" * 16, os.getpid(), os.dup(0))  # type: ignore[arg-type]
    turns, asked = Turns(), []
    station._loop = station.end._loop = turns  # type: ignore[assignment]
    worker = Link(b"w" * 16)
    wire = Wire(worker)
    station.end.carried_by(wire, Greeting(b"w" * 16, b"", 0))  # type: ignore[arg-type]
    worker.greeted(Greeting(b"l" * 16, b"", 0))
    station.begin(pages(asked))
    station.say(Mark(1))
    for _ in range(10 * PAGES):
        turns.pass_s(0.1)
    taken = len(asked)
    assert SNAPSHOT_BYTES < station.end.link.kept_bytes < SNAPSHOT_BYTES + 2 * PAGE
    assert len(wire.heard) == taken < PAGES
    while station.begins:
        wire.confirm()
        turns.pass_s(0.1)
        assert station.end.link.kept_bytes < SNAPSHOT_BYTES + 2 * PAGE
    turns.pass_s(0.1)
    assert [type(message) for message in wire.heard] == [Replicated] * PAGES + [Mark]
    station.close()
