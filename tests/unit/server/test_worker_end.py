"""An end of the link between leader and worker: when what is said goes, and when what came is confirmed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ghostwire.server.workers.end import CONFIRM_S, GATHER_S, End, Stream
from ghostwire.server.workers.link import Greeting, Link
from ghostwire.server.workers.messages import Told
from tests.unit.server.turns import Turns

OTHER = b"o" * 16


class Wire(asyncio.Transport):
    """What the other end of the stream reads."""

    def __init__(self, other: Link) -> None:
        super().__init__()
        self.other = other
        self.frames = 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        self.frames += 1
        self.arrived = self.other.take(bytes(data)[4:])

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
    joined.end.say(Told(1))
    joined.turns.pass_s(0.0)
    assert joined.wire.batch() == [["Told", 1]]
    joined.end.say(Told(2))
    joined.turns.pass_s(GATHER_S / 2)
    joined.end.say(Told(3))
    assert joined.wire.frames == 1
    joined.turns.pass_s(GATHER_S / 2 + 1e-9)
    assert joined.wire.frames == 2
    assert joined.wire.batch() == [["Told", 2], ["Told", 3]]
    joined.turns.pass_s(1.0)
    assert joined.wire.frames == 2
    joined.end.say(Told(4))
    joined.turns.pass_s(0.0)
    assert joined.wire.batch() == [["Told", 4]]


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
