"""The load client's compiled receiving end against its slow twin, and its map against the agent's own."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire._native import histogram, inbox
from ghostwire.errors import WireError
from ghostwire.model.position import Position
from ghostwire.server.session.frames import frame
from ghostwire.testing.load.held import NodeMap, read_change
from ghostwire.testing.load.kinds import DELTA
from ghostwire.testing.load.stamp import stamped
from ghostwire.wire import codec
from ghostwire.wire.messages import MapDelta, MapFull, Parts, ServerBye
from ghostwire.wire.netmap import SINGLE_PARTS, NetMap
from ghostwire.wire.packing import MARK, pack_message
from tests.reference import histogram as histogram_twin
from tests.reference import inbox as twin

IDS = st.integers(1, 12)
HASH = st.binary(min_size=16, max_size=16)
CHANGE = st.tuples(st.dictionaries(IDS, HASH, max_size=8), st.lists(IDS, unique=True, max_size=4))
BYTES = st.binary(max_size=12)
SINGLE: dict[str, Any] = dict.fromkeys(SINGLE_PARTS, b"\x80")


def position(seq: int) -> Position:
    return Position(log=bytes(16), seq=seq, boot=bytes(16), vseq=0)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(bounds)]


@given(st.lists(st.floats(-1, 1e6, allow_nan=False) | st.integers(0, 10_000).map(lambda micros: micros / 1e6)))
def test_durations_fall_into_the_twins_buckets(durations: list[float]) -> None:
    fast, slow = histogram.Histogram(), histogram_twin.Histogram()
    for duration in durations:
        fast.add(duration)
        slow.add(duration)
    assert fast.take() == slow.take()
    assert fast.take() == []


@given(st.lists(CHANGE), st.integers(0, 3))
def test_a_held_map_has_the_twins_digest(changes: list[tuple[dict[int, bytes], list[int]]], own: int) -> None:
    fast, slow = inbox.HeldMap(), twin.HeldMap()
    fast.own = slow.own = own
    for parts, gone in changes:
        fast.apply(inbox.Change(None, list(parts.items()), gone, []))
        slow.apply(twin.Change(None, list(parts.items()), gone, []))
        assert (len(fast), fast.digest, fast.items()) == (len(slow), slow.digest, slow.items())
    fast.clear()
    assert (len(fast), fast.digest) == (0, bytes(16))


@given(
    st.lists(st.tuples(st.sampled_from([b"mark", b"", b"\xc1"]), BYTES), max_size=6),
    st.lists(st.integers(0, 300)),
    st.floats(0, 10),
)
def test_an_inbox_keeps_and_counts_what_its_twin_does(
    messages: list[tuple[bytes, bytes]], cuts: list[int], since: float
) -> None:
    counts = histogram.Histogram()
    fast_held, slow_held = inbox.HeldMap(), twin.HeldMap()

    def fields(payload: bytes) -> tuple[Any, ...] | None:
        """What the message sets; a packed one of odd length is no change."""
        if payload[0] == 0xC1 and len(payload) % 2:
            return None
        return "p", [(len(payload), payload.ljust(16, b"x")[:16])], [], [5.0]

    def read_fast(payload: bytes) -> inbox.Change | None:
        found = fields(payload)
        return None if found is None else inbox.Change(*found)

    def read_slow(payload: bytes) -> twin.Change | None:
        found = fields(payload)
        return None if found is None else twin.Change(*found)

    fast_shared = inbox.Broadcasts(read_fast, b"mark", 0xC1, counts)
    slow_shared = twin.Broadcasts(read_slow, b"mark", 0xC1)
    fast_shared.since = slow_shared.since = since
    fast, slow = inbox.Inbox(fast_shared, fast_held, 1 << 20), twin.Inbox(slow_shared, slow_held, 1 << 20)
    fast.live = slow.live = True
    stream = b"".join(frame((b"" if kind == b"\xc1" else b"x") + kind + body) for kind, body in messages)
    for piece in pieces(stream, cuts):
        assert fast.feed(piece, 12.0) == slow.feed(piece, 12.0)
    assert (fast_held.digest, fast_held.told) == (slow_held.digest, slow_held.told)
    assert (fast_shared.count, fast_shared.last_at) == (slow_shared.count, slow_shared.last_at)
    assert [count for _, count in counts.take()] == ([len(slow_shared.late)] if slow_shared.late else [])


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.lists(st.integers(0, 300_000), max_size=6))
def test_frames_are_read_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    fast, slow = inbox.Frames(1 << 20), twin.Frames(1 << 20)
    for piece in pieces(b"".join(map(frame, payloads)), cuts):
        assert fast.feed(piece) == slow.feed(piece)


@pytest.mark.parametrize("data", [b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), b"\x82\x85\0\0\0\0hello"])
def test_frames_that_no_node_takes_are_refused(data: bytes) -> None:
    for frames in (inbox.Frames(1 << 20), twin.Frames(1 << 20)):
        with pytest.raises(WireError):
            frames.feed(data)


@given(st.dictionaries(IDS, BYTES), st.lists(st.tuples(st.dictionaries(IDS, BYTES), st.lists(IDS))))
def test_a_simulated_nodes_map_has_the_digest_of_an_agents(
    first: dict[int, bytes], changes: list[tuple[dict[int, bytes], list[int]]]
) -> None:
    ours, agents = NodeMap(), NetMap()
    ours.belong_to(2)
    pages = [
        MapFull(page=0, parts=Parts(**{**SINGLE, "self": msgspec.msgpack.encode({"id": 2})}, profiles={1: b"\x80"})),
        MapFull(page=1, parts=Parts(peers=first), last=True, position=position(1)),
    ]
    for page in pages:
        assert ours.apply_page(page) == agents.apply_page(page)
    for seq, (peers, gone) in enumerate(changes):
        delta = MapDelta(position=position(2 + seq), parts=Parts(peers=peers), gone=tuple(gone), gone_profiles=(1,))
        ours.apply_delta(delta)
        agents.apply_delta(delta)
        assert (ours.digest, ours.position) == (agents.digest, agents.position)


def test_a_whole_map_in_place_of_another_says_what_differs() -> None:
    def whole(seq: int, **parts: Any) -> MapFull:
        return MapFull(page=0, parts=Parts(**{**SINGLE, **parts}), last=True, position=position(seq))

    held = NodeMap()
    held.apply_page(whole(1, peers={4: b"a", 5: b"b"}, profiles={7: b"c"}))
    assert held.replaced == ""
    held.apply_page(whole(2, peers={4: b"a", 5: b"b"}, profiles={7: b"c"}))
    assert held.replaced == ""
    before = held.digest
    held.apply_page(whole(3, filter=b"x", peers={5: b"z", 6: b"b"}, profiles={7: b"c"}))
    assert held.replaced == (
        f"{before.hex()} at 2/0, in its place {held.digest.hex()} at 3/0: filter, peer/4, peer/5, peer/6 differ"
    )


def test_a_map_out_of_order_or_of_another_digest_is_refused() -> None:
    for page in (MapFull(page=1, parts=Parts()), MapFull(page=0, parts=Parts(), last=True, position=position(1))):
        with pytest.raises(WireError):
            NodeMap().apply_page(page)
    parts = Parts(**SINGLE)
    with pytest.raises(WireError, match="digest"):
        NodeMap().apply_page(MapFull(page=0, parts=parts, last=True, position=position(1), digest=bytes(16)))
    with pytest.raises(WireError):
        NodeMap().apply_delta(MapDelta(position=position(1), parts=Parts()))


@pytest.mark.parametrize("form", [bytes, pack_message])
def test_a_change_says_when_what_it_tells_was_due(form: Callable[[bytes], bytes]) -> None:
    peer = msgspec.msgpack.encode({"id": 3, "endpoints": [stamped(4.0)]})
    payload = form(codec.encode(MapDelta(position=position(1), parts=Parts(peers={3: peer}))))
    counts = histogram.Histogram()
    shared = inbox.Broadcasts(read_change, DELTA, MARK, counts)
    found = inbox.Inbox(shared, inbox.HeldMap(), 1 << 20)
    found.live = True
    assert found.feed(frame(payload), 4.5) == []
    assert counts.take() == [(499_968, 1)]
    assert shared.count == 1


def test_what_is_packed_and_no_change_is_the_nodes() -> None:
    payload = bytes([MARK]) + pack_message(codec.encode(ServerBye(reason="x" * 200)))[1:]
    found = inbox.Inbox(inbox.Broadcasts(read_change, DELTA, MARK, histogram.Histogram()), inbox.HeldMap(), 1 << 20)
    found.live = True
    assert found.feed(frame(payload), 1.0) == [(0x82, payload)]
