"""A session in virtual time: heartbeats, endpoints, and coming back when it is lost."""

import pytest

from ghostwire.agent.effects import Dial, HangUp, Measure
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeMetrics
from ghostwire.wire.messages import Endpoints, Heartbeat, HeartbeatAck, ServerBye
from tests.unit.agent.meeting import Meeting, joined

FLOW = Flow(rx_packets=1, rx_bytes=84, tx_packets=2, tx_bytes=168)


def test_heartbeats_keep_their_interval_and_carry_metrics_each_minute() -> None:
    meeting = joined()
    for _ in range(41):
        meeting.pass_time(3)
        for _ in meeting.take(Measure):
            meeting.machine.measured(NodeMetrics(load_factor=0.5), {7: 2}, {8: FLOW}, meeting.now)
            meeting.settle()
        meeting.say(HeartbeatAck(utc=meeting.now.utc))
    beats = [heard for heard in meeting.heard if isinstance(heard, Heartbeat)]
    assert 4 <= len(beats) <= 5
    assert [beat.metrics is not None for beat in beats][:4] == [True, False, True, False]
    assert [beat.hits for beat in beats][:4] == [{7: 2}, {}, {7: 2}, {}]
    assert [beat.flows for beat in beats][:4] == [{8: FLOW}, {}, {8: FLOW}, {}]
    assert beats[0].digest == meeting.machine.netmap.digest


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


def test_an_unanswered_heartbeat_ends_the_connection() -> None:
    meeting = joined()
    meeting.pass_time(31)
    meeting.machine.measured(NodeMetrics(), {}, {}, meeting.now)
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


@pytest.mark.parametrize("asked", [86_400.0, float("inf")])
def test_nobody_keeps_a_node_away_for_long(asked: float) -> None:
    meeting = joined()
    meeting.take(Dial)
    meeting.machine.lost("the proxy answered 503", meeting.now, asked)
    meeting.pass_time(602.0)
    assert meeting.take(Dial)
