"""The turnstile on a clock and a loop of the test's own: an opening costs what the test says."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire.errors import UnavailableError
from ghostwire.server.recovery import Recovery, RecoveryStatus
from ghostwire.server.session.turnstile import (
    ASSUMED_PER_S,
    JITTER_S,
    JOINS,
    PATIENCE_S,
    REST_S,
    RETURNS,
    SLOW_S,
    TURN_S,
    Passage,
    Turnstile,
)

COST_S = 0.0004


class Loop:
    """An event loop where other work takes `busy_s` a turn. It `rested` while nothing was called soon."""

    def __init__(self, busy_s: float = 0.0) -> None:
        self.now, self.busy_s = 100.0, busy_s
        self.turns = 0
        self.faults: list[Exception] = []
        self.rested = 0.0
        self._soon: deque[Callable[[], None]] = deque()
        self._later: deque[tuple[float, Callable[[], None]]] = deque()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context["exception"])

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._later.append((seconds, callback))

    def turn(self) -> bool:
        if not self._soon and self._later:
            seconds, callback = self._later.popleft()
            self.now += seconds
            self.rested += seconds
            self._soon.append(callback)
        if not self._soon:
            return False
        self.now += self.busy_s
        self.turns += 1
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        return True

    def run(self) -> None:
        while self.turn():
            pass


class Door:
    def __init__(self, busy_s: float = 0.0) -> None:
        self.loop = Loop(busy_s)
        self.opened: list[object] = []
        self.held = False
        self.turnstile = Turnstile(self.loop, lambda: self.loop.now, lambda size: b"\x80" + bytes(size - 1))  # type: ignore[arg-type]

    def come(self, name: object, passage: Passage = Passage.RETURN) -> None:
        def act() -> None:
            self.loop.now += COST_S
            self.opened.append(name)
            if passage is Passage.RETURN and not self.held:
                self.turnstile.left(passage)

        self.turnstile.enter(passage, act)


def test_who_comes_alone_passes_at_once() -> None:
    door = Door()
    door.come("a")
    assert door.opened == ["a"]
    assert door.turnstile.waiting == 0


def test_a_turn_of_the_loop_spends_a_millisecond_and_everyone_gets_in() -> None:
    door = Door()
    for name in range(50):
        door.come(name)
    while door.turnstile.waiting:
        before, since = len(door.opened), door.loop.now
        door.loop.turn()
        assert door.loop.now - since < TURN_S + COST_S
        assert len(door.opened) > before
    assert door.opened == list(range(50))


def test_openings_rest_where_turns_of_the_loop_take_long() -> None:
    door = Door(busy_s=0.006)
    for name in range(50):
        door.come(name)
    began = door.loop.now
    while door.turnstile.waiting:
        before, rested = len(door.opened), door.loop.rested
        door.loop.turn()
        assert len(door.opened) == before or door.loop.rested - rested >= SLOW_S
    assert door.opened == list(range(50))
    assert SLOW_S < door.loop.rested < (door.loop.now - began) / 2


def test_no_opening_rests_where_turns_are_short_and_no_rest_is_long() -> None:
    door, slow = Door(busy_s=SLOW_S / 2), Door(busy_s=1.0)
    for name in range(20):
        door.come(name)
        slow.come(name)
    door.loop.run()
    assert door.loop.rested == 0
    while slow.turnstile.waiting:
        rested = slow.loop.rested
        slow.loop.turn()
        assert slow.loop.rested - rested < REST_S + 1e-9


def test_who_comes_back_passes_before_who_joins() -> None:
    door = Door()
    for name in range(10):
        door.come(("join", name), Passage.JOIN)
        door.come(("back", name))
    door.loop.run()
    later = [kind for kind, _ in door.opened[6:]]  # type: ignore[misc]
    assert later == sorted(later)
    assert len(door.opened) == 20


def test_only_so_many_registrations_are_on_their_way() -> None:
    door = Door()
    for name in range(JOINS + 5):
        door.come(name, Passage.JOIN)
    door.loop.run()
    assert len(door.opened) == JOINS
    door.come("back")
    door.loop.run()
    assert door.opened[-1] == "back"
    for _ in range(5):
        door.turnstile.left(Passage.JOIN)
    door.loop.run()
    assert len(door.opened) == JOINS + 6


def test_only_so_many_who_come_back_are_on_their_way() -> None:
    door = Door()
    door.held = True
    for name in range(RETURNS + 5):
        door.come(name)
    door.loop.run()
    assert len(door.opened) == RETURNS
    for _ in range(5):
        door.turnstile.left(Passage.RETURN)
    door.loop.run()
    assert len(door.opened) == RETURNS + 5


def test_a_fault_at_one_who_passes_is_told_and_is_nobody_elses() -> None:
    door = Door()
    door.held = True
    for name in range(RETURNS):
        door.come(name)
    door.loop.run()

    def fail() -> None:
        raise LookupError("a fault")

    door.turnstile.enter(Passage.RETURN, fail)
    door.come("next")
    for _ in range(2):
        door.turnstile.left(Passage.RETURN)
        door.loop.run()
    assert [type(fault) for fault in door.loop.faults] == [LookupError]
    assert door.opened[-1] == "next"


def test_who_would_wait_too_long_is_given_a_time_of_its_own() -> None:
    door = Door()
    room = int(PATIENCE_S * ASSUMED_PER_S)
    refused: list[float] = []
    for name in range(room + 1000):
        try:
            door.come(name)
        except UnavailableError as error:
            assert error.retry_after is not None
            refused.append(error.retry_after)
    assert door.turnstile.refused == len(refused) > 900
    assert refused == sorted(refused)
    assert refused[0] >= PATIENCE_S
    # The last of a thousand comes after the thousand before it, at the pace that is assumed so far.
    assert refused[-1] - refused[0] == pytest.approx(len(refused) / ASSUMED_PER_S, rel=0.02)
    assert refused[0] < PATIENCE_S + JITTER_S


def test_a_join_is_refused_while_who_comes_back_still_finds_room() -> None:
    door = Door()
    for name in range(int(PATIENCE_S * ASSUMED_PER_S) // 2 + 10):
        door.come(name)
        if name < 800:
            door.turnstile._queues[Passage.JOIN].append(lambda: None)
    with pytest.raises(UnavailableError):
        door.come("join", Passage.JOIN)
    door.come("back")


def test_the_pace_is_what_was_measured() -> None:
    door = Door(busy_s=0.0006)
    for _ in range(8):
        for name in range(1000):
            door.come(name)
        door.loop.run()
    # Three openings of 0.4 ms fill a turn, and 0.6 ms go to others.
    assert door.turnstile.per_s == pytest.approx(3 / (3 * COST_S + 0.0006), rel=0.1)


def test_recovery_knows_who_is_back_and_since_when() -> None:
    recovery = Recovery([1, 2, 3], 10.0)
    assert recovery.status() == RecoveryStatus(expected=3, back=0, seconds=None)
    recovery.came(9, 11.0)
    recovery.came(2, 12.5)
    recovery.came(2, 13.0)
    assert recovery.status() == RecoveryStatus(expected=3, back=1, seconds=2.5)
    recovery.came(1, 14.0)
    recovery.came(3, 20.0)
    assert recovery.status() == RecoveryStatus(expected=3, back=3, seconds=10.0)
