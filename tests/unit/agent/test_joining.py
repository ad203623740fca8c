"""How a node becomes one: its registration, its proof, and what the coordinator may answer."""

import msgspec

from ghostwire.agent.effects import Dial, Transmit
from ghostwire.agent.join import Join
from ghostwire.agent.plan import DropPeer
from ghostwire.model.node import NodeFacts
from ghostwire.wire.messages import HelloBody, Pending, Refusal, RegisterBody
from tests.unit.agent.meeting import Meeting, joined, node_key, peer, steps


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
