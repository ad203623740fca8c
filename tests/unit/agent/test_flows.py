"""What was exchanged with peers, until it is reported."""

from ghostwire.agent.flows import Flows
from ghostwire.model.flow import MOST_COUNT, Flow
from ghostwire.wire import codec
from ghostwire.wire.messages import MAX_FLOWS, Heartbeat


def received(count: int) -> Flow:
    return Flow(rx_packets=1, rx_bytes=count)


def test_a_report_has_the_most_bytes_and_the_others_come_later() -> None:
    flows = Flows()
    flows.add({peer: received(peer + 1) for peer in range(MAX_FLOWS + 2)})
    first = flows.take()
    assert len(first) == MAX_FLOWS
    assert min(told.rx_bytes for told in first.values()) == 3
    flows.add({0: Flow(1, 4, 2, 7)})
    assert flows.take() == {0: Flow(2, 5, 2, 7), 1: received(2)}
    assert flows.take() == {}


def test_what_the_longest_absence_makes_still_fits_a_heartbeat() -> None:
    flows = Flows()
    for _ in range(2):
        flows.add({7: Flow(MOST_COUNT, MOST_COUNT, MOST_COUNT, MOST_COUNT)})
    told = flows.take()
    assert codec.decode_from_node(codec.encode(Heartbeat(flows=told))) == Heartbeat(flows=told)
