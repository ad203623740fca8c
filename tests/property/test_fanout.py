"""Outlets and audiences = their twins over real sockets: who is told, in which order bytes come, what waits where."""

from __future__ import annotations

import socket
from array import array
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire._native import fanout
from tests.reference import fanout as twin

SLOTS = 5
LONG = 10.0


class Transport:
    """What an event loop's transport does with what it is given: it waits until the loop comes to it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.waiting = bytearray()

    def write(self, data: bytes) -> None:
        self.waiting += data

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def turn(self) -> None:
        if self.waiting:
            with suppress(BlockingIOError):
                del self.waiting[: self.connection.send(self.waiting, socket.MSG_DONTWAIT)]


class World:
    """An audience over socket pairs with little room."""

    def __init__(self, kind: Any, stack: ExitStack) -> None:
        self.kind = kind
        self.audience = kind.Audience()
        self.transports, self.readers, self.outlets, self.seen = [], [], [], []
        for _ in range(SLOTS):
            near, far = socket.socketpair()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            near.setblocking(False)
            far.setblocking(False)
            self.readers.append(stack.enter_context(far))
            self.transports.append(Transport(stack.enter_context(near)))
            self.outlets.append(kind.Outlet(self.transports[-1], near.fileno()))
            self.seen.append(bytearray())

    def do(self, act: str, slot: int, number: int) -> Any:
        outlet, audience = self.outlets[slot], self.audience
        if act == "put":
            audience.put(slot, outlet, number, slot % 2 == 0)
        elif act == "drop":
            audience.drop(slot)
        elif act == "write":
            outlet.write(b"%d" % number * 700)
        elif act == "tell":
            slots = array("I", [at for at in range(SLOTS + 2) if at != slot])
            at, told, left = audience.tell(slots, 0, number, b"p%d" % number * 500, b"z%d" % number * 90, LONG, 2)
            return at, told, left, audience.packs
        elif act == "hold":
            outlet.held = number % 2 == 0
        elif act == "turn":
            self.transports[slot].turn()
        elif act == "close":
            outlet.close()
        else:
            self.read(slot, number * 300)
        return None

    def read(self, slot: int, most: int) -> None:
        with suppress(BlockingIOError):
            self.seen[slot] += self.readers[slot].recv(most) if most else b""

    def drain(self) -> list[bytes]:
        for slot in range(SLOTS):
            before = -1
            while before != len(self.seen[slot]):
                before = len(self.seen[slot])
                self.transports[slot].turn()
                self.read(slot, 1 << 20)
        return [bytes(seen) for seen in self.seen]


ACTS = st.tuples(
    st.sampled_from(["put", "put", "drop", "write", "tell", "tell", "tell", "hold", "turn", "read", "read", "close"]),
    st.integers(0, SLOTS - 1),
    st.integers(0, 20),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(ACTS, max_size=60))
def test_who_is_told_what_is_as_by_the_twin(acts: list[tuple[str, int, int]]) -> None:
    with ExitStack() as stack:
        compiled, slow = World(fanout, stack), World(twin, stack)
        for slot in range(SLOTS):
            for world in (compiled, slow):
                world.do("put", slot, 0)
        for act in acts:
            assert compiled.do(*act) == slow.do(*act)
        assert compiled.drain() == slow.drain()


def test_no_more_time_is_taken_than_is_given() -> None:
    with ExitStack() as stack:
        world = World(fanout, stack)
        for slot in range(SLOTS):
            world.do("put", slot, 0)
        slots = array("I", list(range(SLOTS)) * 20)
        at, told, left = world.audience.tell(slots, 0, 1, b"x", b"y", 0.0, 1)
        assert 0 < told == at < len(slots)
        assert left == []
        while at < len(slots):
            at, more, left = world.audience.tell(slots, at, 1, b"x", b"y", 0.0, 1)
            assert more > 0
            world.drain()
        assert sorted(set(map(bytes, world.drain()))) == [b"x" * 20, b"y" * 20]


def test_a_broken_connection_is_left_to_its_transport() -> None:
    with ExitStack() as stack:
        world = World(fanout, stack)
        world.readers[0].close()
        world.outlets[0].write(b"lost")
        assert world.transports[0].waiting == b"lost"


def test_what_has_no_outlet_is_refused() -> None:
    with pytest.raises(TypeError):
        fanout.Audience().put(1, None, 0, False)  # type: ignore[arg-type]
