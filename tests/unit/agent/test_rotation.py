"""A node's key is replaced."""

import msgspec

from ghostwire.agent.effects import Keep, Say
from ghostwire.agent.plan import SetKey
from ghostwire.model.time import SECOND
from ghostwire.wire.messages import HeartbeatAck, Refusal, RotateBody, RotateOrder
from tests.unit.agent.meeting import START, Meeting, joined, peer, steps


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
