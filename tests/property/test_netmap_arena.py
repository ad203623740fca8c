"""The fragment arena against its twin, and what it makes of memory."""

import hashlib
import random
from array import array

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ghostwire._native import netmap
from ghostwire.errors import ValidationError
from tests.reference import netmap_arena as twin

SLOTS = st.integers(0, 40) | st.sampled_from([63, 64, 255, 4000])
IDS = st.integers(0, 300) | st.sampled_from([2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**63 - 1])
SIZES = st.integers(0, 300) | st.sampled_from([255, 256, 65_500, 65_535, 65_536, 200_000])
CHOICES = st.lists(SLOTS, max_size=40, unique=True)


def hashed(id: int, part: bytes) -> bytes:
    return hashlib.sha256(b"%d " % id + part).digest()


class ArenaMachine(RuleBasedStateMachine):
    """Every answer is the twin's, whatever was moved in between."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = netmap.Arena(hashed), twin.Arena(hashed)
        self.ids: set[int] = set()

    @rule(slot=SLOTS, id=IDS, owner=st.integers(0, 3), size=SIZES, seed=st.integers(0, 2**32))
    def put(self, slot: int, id: int, owner: int, size: int, seed: int) -> None:
        if id != self.slow.id(slot) and id in self.slow.ids(self.slow.kept):
            return  # One id is in one slot.
        source = random.Random(seed)
        part, digest = source.randbytes(size), source.randbytes(32)
        assert self.fast.put(slot, id, owner, part, digest) is self.slow.put(slot, id, owner, part, digest)
        assert self.fast.put(slot, id, owner, part, digest) is self.slow.put(slot, id, owner, part, digest) is False

    @rule(slot=SLOTS, id=IDS, owner=st.integers(0, 3), size=SIZES, seed=st.integers(0, 2**32))
    def put_to_be_hashed(self, slot: int, id: int, owner: int, size: int, seed: int) -> None:
        if id != self.slow.id(slot) and id in self.slow.ids(self.slow.kept):
            return
        part = random.Random(seed).randbytes(size)
        assert self.fast.put(slot, id, owner, part) is self.slow.put(slot, id, owner, part)

    @rule(slot=SLOTS)
    def drop(self, slot: int) -> None:
        assert self.fast.drop(slot) is self.slow.drop(slot)

    @rule(slot=SLOTS)
    def look(self, slot: int) -> None:
        for answer in ("part", "id", "owner"):
            assert getattr(self.fast, answer)(slot) == getattr(self.slow, answer)(slot)
        assert (slot in self.fast) is (slot in self.slow)

    @rule(slots=CHOICES)
    def gather(self, slots: list[int]) -> None:
        for answer in ("digest", "owners", "ids", "parts", "size"):
            assert getattr(self.fast, answer)(array("I", slots)) == getattr(self.slow, answer)(slots)

    @rule(slots=CHOICES, ids=st.sets(IDS))
    def among(self, slots: list[int], ids: set[int]) -> None:
        assert self.fast.among(array("I", slots), ids) == self.slow.among(slots, ids)

    @rule(slots=CHOICES, most=st.integers(1, 20), room=st.integers(1, 70_000), back=st.integers(0, 5))
    def splice(self, slots: list[int], most: int, room: int, back: int) -> None:
        first, stamp = 0, max(self.slow.stamp - back, 0)
        while first < len(slots):
            past, total = self.fast.cut(array("I", slots), first, most, room, stamp)
            assert (past, total) == self.slow.cut(slots, first, most, room, stamp)
            head = bytes(first)
            page = self.fast.splice(head, array("I", slots), first, past, stamp)
            assert page == self.slow.splice(head, slots, first, past, stamp)
            first = past

    @invariant()
    def same_count(self) -> None:
        assert len(self.fast) == len(self.slow)
        assert self.fast.stamp == self.slow.stamp


ArenaMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestArena = ArenaMachine.TestCase


def test_a_part_is_hashed_when_its_hash_is_first_wanted() -> None:
    asked: list[tuple[int, bytes]] = []

    def note(id: int, part: bytes) -> bytes:
        asked.append((id, part))
        return hashed(id, part)

    arena = netmap.Arena(note)
    for part in (b"old", b"new"):
        arena.put(3, 7, 0, part)
    assert not asked
    assert arena.digest(array("I", [3])) == arena.digest(array("I", [3])) == int.from_bytes(hashed(7, b"new")[:16])
    assert asked == [(7, b"new")]


def test_a_hash_is_made_by_someone_and_long_enough() -> None:
    with pytest.raises(ValidationError):
        netmap.Arena().put(3, 7, 0, b"part")
    arena = netmap.Arena(lambda id, part: b"short")
    arena.put(3, 7, 0, b"part")
    with pytest.raises(ValidationError):
        arena.digest(array("I", [3]))


def test_memory_follows_what_lives() -> None:
    """Parts that come, change their size and go leave gaps, which are filled."""
    source = random.Random(7)
    arena = netmap.Arena()
    for turn in range(60_000):
        slot = source.randrange(2_000)
        if source.random() < 0.1:
            arena.drop(slot)
        else:
            arena.put(slot, 1 + slot, 1, bytes([turn & 255]) * source.randrange(100, 400), bytes(16))
    entries = 64 * 2_600
    assert arena.footprint < 1.3 * arena.live + 4 * 65_536 + entries
    for slot in range(2_000):
        arena.drop(slot)
    assert len(arena) == arena.live == 0
    assert arena.footprint < 4 * 65_536 + entries


def test_what_cannot_be_is_refused() -> None:
    arena = netmap.Arena()
    for slot, id, digest in ((1 << 22, 1, bytes(16)), (0, -1, bytes(16)), (0, 1, bytes(15))):
        with pytest.raises(ValidationError):
            arena.put(slot, id, 0, b"", digest)
    with pytest.raises(ValidationError):
        arena.cut(array("I", [1]), -1, 1, 1, 1)
    for first, past in ((-1, 1), (1, 0), (0, 2)):
        with pytest.raises(ValidationError):
            arena.splice(b"", array("I", [1]), first, past, 1)
    assert len(arena) == 0
