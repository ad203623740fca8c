"""The document that scripts read."""

import json

from ghostwire.agent.status import PeerCounters, document, find_peer
from ghostwire.agent.traffic import Ledger, Traffic
from tests.unit.agent.meeting import Meeting, joined, peer

SHAPE = {
    "mode": str,
    "self": {"name": str, "ipv4": str, "ipv6": str, "key": str},
    "coordinator": {"url": str, "connected": bool, "position": (str, type(None)), "digest": str, "from_cache": bool},
    "peers": list,
}


def check(value: object, shape: object) -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict)
        assert set(value) == set(shape)
        for name, inner in shape.items():
            check(value[name], inner)
    else:
        assert isinstance(value, shape)  # type: ignore[arg-type]


def test_the_shape_stands_before_and_after_the_first_map() -> None:
    meeting = Meeting()
    meeting.begin()
    before = document(meeting.machine, "userspace", {})
    check(before, SHAPE)
    assert before["self"]["ipv4"] == ""
    after = document(joined(peer(2)).machine, "tun", {2: PeerCounters(2, "192.0.2.2:1", 1.5, 1, 10, 20, 0.4)})
    check(after, SHAPE)
    assert json.loads(json.dumps(after)) == after
    assert after["peers"] == [
        {
            "name": "node2",
            "ipv4": "100.64.0.2",
            "ipv6": "fd7a:115c:a1e0::2",
            "online": True,
            "path": "direct",
            "reason": "",
            "endpoint": "192.0.2.2:1",
            "last_handshake_s": 1.5,
            "rtt_ms": 0.4,
            "rx_bytes": 10,
            "tx_bytes": 20,
        }
    ]


def test_a_peer_that_is_not_reached_says_why() -> None:
    meeting = joined(
        peer(2, online=False, endpoints=()),
        peer(3, endpoints=()),
        peer(4),
        peer(5),
        peer(6),
    )
    counters = {5: PeerCounters(5, None, None, 0, 0, 296), 6: PeerCounters(6, "192.0.2.6:1", 400.0, 1, 5, 5)}
    why = {one["name"]: one["reason"] for one in document(meeting.machine, "tun", counters)["peers"]}
    assert why == {
        "node2": "it is offline",
        "node3": "it has no endpoint that this node could reach",
        "node4": "idle: nothing was sent lately",
        "node5": "it does not answer at any of its endpoints",
        "node6": "idle: nothing was exchanged for a while",
    }
    meeting.machine.halted = True
    assert "too long" in document(meeting.machine, "tun", {})["peers"][0]["reason"]


def test_peers_are_found_by_name_full_name_and_address() -> None:
    machine = joined(peer(2), peer(3)).machine
    for wanted in ("node3", "NODE3", "node3.mesh", "node3.mesh.", "100.64.0.3", "fd7a:115c:a1e0::3"):
        found = find_peer(machine, wanted)
        assert found is not None
        assert found.id == 3
    assert find_peer(machine, "node4") is None
    assert find_peer(machine, "mesh") is None


def test_traffic_adds_up_across_restarts_of_the_counters() -> None:
    ledger = Ledger({2: Traffic(2, "two", 100, 200)})
    assert ledger.count(2, "two", 10, 20) == Traffic(2, "two", 110, 220)
    assert ledger.count(2, "two", 10, 20) is None
    assert ledger.count(2, "two", 15, 20) == Traffic(2, "two", 115, 220)
    assert ledger.count(2, "zwei", 3, 4) == Traffic(2, "zwei", 118, 224)
    assert ledger.count(3, "three", 0, 0) is None
