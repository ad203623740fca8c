"""The fan-out: order, chunks, slow readers, sessions that come and go meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest
from pyroaring import BitMap

from ghostwire._native import fanout
from ghostwire.coordinator.effects import Push, Send
from ghostwire.server import fanout as fanouts
from ghostwire.server.fanout import CHUNK, Fanout
from ghostwire.server.session.frames import frame


class Reader:
    def __init__(self, number: int, session: int = 1) -> None:
        self.node, self.slot, self.session = number + 1000, number, session
        self.opened_at = 0
        self.seen: list[bytes] = []
        self.outlet = fanout.Outlet(asyncio.Transport(), -1)
        self.slow = self.packs = False
        self.takes = True
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
        self.slow = self.slow or not self.takes


def everyone(sends: Fanout, count: int) -> list[Reader]:
    readers = [Reader(number) for number in range(count)]
    for reader in readers:
        sends.attach(reader)
    return readers


async def settle(sends: Fanout) -> int:
    turns = 0
    while sends.depth:
        turns += 1
        await asyncio.sleep(0)
    return turns


async def test_a_turn_makes_no_more_sends_than_a_chunk() -> None:
    sends = Fanout(asyncio.get_running_loop())
    readers = everyone(sends, 10 * CHUNK)
    sends.push(Push(slots=BitMap(range(10 * CHUNK)), frame=b"x"))
    assert sum(len(reader.seen) for reader in readers) == CHUNK
    assert await settle(sends) >= 9
    assert all(reader.seen == [frame(b"x")] for reader in readers)
    assert sends.sent == 10 * CHUNK


async def test_a_sessions_own_frames_wait_behind_the_broadcasts_before_them() -> None:
    sends = Fanout(asyncio.get_running_loop())
    readers = everyone(sends, 3 * CHUNK)
    last = readers[-1]
    sends.push(Push(slots=BitMap(range(3 * CHUNK)), frame=b"first"))
    sends.send((b"second",), last)
    sends.push(Push(slots=BitMap([last.slot]), frame=b"third"))
    await settle(sends)
    assert last.seen == [frame(b"first"), frame(b"second"), frame(b"third")]


async def test_who_opens_during_a_broadcast_has_it_in_its_map_already() -> None:
    sends = Fanout(asyncio.get_running_loop())
    everyone(sends, 2 * CHUNK)
    sends.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"old"))
    again = Reader(2 * CHUNK - 1, session=2)
    sends.attach(again)
    sends.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"new"))
    await settle(sends)
    assert again.seen == [frame(b"new")]


async def test_a_slow_reader_is_passed_over_and_counted() -> None:
    sends = Fanout(asyncio.get_running_loop())
    slow, quick = everyone(sends, 2)
    slow.slow = True
    sends.push(Push(slots=BitMap([0, 1]), frame=b"x"))
    await settle(sends)
    assert (slow.seen, quick.seen) == ([], [frame(b"x")])
    assert (sends.sent, sends.skipped) == (1, 1)


async def test_a_session_that_left_gets_nothing_and_an_older_one_is_handed_back() -> None:
    sends = Fanout(asyncio.get_running_loop())
    (first,) = everyone(sends, 1)
    second = Reader(0, session=2)
    assert sends.attach(second) is first
    sends.detach(first)
    assert sends.find(1000, 2) is second
    assert sends.find(1000, 1) is None
    sends.detach(second)
    sends.push(Push(slots=BitMap([0]), frame=b"x"))
    await settle(sends)
    assert first.seen == second.seen == []
    assert len(sends) == 0


async def test_a_node_that_comes_back_in_another_slot_leaves_the_old_one() -> None:
    sends = Fanout(asyncio.get_running_loop())
    (first,) = everyone(sends, 1)
    moved = Reader(5)
    moved.node = first.node
    assert sends.attach(moved) is first
    assert [live.slot for live in sends.sessions()] == [5]


async def test_who_leaves_a_removal_unread_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanouts, "TAKE_S", 0.05)
    sends = Fanout(asyncio.get_running_loop())
    stuck, reads_in_time, quick = everyone(sends, 3)
    stuck.slow = reads_in_time.slow = True
    sends.push(Push(slots=BitMap(range(3)), frame=b"gone", urgent=True))
    sends.taken(reads_in_time)
    await asyncio.sleep(0.1)
    assert (stuck.ended, reads_in_time.ended, quick.ended) == (["unavailable"], [], [])
    sends.push(Push(slots=BitMap(range(3)), frame=b"new"))
    await asyncio.sleep(0.1)
    assert stuck.ended == ["unavailable"]


@pytest.mark.parametrize("others", [0, 2 * CHUNK])
async def test_who_leaves_a_map_unread_that_takes_something_away_is_closed(
    monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Whether it had been put aside, or was still to be, when the removal was pushed."""
    monkeypatch.setattr(fanouts, "TAKE_S", 0.05)
    sends = Fanout(asyncio.get_running_loop())
    *before, stuck, quick, spared = everyone(sends, others + 3)
    stuck.takes = spared.takes = False
    for reader in (*before, stuck, quick, spared):
        sends.deliver(whole(reader, b"map"))
    sends.push(Push(slots=BitMap([stuck.slot, quick.slot]), frame=b"gone", urgent=True))
    sends.push(Push(slots=BitMap([spared.slot]), frame=b"new"))
    await settle(sends)
    await asyncio.sleep(0.1)
    assert (stuck.ended, quick.ended, spared.ended) == (["unavailable"], [], [])
    assert (stuck.seen, quick.seen) == ([frame(b"map")], [frame(b"map")])


async def test_what_was_pushed_is_settled_when_it_has_been_handed_on() -> None:
    sends = Fanout(asyncio.get_running_loop())
    readers = everyone(sends, 2 * CHUNK)
    seen: list[int] = []
    sends.settled(lambda: seen.append(0))
    sends.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"x"))
    sends.settled(lambda: seen.append(sum(map(len, (reader.seen for reader in readers)))))
    assert seen == [0]
    await settle(sends)
    assert seen == [0, 2 * CHUNK]


@pytest.mark.parametrize(("urgent", "late_s"), [(True, 60.0), (False, 0.0)])
async def test_what_is_urgent_or_late_is_sent_without_rests(
    monkeypatch: pytest.MonkeyPatch, urgent: bool, late_s: float
) -> None:
    monkeypatch.setattr(fanouts, "REST_S", 60.0)
    monkeypatch.setattr(fanouts, "LATE_S", late_s)
    sends = Fanout(asyncio.get_running_loop())
    readers = everyone(sends, 5 * CHUNK)
    sends.push(Push(slots=BitMap(range(5 * CHUNK)), frame=b"x", urgent=urgent))
    async with asyncio.timeout(10):
        await settle(sends)
    assert all(reader.seen == [frame(b"x")] for reader in readers)


async def test_what_may_wait_rests_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanouts, "REST_S", 60.0)
    monkeypatch.setattr(fanouts, "LATE_S", 60.0)
    sends = Fanout(asyncio.get_running_loop())
    readers = everyone(sends, 2 * CHUNK)
    sends.push(Push(slots=BitMap(range(2 * CHUNK)), frame=b"x"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(len(reader.seen) for reader in readers) == CHUNK


def whole(reader: Reader, *frames: bytes, asked: list[int] | None = None) -> Send:
    def made() -> Iterator[bytes]:
        if asked is not None:
            asked.append(reader.node)
        yield from frames

    return Send(node=reader.node, session=reader.session, frames=made(), waits=True)


async def test_whole_maps_that_may_wait_are_made_a_few_a_turn_while_others_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(fanouts, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(fanouts, "TURN_S", 3.5)
    sends = Fanout(asyncio.get_running_loop())
    *readers, other = everyone(sends, 40)
    asked, before, early = list[int](), 0, 0
    for reader in readers:
        sends.deliver(whole(reader, b"map", asked=asked))
    sends.push(Push(slots=BitMap(range(40)), frame=b"in the maps"))
    assert (asked, sends.depth) == ([], 40)
    while sends.depth:
        await asyncio.sleep(0)
        assert len(asked) <= before + 3
        before = len(asked)
        if other.seen and not early:
            early = before
            sends.push(Push(slots=BitMap(range(40)), frame=b"later"))
    assert asked == [reader.node for reader in readers]
    assert 0 < early < len(readers)
    for number, reader in enumerate(readers):
        assert reader.seen == [frame(b"map"), frame(b"later")][: 2 if number < early else 1]
    assert other.seen == [frame(b"in the maps"), frame(b"later")]


async def test_nobody_is_made_two_maps_and_who_left_none() -> None:
    sends = Fanout(asyncio.get_running_loop())
    readers, asked = everyone(sends, 3), list[int]()
    twice, gone, back = readers
    for reader in (twice, gone, back, twice):
        sends.deliver(whole(reader, b"map", asked=asked))
    sends.detach(gone)
    again = Reader(2, session=2)
    assert sends.attach(again) is back
    sends.push(Push(slots=BitMap([2]), frame=b"new"))
    await settle(sends)
    assert asked == [twice.node]
    assert (twice.seen, gone.seen, back.seen, again.seen) == ([frame(b"map")], [], [], [frame(b"new")])


async def test_nothing_is_settled_while_a_map_from_before_waits() -> None:
    sends = Fanout(asyncio.get_running_loop())
    readers = everyone(sends, 2)
    told: list[list[bytes]] = []
    sends.deliver(whole(readers[0], b"map"))
    sends.settled(lambda: told.append(list(readers[0].seen)))
    sends.push(Push(slots=BitMap([0, 1]), frame=b"x"))
    assert told == []
    await settle(sends)
    assert told == [[frame(b"map")]]
    assert readers[1].seen == [frame(b"x")]
