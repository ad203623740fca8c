"""The compiled answer to the usual heartbeat = its twin's, whatever comes; and to bytes of any other kind none."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from ghostwire._native import netmap, pulse
from ghostwire.model.node import NodeMetrics
from ghostwire.model.position import Position
from ghostwire.wire import codec
from ghostwire.wire.messages import Endpoints, Heartbeat, Query
from tests.reference import pulse as twin

LOG, BOOT = b"l" * 16, b"b" * 16
SLOTS = 4
UTC = 1_700_000_000_000_000_000
names = st.sampled_from([LOG, LOG, LOG, BOOT, BOOT, BOOT, b"x" * 16, b"x" * 15])
numbers = st.sampled_from([0, 1, 127, 128, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32]) | st.integers(0, 300)
digests = st.sampled_from([bytes(16), b"\x01" * 16, bytes(range(16)), b"", bytes(15)])
positions = st.builds(
    Position,
    log=st.just(LOG) | names,
    seq=numbers,
    boot=st.just(BOOT) | names,
    vseq=st.just(0) | numbers,
)
usual = st.builds(Heartbeat, position=positions, digest=digests)
messages = (
    usual
    | usual
    | st.builds(Heartbeat, position=st.none() | positions, digest=digests, hits=st.just({1: 2}))
    | st.builds(Heartbeat, position=positions, metrics=st.just(NodeMetrics(load_factor=0.5)))
    | st.sampled_from([Query(id=1), Endpoints(endpoints=("192.0.2.1:1",))])
)


@st.composite
def standings(draw: st.DrawFn) -> tuple[Any, Any]:
    """Tables of a few slots, and the run that positions are compared with."""
    slots = draw(st.integers(0, SLOTS))
    changed = np.array(draw(st.lists(st.integers(0, 5), min_size=slots, max_size=slots)), dtype=np.int64)
    reached = np.array(draw(st.lists(numbers, min_size=slots, max_size=slots)), dtype=np.int64)
    rows = np.zeros((draw(st.integers(0, SLOTS)), 5), dtype=np.uint64)
    for slot in range(len(rows)):
        digest = draw(digests.filter(lambda digest: len(digest) == 16))
        version = draw(st.sampled_from([0 if slot >= slots else int(changed[slot]), 3])), draw(st.integers(9, 12))
        rows[slot] = (*version, 0, int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big"))
    running = draw(st.none() | st.tuples(st.just(LOG), st.just(BOOT), numbers, st.integers(0, 5), numbers))
    return (changed, reached, rows), running


@given(
    st.lists(
        st.tuples(standings(), st.lists(st.tuples(messages, st.integers(9, 12), st.integers(0, SLOTS)), max_size=8)),
        max_size=4,
    )
)
def test_heartbeats_are_answered_as_the_twin_does(story: list[Any]) -> None:
    arena = netmap.Arena()
    for slot in range(3):
        arena.put(slot, 10 + slot, 0, b"part", bytes(16))
    both: list[tuple[Any, dict[int, Position]]] = [(pulse.Pulse(), {}), (twin.Pulse(), {})]
    for (tables, running), said in story:
        for one, late in both:
            one.follow(arena, tables, late, running)
        for message, node, slot in said:
            data = codec.encode(message)
            ours, theirs = (one.answer(data, node, slot, UTC + node) for one, _ in both)
            assert ours == theirs
            assert both[0][1] == both[1][1]


@given(st.binary(max_size=120), st.integers(0, 120), st.integers(0, 255))
@example(b"", 0, 0)
@example(b"", 44, 0xE0)
def test_bytes_of_any_other_kind_are_left_to_the_general_way(junk: bytes, at: int, byte: int) -> None:
    arena = netmap.Arena()
    arena.put(0, 10, 0, b"part", bytes(16))
    good = bytearray(codec.encode(Heartbeat(position=Position(LOG, 5, BOOT, 1 << 40), digest=bytes(16))))
    good[at % len(good)] = byte
    tables = np.array([1]), np.array([2]), np.array([[1, 10, 0, 0, 0]], dtype=np.uint64)
    for message in (bytes(good), bytes(good[: at % len(good)]), bytes(good) + junk, junk):
        answers = []
        for one in (pulse.Pulse(), twin.Pulse()):
            one.follow(arena, tables, {}, (LOG, BOOT, 0, 0, 0))
            answers.append(one.answer(message, 10, 0, UTC))
        assert answers[0] == answers[1]


def test_nothing_is_answered_before_there_is_anything_to_compare_with() -> None:
    message = codec.encode(Heartbeat(position=Position(LOG, 5, BOOT, 1), digest=bytes(16)))
    assert pulse.Pulse().answer(message, 10, 0, UTC) is None
