"""Windows: whoever is told of something is told once a window, nobody is forgotten, nothing urgent waits."""

from collections import Counter, defaultdict

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pyroaring import BitMap

from ghostwire.coordinator.pacing import MESSAGES_PER_S, WIDEST, Batch, Pacer

SLOTS = 12
slots = st.integers(0, SLOTS - 1)
some = st.sets(slots, max_size=SLOTS)


def nodes_of(batches: list[Batch]) -> dict[int, set[int]]:
    """What each slot is told of others; fails where a slot is in two batches or in none at all."""
    told: dict[int, set[int]] = {}
    for batch in batches:
        assert batch.slots
        for slot in batch.slots:
            assert slot not in told
            told[slot] = set(batch.nodes) - {100 + slot}
    return told


class Windows(RuleBasedStateMachine):
    """Node N has slot N - 100. The model keeps, for each slot, what it waits for."""

    @initialize()
    def begin(self) -> None:
        self.pacer = Pacer(0.2)
        self.waits: defaultdict[int, set[int]] = defaultdict(set)
        self.told: set[int] = set()
        self.messages: Counter[int] = Counter()

    @rule(node=slots, viewers=some)
    def show(self, node: int, viewers: set[int]) -> None:
        viewers = viewers - {node}
        now = set(self.pacer.show(100 + node, node, BitMap(viewers)))
        assert now == viewers - self.told
        self.messages.update(now)
        for slot in viewers & self.told:
            self.waits[slot].add(100 + node)
        self.told |= viewers

    @rule(viewers=some, gone=st.sets(slots, max_size=2))
    def hurry(self, viewers: set[int], gone: set[int]) -> None:
        lost = {100 + node for node in gone}
        told = nodes_of(self.pacer.hurry(BitMap(viewers), lost)) if viewers else {}
        assert told == {slot: self.waits[slot] - lost for slot in viewers}
        for slot in viewers:
            self.waits[slot].clear()
        self.told |= viewers

    @rule(slot=slots)
    def caught_up(self, slot: int) -> None:
        self.pacer.caught_up(slot)
        self.waits[slot].clear()

    @rule(slot=slots)
    def forget(self, slot: int) -> None:
        self.pacer.forget(slot)
        self.waits[slot].clear()
        self.told.discard(slot)
        del self.messages[slot]

    @rule()
    def close(self) -> None:
        expected = {slot: nodes for slot, nodes in self.waits.items() if nodes}
        assert nodes_of(self.pacer.close()) == expected
        self.messages.update(expected.keys())
        self.told = set(expected)
        self.waits.clear()
        assert self.pacer.length_s == 0.2

    @invariant()
    def it_says_how_many_wait(self) -> None:
        if hasattr(self, "pacer"):
            assert self.pacer.waiting == sum(1 for nodes in self.waits.values() if nodes)
            assert self.pacer.is_open == bool(self.told)

    @invariant()
    def nobody_is_told_more_than_once_a_window(self) -> None:
        if hasattr(self, "pacer"):
            assert max(self.messages.values(), default=0) <= self.pacer.windows


Windows.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestWindows = Windows.TestCase


def test_nodes_of_one_view_share_a_message() -> None:
    pacer = Pacer(0.2)
    cell = BitMap(range(200))
    pacer.show(1000, 500, cell)
    for slot in range(10):
        pacer.show(slot, slot, cell - BitMap([slot]))
    batches = pacer.close()
    assert batches == [Batch(cell, tuple(range(10)))]


def test_windows_widen_with_the_messages_and_narrow_again() -> None:
    pacer = Pacer(0.2)
    pacer.show(1, 100_000, BitMap(range(MESSAGES_PER_S // 2)))
    pacer.close()
    assert pacer.length_s == 0.5
    pacer.show(1, 200_000, BitMap(range(5 * MESSAGES_PER_S)))
    pacer.close()
    assert pacer.length_s == 0.2 * WIDEST
    pacer.close()
    assert pacer.length_s == 0.2


def test_without_windows_nothing_waits() -> None:
    pacer = Pacer(0.0)
    for _ in range(2):
        assert set(pacer.show(1, 9, BitMap([1, 2]))) == {1, 2}
        assert pacer.hurry(BitMap([1]), ()) == [Batch(BitMap([1]), ())]
    assert not pacer.is_open
