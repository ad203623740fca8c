"""The agent's decisions, against the coordinator's end of a session, in virtual time."""

import msgspec
import pytest

from ghostwire.agent.effects import Dial, Forget, HangUp, Keep, KeepMap, Measure, Quit, Say, Transmit, Tune
from ghostwire.agent.machine import Join
from ghostwire.agent.memory import KeptMap
from ghostwire.agent.plan import DropPeer, SetFilter, SetKey, SetPeer, SetSelf
from ghostwire.errors import UnavailableError
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.model.time import SECOND
from ghostwire.wire.messages import (
    Endpoints,
    Heartbeat,
    HeartbeatAck,
    HelloBody,
    MapDelta,
    MapUnchanged,
    NodeBye,
    Parts,
    Pending,
    Refusal,
    RegisterBody,
    RotateBody,
    RotateOrder,
    ServerBye,
)
from ghostwire.wire.netmap import Filter, encode_part
from tests.unit.agent.meeting import START, Meeting, node_key, peer


def steps(meeting: Meeting) -> list[object]:
    return [step for tune in meeting.take(Tune) for step in tune.steps]


ENDING = (SightEnd(nodes=(2,), until=START + 100 * SECOND),)


def joined(*peers: object, ends: tuple[SightEnd, ...] = ()) -> Meeting:
    meeting = Meeting()
    meeting.ends = ends
    meeting.begin()
    meeting.join(*peers)
    return meeting


def test_registers_with_its_key_once_and_comes_back_by_proof() -> None:
    meeting = Meeting()
    meeting.begin()
    assert meeting.dialled
    meeting.join()
    [body] = [heard for heard in meeting.heard if isinstance(heard, RegisterBody)]
    assert body.preauth_key == "k"
    assert body.facts.hostname == "one"
    meeting.cut()
    meeting.pass_time(11)
    assert meeting.dialled
    meeting.accept()
    [hello] = [heard for heard in meeting.heard if isinstance(heard, HelloBody)]
    assert hello.token == "t"
    assert hello.resume == meeting.position()
    assert hello.digest == meeting.machine.netmap.digest


def test_a_known_node_says_what_it_is_when_that_has_changed() -> None:
    first = joined()
    again = Meeting(memory=first.memory, key=None)
    again.begin()
    again.accept()
    assert isinstance(again.heard[-1], HelloBody)
    other = Meeting(memory=first.memory, key=None)
    other.machine._join = Join(facts=NodeFacts(hostname="renamed"))
    other.begin()
    other.accept()
    [body] = other.heard
    assert isinstance(body, RegisterBody)
    assert body.preauth_key is None
    other.welcome()
    other.cut()
    other.pass_time(11)
    other.accept()
    assert isinstance(other.heard[-1], HelloBody)


def test_the_key_is_in_nothing_that_is_kept_or_shown() -> None:
    meeting = Meeting(key="very-secret")
    meeting.begin()
    meeting.join(peer(2))
    join = Join(facts=NodeFacts(), preauth_key="very-secret")
    assert "very-secret" not in repr(join)
    for effect in meeting.effects:
        assert "very-secret" not in repr(effect)
        if not isinstance(effect, Transmit):
            assert b"very-secret" not in msgspec.msgpack.encode(effect)
    assert node_key(1).hex() not in repr(meeting.effects)
    assert "\\x" not in repr(meeting.memory)


def test_a_lost_answer_is_asked_again_with_the_key() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.accept()
    meeting.cut()
    meeting.pass_time(11)
    meeting.accept()
    bodies = [heard for heard in meeting.heard if isinstance(heard, RegisterBody)]
    assert [body.preauth_key for body in bodies] == ["k", "k"]


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


def test_heartbeats_keep_their_interval_and_carry_metrics_each_minute() -> None:
    meeting = joined()
    for _ in range(41):
        meeting.pass_time(3)
        for _ in meeting.take(Measure):
            meeting.machine.measured(NodeMetrics(load_factor=0.5), {7: 2}, meeting.now)
            meeting.settle()
        meeting.say(HeartbeatAck(utc=meeting.now.utc))
    beats = [heard for heard in meeting.heard if isinstance(heard, Heartbeat)]
    assert 4 <= len(beats) <= 5
    assert [beat.metrics is not None for beat in beats][:4] == [True, False, True, False]
    assert [beat.hits for beat in beats][:4] == [{7: 2}, {}, {7: 2}, {}]
    assert beats[0].digest == meeting.machine.netmap.digest


def test_an_unanswered_heartbeat_ends_the_connection() -> None:
    meeting = joined()
    meeting.pass_time(31)
    meeting.machine.measured(NodeMetrics(), {}, meeting.now)
    meeting.settle()
    meeting.pass_time(16)
    assert meeting.take(HangUp)
    assert meeting.machine.phase in ("waiting", "dialling")
    meeting.pass_time(11)
    assert meeting.dialled


def test_reconnects_with_full_jitter_between_half_a_second_and_ten() -> None:
    meeting = joined()
    meeting.take(Dial)
    meeting.cut()
    delays = []
    for _ in range(60):
        before = meeting.now.mono
        due = meeting.machine.poll_timeout()
        assert due is not None
        while not meeting.take(Dial):
            meeting.pass_time(0.05)
        delays.append(meeting.now.mono - before)
        meeting.cut()
    assert min(delays) >= 0.5
    assert max(delays) <= 10.06
    assert delays[0] <= 1.06
    assert max(delays[10:]) - min(delays[10:]) > 5


def test_retry_after_is_honoured() -> None:
    meeting = joined()
    meeting.take(Dial)
    meeting.say(ServerBye(reason="restart", retry_after=20.0))
    meeting.pass_time(20)
    assert not meeting.take(Dial)
    meeting.pass_time(1.1)
    assert meeting.take(Dial)


def test_a_refused_registration_ends_with_reason_and_advice() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.accept()
    meeting.say(Refusal(code="authentication", message="the key is used up", final=True))
    assert meeting.quit is not None
    assert meeting.quit.code == "authentication"
    assert "the key is used up" in meeting.quit.message
    assert "ghostwire key create" in meeting.quit.message


def test_a_refusal_of_what_was_asked_gives_no_advice_about_keys() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.accept()
    meeting.say(Refusal(code="validation", message="'wpad' is a name that no node may have", final=True))
    assert meeting.quit is not None
    assert meeting.quit.message == "the coordinator refused this node: 'wpad' is a name that no node may have."


def test_a_refusal_that_passes_is_tried_again() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.accept()
    meeting.say(Refusal(code="unavailable", message="starting", retry_after=5.0, final=True))
    assert meeting.quit is None
    meeting.take(Dial)
    meeting.pass_time(6.1)
    assert meeting.take(Dial)


ASTRAY = Refusal(code="unavailable", message="no address of this coordinator: add it to server.public_urls", final=True)


def test_a_wrong_way_ends_a_first_join_and_says_what_is_wrong() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.accept()
    meeting.say(ASTRAY)
    assert meeting.quit is not None
    assert meeting.quit.message == ASTRAY.message


def test_a_way_that_goes_wrong_later_cuts_nobody() -> None:
    meeting = joined(peer(2))
    steps(meeting)
    meeting.cut()
    meeting.pass_time(11)
    meeting.accept()
    meeting.take(Dial)
    meeting.say(ASTRAY)
    meeting.pass_time(11)
    assert steps(meeting) == []
    assert meeting.quit is None
    assert meeting.take(Dial)


def test_approval_is_awaited() -> None:
    meeting = Meeting()
    meeting.begin()
    meeting.accept()
    meeting.say(Pending(url="https://mesh.example/approve/1", retry_after=5.0))
    assert "https://mesh.example/approve/1" in meeting.machine.waiting_for
    meeting.pass_time(6.1)
    meeting.join()
    assert meeting.machine.waiting_for == ""
    assert meeting.machine.phase == "live"


def test_a_deleted_node_cuts_its_peers_at_once_and_ends() -> None:
    meeting = joined(peer(2))
    steps(meeting)
    meeting.say(Refusal(code="not_found", message="this node was deleted", final=True))
    assert steps(meeting) == [DropPeer(2)]
    meeting.pass_time(11)
    meeting.accept()
    meeting.say(Refusal(code="permission", message="this key is refused", final=True))
    assert meeting.quit is not None
    assert meeting.quit.code == "permission"


def test_rotation_keeps_the_new_key_before_it_asks() -> None:
    meeting = joined(peer(2))
    steps(meeting)
    meeting.effects.clear()
    meeting.say(RotateOrder(reason="asked"))
    [proposal] = [heard for heard in meeting.heard if isinstance(heard, RotateBody)]
    kept = [effect for effect in meeting.effects if isinstance(effect, Keep)]
    assert kept[0].now
    assert kept[0].memory.next_private
    assert meeting.effects.index(kept[0]) == min(
        index for index, effect in enumerate(meeting.effects) if not isinstance(effect, Say)
    )
    meeting.rotated()
    assert steps(meeting) == [SetKey(kept[0].memory.next_private)]
    assert meeting.memory.node_private == kept[0].memory.next_private
    assert meeting.memory.next_private == b""
    assert meeting.memory.token == "t2"
    assert proposal.new_key != proposal.node_key


def test_a_rotation_whose_answer_was_lost_is_found_again() -> None:
    meeting = joined()
    meeting.say(RotateOrder())
    fresh = meeting.memory.next_private
    assert fresh
    meeting.cut()
    meeting.pass_time(11)
    meeting.accept()
    meeting.say(Refusal(code="permission", message="refused for ever", final=True))
    assert meeting.quit is None
    meeting.accept()
    meeting.welcome()
    assert meeting.machine.phase == "live"
    assert meeting.memory.node_private == fresh
    assert meeting.memory.next_private == b""


def test_a_key_is_rotated_at_the_age_that_the_map_names() -> None:
    meeting = Meeting()
    meeting.network = msgspec.structs.replace(meeting.network, key_rotation_s=500.0)
    meeting.begin()
    meeting.join()
    for _ in range(50):
        meeting.pass_time(9.9)
        meeting.say(HeartbeatAck(utc=meeting.now.utc))
    assert not [heard for heard in meeting.heard if isinstance(heard, RotateBody)]
    meeting.pass_time(6)
    assert [heard for heard in meeting.heard if isinstance(heard, RotateBody)]
    meeting.rotated()
    born = meeting.memory.key_born
    assert born > START + 490 * SECOND


def test_endpoints_are_told_once_a_session_and_when_they_change() -> None:
    meeting = Meeting()
    meeting.machine.set_endpoints(("192.0.2.1:1",))
    meeting.begin()
    meeting.join()
    meeting.machine.set_endpoints(("192.0.2.1:1",))
    meeting.machine.set_endpoints(("192.0.2.1:1", "192.0.2.9:1"))
    meeting.settle()
    told = [heard.endpoints for heard in meeting.heard if isinstance(heard, Endpoints)]
    assert told == [("192.0.2.1:1",), ("192.0.2.1:1", "192.0.2.9:1")]


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


def test_leaving_for_now_keeps_and_leaving_for_good_forgets() -> None:
    meeting = joined(peer(2))
    meeting.machine.stop(meeting.now)
    meeting.settle()
    assert meeting.heard[-1] == NodeBye()
    assert not meeting.take(Forget)
    assert meeting.quit == Quit()
    meeting = joined(peer(2))
    meeting.machine.logout(meeting.now)
    meeting.settle()
    assert meeting.heard[-1] == NodeBye(logout=True)
    assert not meeting.take(Forget)
    meeting.say(ServerBye(reason="gone"))
    assert meeting.take(Forget)
    assert meeting.quit == Quit()


def test_logout_needs_a_session_and_the_coordinators_word() -> None:
    meeting = joined()
    meeting.cut()
    with pytest.raises(UnavailableError, match="--force"):
        meeting.machine.logout(meeting.now)
    meeting = joined()
    meeting.machine.logout(meeting.now)
    meeting.settle()
    meeting.pass_time(10.1)
    assert not meeting.take(Forget)
    assert meeting.quit is not None
    assert meeting.quit.code == "unavailable"
