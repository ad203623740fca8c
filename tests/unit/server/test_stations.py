"""The workers as the leader sees them: how long each may take to hand on what it was told."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ghostwire.coordinator.effects import MapFrom, Send
from ghostwire.server.clock import system_clock
from ghostwire.server.observer import Silent
from ghostwire.server.port import World
from ghostwire.server.workers.messages import Mark, Own
from ghostwire.server.workers.station import Station
from ghostwire.server.workers.stations import CONFIRM_S, MAP_S, Stations
from tests.unit.server.turns import Turns

NODE = 1000
SESSION = 7


class Worker:
    """A station whose process does not confirm anything by itself."""

    begins = False
    pid = 1

    def __init__(self, stations: Stations) -> None:
        self.said: list[Any] = []
        self.killed = False
        self.itself: Station = self  # type: ignore[assignment]
        stations._stations[b"w" * 16] = self.itself
        self.handle = 0
        self.slots = set[int]()
        stations.place(self.itself, NODE, 3, SESSION)

    def say(self, message: Any) -> None:
        self.said.append(message)

    def close(self) -> None:
        self.killed = True

    def lost(self, sessions: list[tuple[int, int]]) -> None: ...


class Loop(Turns):
    def remove_reader(self, handle: int) -> None: ...


class Led:
    """The leader's side of one worker, and a time that moves when it is told to."""

    def __init__(self) -> None:
        self.turns = Loop()
        self.stations = Stations(World(system_clock, os.urandom, Silent()), lambda handle: None)
        self.stations._loop = self.turns  # type: ignore[assignment]
        self.worker = Worker(self.stations)
        self.settled: list[float] = []

    def send_maps(self, count: int, *, waits: bool) -> None:
        for _ in range(count):
            send = Send(node=NODE, session=SESSION, frames=(), left=MapFrom(None), waits=waits)
            self.stations.deliver(send)

    def settle(self) -> None:
        self.stations.settled(lambda: self.settled.append(self.turns.now))


@pytest.fixture
async def led() -> Led:
    return Led()


async def test_a_worker_that_confirms_nothing_is_killed_after_a_second(led: Led) -> None:
    led.send_maps(2000, waits=False)
    led.settle()
    led.turns.pass_s(0.9 * CONFIRM_S)
    assert not led.worker.killed
    led.turns.pass_s(0.2 * CONFIRM_S)
    assert (led.worker.killed, len(led.settled)) == (True, 1)


async def test_a_worker_that_was_left_maps_has_time_to_make_them(led: Led) -> None:
    led.send_maps(2000, waits=True)
    led.settle()
    assert [type(message) for message in led.worker.said] == [Own] * 2000 + [Mark]
    led.turns.pass_s(0.9 * (CONFIRM_S + 2000 * MAP_S))
    assert (led.worker.killed, led.settled) == (False, [])
    led.stations.told(led.worker.itself, led.worker.said[-1].number)
    led.turns.pass_s(CONFIRM_S + 2000 * MAP_S)
    assert (led.worker.killed, len(led.settled)) == (False, 1)


async def test_maps_of_long_ago_are_no_reason_to_wait(led: Led) -> None:
    led.send_maps(2000, waits=True)
    led.turns.pass_s(2000 * MAP_S)
    led.settle()
    led.turns.pass_s(1.1 * CONFIRM_S)
    assert led.worker.killed
