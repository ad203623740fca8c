"""What nodes report of their traffic: added up until a flush, and only of whom they may see."""

from __future__ import annotations

import json

import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import ApplyPolicy
from ghostwire.model.flow import Flow
from ghostwire.testing.simnet import SimNet

ONE = Flow(rx_packets=1, rx_bytes=100, tx_packets=2, tx_bytes=50)
OWN = json.dumps({"acls": [{"action": "accept", "src": ["alice@"], "dst": ["autogroup:self:*"]}]})


@pytest.fixture
def net() -> SimNet:
    net = SimNet(Settings(), seed=5)
    key = net.key("alice")
    for name, secret in (("laptop", key), ("phone", key), ("other", net.key("bob"))):
        net.join(name, secret)
    net.ask(ApplyPolicy, text=OWN, author="test")
    return net


def test_reports_come_on_top_of_each_other(net: SimNet) -> None:
    laptop, phone = net.nodes["laptop"], net.nodes["phone"]
    net.beat(laptop, flows={phone.id: ONE})
    net.beat(laptop, flows={phone.id: ONE})
    net.beat(phone, flows={laptop.id: ONE})
    net.advance(10)
    expected = {(laptop.id, phone.id): ONE.plus(ONE), (phone.id, laptop.id): ONE}
    assert net.store.flows == expected
    net.advance(10)
    assert net.store.flows == expected


def test_what_a_node_says_of_those_it_cannot_see_is_left_out(net: SimNet) -> None:
    laptop, other = net.nodes["laptop"], net.nodes["other"]
    net.beat(laptop, flows={other.id: ONE, laptop.id: ONE, 4711: ONE})
    net.advance(10)
    assert net.store.flows == {}


def test_what_was_told_is_flushed_when_the_coordinator_stops(net: SimNet) -> None:
    laptop, phone = net.nodes["laptop"], net.nodes["phone"]
    net.beat(laptop, flows={phone.id: ONE})
    net.restart()
    assert net.store.flows == {(laptop.id, phone.id): ONE}
