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
    """What each slot is told of others; fails where a slot is in two batches, or told something twice in one."""
    told: dict[int, set[int]] = {}
    for batch in batches:
        assert batch.slots
        for slot in batch.slots:
            assert slot not in told
            told[slot] = set(batch.nodes) - {100 + slot}
            assert len(batch.nodes) == len(set(batch.nodes))
    return told


class Windows(RuleBasedStateMachine):
    """Node N has slot N - 100. The model keeps, for each slot, what it waits for, and what it `sees` and may be told
    again: nodes that came in this window, and were there when it came itself.
    """

    @initialize()
    def begin(self) -> None:
        self.pacer = Pacer(0.2)
        self.waits: defaultdict[int, set[int]] = defaultdict(set)
        self.sees: defaultdict[int, set[int]] = defaultdict(set)
        self.came: set[int] = set()
        self.sight = 0
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

    @rule(node=slots, viewers=some)
    def come(self, node: int, viewers: set[int]) -> None:
        viewers = viewers - {node}
        now = set(self.pacer.come(100 + node, node, BitMap(viewers), self.sight))
        assert now == viewers - self.told
        self.messages.update(now)
        for slot in viewers & self.told:
            self.waits[slot].add(100 + node)
        self.sees[node] |= {100 + slot for slot in viewers & self.came}
        self.came.add(node)
        self.told |= viewers
        if self.told:
            self.told.add(node)

    @rule(node=slots, count=st.integers(1, SLOTS), others=some)
    def come_one_after_another(self, node: int, count: int, others: set[int]) -> None:
        """As they do who see each other, and all the others that there are."""
        cell = set(others)
        for slot in range(node, min(node + count, SLOTS)):
            self.come(slot, cell)
            cell.add(slot)

    @rule(slot=slots, lost=st.sets(slots, max_size=2))
    def lose_sight(self, slot: int, lost: set[int]) -> None:
        """Of a node without a session, which is told nothing of it."""
        self.sight += 1
        self.caught_up(slot)
        self.sees[slot] -= {100 + node for node in lost}

    @rule(viewers=some, gone=st.sets(slots, max_size=2))
    def hurry(self, viewers: set[int], gone: set[int]) -> None:
        lost = {100 + node for node in gone}
        told = nodes_of(self.pacer.hurry(BitMap(viewers), lost)) if viewers else {}
        assert told.keys() == viewers
        for slot in viewers:
            self.sees[slot] -= lost
            assert self.waits[slot] - lost <= told[slot] <= (self.waits[slot] | self.sees[slot]) - lost
            assert told[slot] <= lost or self.waits[slot]
            self.waits[slot].clear()
        self.told |= viewers

    @rule(slot=slots)
    def caught_up(self, slot: int) -> None:
        self.pacer.caught_up(slot)
        self.waits[slot].clear()

    @rule(slot=slots)
    def forget(self, slot: int) -> None:
        self.pacer.forget(slot)
        self.sight += 1
        self.waits[slot].clear()
        self.sees[slot].clear()
        self.told.discard(slot)
        del self.messages[slot]

    @rule()
    def close(self) -> None:
        expected = {slot: nodes for slot, nodes in self.waits.items() if nodes}
        told = nodes_of(self.pacer.close())
        assert told.keys() == expected.keys()
        for slot, nodes in told.items():
            assert expected[slot] <= nodes <= expected[slot] | self.sees[slot]
        self.sees.clear()
        self.came.clear()
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


def test_nodes_that_come_one_after_another_share_a_message() -> None:
    pacer = Pacer(0.2)
    cell = BitMap(range(100))
    assert pacer.come(1100, 100, cell.copy(), 0) == cell
    for slot in range(101, 110):
        cell.add(slot - 1)
        assert not pacer.come(1000 + slot, slot, cell.copy(), 0)
    assert pacer.close() == [Batch(cell, tuple(range(1101, 1110)))]


def test_who_comes_after_someone_lost_sight_is_told_apart_from_those_before() -> None:
    pacer = Pacer(0.2)
    pacer.come(1001, 1, BitMap([9]), 0)
    pacer.come(1002, 2, BitMap([1, 9]), 0)
    pacer.come(1003, 3, BitMap([1, 2, 9]), 1)
    told = {batch.nodes: set(batch.slots) for batch in pacer.close()}
    assert told == {(1002, 1003): {1, 9}, (1003,): {2}}


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
