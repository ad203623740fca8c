"""An end of the link between leader and worker: when what is said goes, and when what came is confirmed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ghostwire.server.workers.end import CONFIRM_S, End, Stream
from ghostwire.server.workers.link import Greeting, Link
from ghostwire.server.workers.messages import Done, Told
from ghostwire.server.workers.pace import LONGEST_S, SHORTEST_S
from tests.unit.server.turns import Turns

OTHER = b"o" * 16


class Wire(asyncio.Transport):
    """What the other end of the stream reads."""

    def __init__(self, other: Link) -> None:
        super().__init__()
        self.other = other
        self.frames = 0
        self.heard: list[Any] = []

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.frames += 1
        self.arrived = self.other.take(bytes(data)[4:])
        if self.arrived is not None:
            self.heard += [message[1] for message in self.batch()]

    def batch(self) -> list[Any]:
        assert self.arrived is not None
        found: list[Any] = msgspec.msgpack.decode(self.arrived)
        return found


class Joined:
    """An end, and the link at the other side of its stream."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.end, self.turns, self.other = End(b"e" * 16, self.heard.append), Turns(), Link(OTHER)
        self.end._loop = self.turns  # type: ignore[assignment]
        stream = Stream(lambda stream, greeting: None, lambda stream, reason: None)
        self.end.carried_by(stream, Greeting(OTHER, b"", 0))
        self.other.greeted(Greeting(b"e" * 16, b"", 0))
        self.stream, self.wire = stream, Wire(self.other)
        stream.connection_made(self.wire)


async def test_what_is_said_after_a_pause_goes_at_once_and_what_follows_is_gathered() -> None:
    joined = Joined()
    joined.end.say(Done(1))
    joined.turns.pass_s(0.0)
    assert joined.wire.batch() == [["Done", 1]]
    joined.end.say(Done(2))
    joined.turns.pass_s(SHORTEST_S / 2)
    joined.end.say(Done(3))
    assert joined.wire.frames == 1
    joined.turns.pass_s(SHORTEST_S / 2 + 1e-9)
    assert joined.wire.frames == 2
    assert joined.wire.batch() == [["Done", 2], ["Done", 3]]
    joined.turns.pass_s(1.0)
    assert joined.wire.frames == 2
    joined.end.say(Done(4))
    joined.turns.pass_s(0.0)
    assert joined.wire.batch() == [["Done", 4]]


@pytest.mark.parametrize(("every_s", "batches"), [(0.0005, 52), (0.005, 45), (0.011, 91)])
async def test_the_thicker_it_comes_the_longer_it_is_gathered(every_s: float, batches: int) -> None:
    joined = Joined()
    for number in range(round(1.0 / every_s)):
        joined.end.say(Done(number))
        joined.turns.pass_s(0.0)
        joined.turns.pass_s(every_s)
    joined.turns.pass_s(LONGEST_S)
    assert joined.wire.heard == list(range(round(1.0 / every_s)))
    assert abs(joined.wire.frames - batches) <= 4


async def test_what_presses_takes_along_what_is_gathered_and_waits_no_longer_than_the_shortest_time() -> None:
    joined = Joined()
    for number in range(1000):
        joined.end.say(Done(number))
        joined.turns.pass_s(0.0005)
    joined.turns.pass_s(LONGEST_S)
    joined.turns.pass_s(1.0)
    joined.end.say(Done(1000))
    joined.turns.pass_s(0.0)
    joined.end.say(Done(1001))
    joined.turns.pass_s(SHORTEST_S)
    frames = joined.wire.frames
    joined.end.say(Told(1))
    joined.turns.pass_s(0.0)
    assert joined.wire.frames == frames + 1
    assert joined.wire.batch() == [["Done", 1001], ["Told", 1]]
    joined.turns.pass_s(1.0)
    assert joined.wire.frames == frames + 1


async def test_what_came_is_confirmed_with_what_is_said_or_soon_by_itself() -> None:
    joined = Joined()
    joined.stream.data_received(joined.other.send(b"\x91\x01"))
    joined.stream.data_received(joined.other.send(b"\x91\x02"))
    assert joined.heard == [b"\x91\x01", b"\x91\x02"]
    assert joined.other.lag == 2
    joined.turns.pass_s(CONFIRM_S)
    assert joined.other.lag == 0
    assert joined.wire.frames == 1
    joined.stream.data_received(joined.other.send(b"\x91\x03"))
    joined.end.say(Told(1))
    joined.turns.pass_s(0.0)
    assert joined.other.lag == 0
    joined.turns.pass_s(CONFIRM_S)
    assert joined.wire.frames == 2
