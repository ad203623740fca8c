"""How far apart the leader's turns are: at once for what comes alone, apart for a crowd, at once for what presses."""

from itertools import pairwise

import pytest

from ghostwire.server.gathering import CROWD, LONGEST_S, SHORTEST_S, Gathering
from tests.unit.server.turns import Turns


class Leader:
    """Deals in each turn with what has come by then."""

    def __init__(self) -> None:
        self.loop = Turns()
        self.gathering = Gathering(self.loop, self._work)  # type: ignore[arg-type]
        self.waiting = 0
        self.found: list[tuple[float, int]] = []

    def _work(self) -> None:
        self.gathering.begin(self.waiting)
        self.found.append((self.loop.now, self.waiting))
        self.waiting = 0

    def come(self, commands: int = 1, *, at_once: bool = False) -> None:
        for _ in range(commands):
            self.waiting += 1
            self.gathering.ask(at_once=at_once)

    def turns(self, commands: int, every_s: float, count: int) -> list[int]:
        """What each turn found, of so many at a time."""
        self.found.clear()
        for _ in range(count):
            self.come(commands)
            self.loop.pass_s(0.0)
            self.loop.pass_s(every_s)
        return [found for _, found in self.found]


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_what_comes_alone_never_waits(leader: Leader) -> None:
    assert leader.turns(CROWD - 1, SHORTEST_S / 4, 100) == [CROWD - 1] * 100


def test_a_crowd_is_let_gather_up_to_the_longest_wait(leader: Leader) -> None:
    leader.turns(CROWD, 0.001, 500)
    moments = [at for at, _ in leader.found]
    apart = [later - earlier for earlier, later in pairwise(moments)]
    assert apart[-1] == pytest.approx(LONGEST_S, abs=0.0011)
    assert max(apart) <= LONGEST_S + 0.0011
    assert leader.found[-1][1] == pytest.approx(CROWD * LONGEST_S / 0.001, abs=2 * CROWD)


def test_after_a_crowd_single_ones_soon_go_at_once_again(leader: Leader) -> None:
    leader.turns(CROWD, 0.001, 500)
    leader.loop.pass_s(1.0)
    assert leader.turns(1, LONGEST_S, 10) == [1] * 10
    assert leader.turns(1, 0.0, 10) == [1] * 10


def test_what_presses_does_not_wait_and_takes_the_others_along(leader: Leader) -> None:
    leader.turns(CROWD, 0.001, 500)
    leader.loop.pass_s(LONGEST_S)
    leader.found.clear()
    leader.come(2)
    leader.loop.pass_s(LONGEST_S / 2)
    assert leader.found == []
    leader.come(at_once=True)
    leader.loop.pass_s(0.0)
    assert [found for _, found in leader.found] == [3]
    leader.loop.pass_s(1.0)
    assert len(leader.found) == 1


def test_a_turn_that_was_asked_for_can_be_taken_back(leader: Leader) -> None:
    leader.come()
    leader.gathering.cancel()
    leader.loop.pass_s(1.0)
    assert leader.found == []
