"""Peers that end by themselves: at their time, and when the coordinator is away too long."""

import msgspec

from ghostwire.agent.memory import KeptMap
from ghostwire.agent.plan import DropPeer, SetPeer
from ghostwire.model.filter import SightEnd
from ghostwire.model.time import SECOND
from ghostwire.wire.messages import MapUnchanged
from tests.unit.agent.meeting import START, Meeting, joined, peer, steps

ENDING = (SightEnd(nodes=(2,), until=START + 100 * SECOND),)


def test_a_peer_ends_at_its_time_without_the_coordinator() -> None:
    meeting = joined(peer(2), peer(3), ends=ENDING)
    meeting.cut()
    steps(meeting)
    meeting.pass_time(99)
    assert not steps(meeting)
    meeting.pass_time(1.5)
    assert steps(meeting) == [DropPeer(2)]
    meeting.pass_time(100)
    assert not steps(meeting)


def test_a_clock_set_back_opens_nothing_again() -> None:
    first = joined(peer(2), peer(3), ends=ENDING)
    first.pass_time(101)
    kept = KeptMap.of(first.machine.netmap)
    # It is killed: nothing more is kept than what was kept when the peer ended.
    again = Meeting(memory=first.memory, netmap=kept.restore(), key=None)
    assert again.now.utc < first.now.utc
    again.begin()
    assert [step.peer.id for step in steps(again) if isinstance(step, SetPeer)] == [3]


def test_the_coordinators_clock_counts_and_corrects_a_wrong_one() -> None:
    meeting = Meeting()
    meeting.memory = msgspec.structs.replace(meeting.memory, highest=START * 2)
    meeting = Meeting(memory=meeting.memory)
    meeting.begin()
    meeting.ends = ENDING
    meeting.join(peer(2))
    assert [step.peer.id for step in steps(meeting) if isinstance(step, SetPeer)] == [2]


def test_all_peers_are_cut_when_the_coordinator_is_away_for_max_age() -> None:
    meeting = joined(peer(2), peer(3))
    meeting.cut()
    steps(meeting)
    meeting.pass_time(3590)
    assert not steps(meeting)
    meeting.pass_time(20)
    assert {step.id for step in steps(meeting)} == {2, 3}
    assert meeting.machine.halted
    meeting.accept()
    meeting.welcome()
    meeting.say(MapUnchanged(position=meeting.position(), digest=meeting.machine.netmap.digest))
    assert {step.peer.id for step in steps(meeting)} == {2, 3}
    assert not meeting.machine.halted


def test_max_age_goes_on_across_a_restart() -> None:
    first = joined(peer(2))
    kept = KeptMap.of(first.machine.netmap)
    first.cut()
    first.pass_time(3000)
    first.machine.stop(first.now)
    first.settle()
    again = Meeting(memory=first.memory, netmap=kept.restore(), key=None)
    again.begin()
    assert again.machine.from_cache
    assert any(isinstance(step, SetPeer) for step in steps(again))
    again.pass_time(700)
    assert steps(again) == [DropPeer(2)]
