"""What the tunnel is told of a map, what is kept of it, and a map that cannot be read."""

import pytest

from ghostwire.agent.effects import HangUp, KeepMap, Say
from ghostwire.agent.memory import KeptMap
from ghostwire.agent.plan import DropPeer, SetFilter, SetKey, SetPeer, SetSelf
from ghostwire.model.filter import FilterRule
from ghostwire.wire.messages import HelloBody, MapDelta, MapUnchanged, Parts
from ghostwire.wire.netmap import Filter, encode_part
from tests.unit.agent.meeting import Meeting, joined, peer, steps


def test_tells_the_tunnel_what_the_map_says_and_what_changes() -> None:
    meeting = joined(peer(2), peer(3, routes=("10.0.0.0/8",)))
    told = steps(meeting)
    assert [type(step) for step in told] == [SetKey, SetSelf, SetFilter, SetPeer, SetPeer]
    two, three = told[3:]
    assert isinstance(two, SetPeer)
    assert isinstance(three, SetPeer)
    assert two.allowed_ips == ("100.64.0.2/32", "fd7a:115c:a1e0::2/128")
    assert two.names == ("node2", "node2.mesh")
    assert three.allowed_ips[-1] == "10.0.0.0/8"
    meeting.delta(peer(3, routes=("10.0.0.0/8",)), peer(4), gone=(2,))
    told = steps(meeting)
    assert told[0] == DropPeer(2)
    assert [step.peer.id for step in told[1:]] == [4]
    meeting.delta(peer(4, key=peer(9).key))
    told = steps(meeting)
    assert [step.peer.key for step in told] == [peer(9).key]


def test_additions_are_told_together_and_cuts_at_once() -> None:
    meeting = joined(peer(2))
    steps(meeting)
    for number in range(3, 9):
        meeting.seq += 1
        parts = Parts(peers={number: encode_part(peer(number))})
        meeting.say(MapDelta(position=meeting.position(), parts=parts))
    assert not steps(meeting)
    meeting.say(MapDelta(position=meeting.position(), parts=Parts(), gone=(2,)))
    told = [type(step) for step in steps(meeting)]
    assert told == [DropPeer] + [SetPeer] * 6
    meeting.say(MapDelta(position=meeting.position(), parts=Parts(filter=encode_part(Filter(rules=(FilterRule(),))))))
    assert [type(step) for step in steps(meeting)] == [SetFilter]
    meeting.pass_time(1)
    assert not steps(meeting)


def test_comes_up_from_the_kept_map_and_says_so() -> None:
    first = joined(peer(2))
    again = Meeting(memory=first.memory, netmap=KeptMap.of(first.machine.netmap).restore(), key=None)
    again.seq = first.seq
    again.begin()
    assert again.machine.from_cache
    assert any(isinstance(step, SetPeer) for step in steps(again))
    assert any("map that was kept" in say.text for say in again.take(Say))
    again.accept()
    again.welcome()
    assert again.machine.from_cache
    again.say(MapUnchanged(position=again.position(), digest=again.machine.netmap.digest))
    assert not again.machine.from_cache
    assert not steps(again)


def test_a_map_is_kept_soon_but_not_for_every_delta() -> None:
    meeting = joined(peer(2))
    meeting.pass_time(0.1)
    assert len(meeting.take(KeepMap)) == 1
    for number in range(3, 18):
        meeting.delta(peer(number))
    assert not meeting.take(KeepMap)
    meeting.pass_time(1)
    [kept] = meeting.take(KeepMap)
    assert kept.kept.restore().digest == meeting.machine.netmap.digest


def test_what_is_no_protocol_ends_the_connection_and_asks_for_the_whole_map() -> None:
    meeting = joined(peer(2))
    meeting.tell(b"\xff\xff")
    assert meeting.take(HangUp)
    assert not any(isinstance(step, DropPeer) for step in steps(meeting))
    meeting.pass_time(11)
    meeting.accept()
    hello = meeting.heard[-1]
    assert isinstance(hello, HelloBody)
    assert hello.resume is None


def test_a_peer_that_cannot_be_read_is_left_out_and_cut() -> None:
    meeting = joined(peer(2), peer(3))
    steps(meeting)
    meeting.seq += 1
    meeting.say(MapDelta(position=meeting.position(), parts=Parts(peers={2: b"\xc1", 4: encode_part(peer(4))})))
    meeting.pass_time(1)
    told = steps(meeting)
    assert DropPeer(2) in told
    assert [step.peer.id for step in told if isinstance(step, SetPeer)] == [4]
    assert any("can't be read" in say.text for say in meeting.take(Say))
    assert meeting.machine.phase == "live"


@pytest.mark.parametrize("part", ["self", "filter", "network"])
def test_a_map_that_cannot_be_read_opens_nothing(part: str) -> None:
    first = joined(peer(2))
    kept = KeptMap.of(first.machine.netmap)
    kept.parts[part] = b"\xc1"
    again = Meeting(memory=first.memory, netmap=kept.restore(), key=None)
    again.begin()
    assert not any(isinstance(step, SetPeer) for step in steps(again))
    assert any("can't be read" in say.text for say in again.take(Say))
    again.pass_time(100)
    again.seq = first.seq
    again.join(peer(2))
    assert [step.peer.id for step in steps(again) if isinstance(step, SetPeer)] == [2]
