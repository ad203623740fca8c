"""The fan-out: order, chunks, slow readers, sessions that come and go meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from pyroaring import BitMap

from ghostwire.coordinator.effects import Push
from ghostwire.server import fanout as fanouts
from ghostwire.server.fanout import CHUNK, Fanout
from ghostwire.server.session.frames import frame


class Reader:
    def __init__(self, number: int, session: int = 1) -> None:
        self.node, self.slot, self.session = number + 1000, number, session
        self.opened_at = 0
        self.seen: list[bytes] = []
        self.slow = self.packs = False
        self.ended: list[str] = []

    def end(self, code: str, reason: str) -> None:
        self.ended.append(code)

    def push(self, framed: bytes) -> bool:
        if self.slow:
            return False
        self.seen.append(framed)
        return True

    def deliver(self, frames: Iterable[bytes]) -> None:
        self.seen += map(frame, frames)


def everyone(fanout: Fanout, count: int) -> list[Reader]:
    readers = [Reader(number) for number in range(count)]
    for reader in readers:
        fanout.attach(reader)
    return readers


async def settle(fanout: Fanout) -> int:
    turns = 0
    while fanout.depth:
        turns += 1
        await asyncio.sleep(0)
    return turns


async def test_a_turn_makes_no_more_sends_than_a_chunk() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    readers = everyone(fanout, 10 * CHUNK)
    fanout.push(Push(slots=BitMap(range(10 * CHUNK)), frame=b"x"))
    assert sum(len(reader.seen) for reader in readers) == CHUNK
    assert await settle(fanout) >= 9
    assert all(reader.seen == [frame(b"x")] for reader in readers)
    assert fanout.sent == 10 * CHUNK


async def test_a_sessions_own_frames_wait_behind_the_broadcasts_before_them() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    readers = everyone(fanout, 3 * CHUNK)
    last = readers[-1]
    fanout.push(Push(slots=BitMap(range(3 * CHUNK)), frame=b"first"))
    fanout.send((b"second",), last)
    fanout.push(Push(slots=BitMap([last.slot]), frame=b"third"))
    await settle(fanout)
    assert last.seen == [frame(b"first"), frame(b"second"), frame(b"third")]


async def test_who_opens_during_a_broadcast_has_it_in_its_map_already() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    everyone(fanout, 2 * CHUNK)
    fanout.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"old"))
    again = Reader(2 * CHUNK - 1, session=2)
    fanout.attach(again)
    fanout.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"new"))
    await settle(fanout)
    assert again.seen == [frame(b"new")]


async def test_a_slow_reader_is_passed_over_and_counted() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    slow, quick = everyone(fanout, 2)
    slow.slow = True
    fanout.push(Push(slots=BitMap([0, 1]), frame=b"x"))
    await settle(fanout)
    assert (slow.seen, quick.seen) == ([], [frame(b"x")])
    assert (fanout.sent, fanout.skipped) == (1, 1)


async def test_a_session_that_left_gets_nothing_and_an_older_one_is_handed_back() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    (first,) = everyone(fanout, 1)
    second = Reader(0, session=2)
    assert fanout.attach(second) is first
    fanout.detach(first)
    assert fanout.find(1000, 2) is second
    assert fanout.find(1000, 1) is None
    fanout.detach(second)
    fanout.push(Push(slots=BitMap([0]), frame=b"x"))
    await settle(fanout)
    assert first.seen == second.seen == []
    assert len(fanout) == 0


async def test_a_node_that_comes_back_in_another_slot_leaves_the_old_one() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    (first,) = everyone(fanout, 1)
    moved = Reader(5)
    moved.node = first.node
    assert fanout.attach(moved) is first
    assert [live.slot for live in fanout.sessions()] == [5]


async def test_who_leaves_a_removal_unread_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanouts, "TAKE_S", 0.05)
    fanout = Fanout(asyncio.get_running_loop())
    stuck, reads_in_time, quick = everyone(fanout, 3)
    stuck.slow = reads_in_time.slow = True
    fanout.push(Push(slots=BitMap(range(3)), frame=b"gone", urgent=True))
    fanout.taken(reads_in_time)
    await asyncio.sleep(0.1)
    assert (stuck.ended, reads_in_time.ended, quick.ended) == (["unavailable"], [], [])
    fanout.push(Push(slots=BitMap(range(3)), frame=b"new"))
    await asyncio.sleep(0.1)
    assert stuck.ended == ["unavailable"]


async def test_what_was_pushed_is_settled_when_it_has_been_handed_on() -> None:
    fanout = Fanout(asyncio.get_running_loop())
    readers = everyone(fanout, 2 * CHUNK)
    seen: list[int] = []
    fanout.settled(lambda: seen.append(0))
    fanout.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"x"))
    fanout.settled(lambda: seen.append(sum(map(len, (reader.seen for reader in readers)))))
    assert seen == [0]
    await settle(fanout)
    assert seen == [0, 2 * CHUNK]
