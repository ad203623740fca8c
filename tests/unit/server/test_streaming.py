"""Maps on their way to a node that reads slowly: pages are made as it takes them, and what follows waits behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import numpy as np

from ghostwire._native import netmap
from ghostwire.coordinator.map_pages import MapPlan, full_frames
from ghostwire.model.position import Position
from ghostwire.server.session.frames import frame
from ghostwire.server.session.transport import TOGETHER, SessionTransport
from ghostwire.wire.netmap import SINGLE_PARTS, Peer, encode_part
from ghostwire.wire.packed_map import packed


class Owner:
    def __init__(self) -> None:
        self.drains = 0

    def opened(self) -> None: ...

    def message(self, data: bytes) -> None: ...

    def control(self) -> None: ...

    def drained(self) -> None:
        self.drains += 1

    def closed(self) -> None: ...


class Narrow(asyncio.Transport):
    """Takes one message, then says that it is full until the node has read."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.session: SessionTransport | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        assert self.session is not None
        self.session.pause_writing()


async def opened() -> tuple[SessionTransport, Narrow, Owner]:
    owner, narrow = Owner(), Narrow()
    session = SessionTransport(owner, 65_536, asyncio.get_running_loop(), b"")
    session.connection_made(narrow)
    narrow.session = session
    return session, narrow, owner


async def test_messages_are_asked_for_as_the_node_takes_them() -> None:
    session, narrow, owner = await opened()
    made: list[bytes] = []

    def pages() -> Iterator[bytes]:
        for number in range(3):
            made.append(b"%d" % number * TOGETHER)
            yield made[-1]

    session.send_all(pages())
    session.send(b"push")
    session.send_all((b"later",))
    assert made == [b"0" * TOGETHER]
    assert session.waiting == len(frame(b"push"))
    for count in range(2, 6):
        session.resume_writing()
        assert len(narrow.written) == count
        assert len(made) == min(count, 3)
    assert owner.drains == 0
    session.resume_writing()
    assert narrow.written == [frame(data) for data in (*made, b"push", b"later")]
    assert (owner.drains, session.waiting) == (1, 0)


async def test_a_map_is_packed_page_by_page_as_its_node_takes_it() -> None:
    session, narrow, _ = await opened()
    arena, made, source = netmap.Arena(), 0, random.Random(1)
    for slot in range(10_000):
        peer = encode_part(Peer(id=slot, name=f"n{slot}", key=source.randbytes(32), ipv4="100.64.0.1", ipv6="fd7a::1"))
        arena.put(slot, slot, 0, peer, bytes(16))
    plan = MapPlan(
        single=dict.fromkeys(SINGLE_PARTS, b"\x80"),
        profiles={},
        peers=np.arange(10_000, dtype=np.uint32),
        stamp=arena.stamp,
        digest=0,
        position=Position(b"log", 1, b"boot", 1),
    )

    def counted() -> Iterator[bytes]:
        nonlocal made
        for page in full_frames(plan, arena):
            made += 1
            yield packed(page)

    session.send_all(counted())
    for _ in range(20):
        assert made <= 3 * len(narrow.written)
        assert len(narrow.written[-1]) < 2 * TOGETHER
        session.resume_writing()
    assert made == 20


async def test_what_was_not_made_when_the_connection_ends_is_never_made() -> None:
    session, narrow, _ = await opened()
    first = b"1" * TOGETHER
    source = iter([first, b"second"])
    session.send_all(source)
    session.connection_lost(None)
    session.resume_writing()
    session.send_all(iter([b"third"]))
    assert narrow.written == [frame(first)]
    assert list(source) == [b"second"]
