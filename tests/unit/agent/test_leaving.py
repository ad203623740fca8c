"""A node leaves, for now or for good."""

import pytest

from ghostwire.agent.effects import Forget, Quit
from ghostwire.errors import UnavailableError
from ghostwire.wire.messages import NodeBye, ServerBye
from tests.unit.agent.meeting import joined, peer


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
