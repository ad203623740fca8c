"""The tunnel as the agent drives it: two nodes in userspace on loopback, real packets."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ghostwire.agent.io.tunnel import TunnelDriver, parse_expose, parse_forward
from ghostwire.agent.plan import Plan
from ghostwire.agent.wishes import Wishes
from ghostwire.errors import PermissionDeniedError, ValidationError
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.position import Position
from ghostwire.model.time import SECOND
from ghostwire.wire.keys import public_key
from ghostwire.wire.messages import MapFull, Parts
from ghostwire.wire.netmap import Dns, Filter, NetMap, Network, Peer, Relays, SelfNode, encode_part
from tests.unit.agent.meeting import START, node_key

OWN_DEVICES = (FilterRule(same_owner=True),)
PING_S = 10.0


class Node:
    """One node: its tunnel, and the map that it is told."""

    def __init__(self, number: int, wishes: Wishes | None = None) -> None:
        self.number = number
        self.owner = 1
        self.driver = TunnelDriver.open(wishes or Wishes(port=0, userspace=True), node_key(number))
        self.plan = Plan()
        self.netmap = NetMap()
        self.private = node_key(number)

    def peer(self, **changes: object) -> Peer:
        known = Peer(
            id=self.number,
            name=f"node{self.number}",
            key=public_key(self.private),
            ipv4=f"100.64.0.{self.number}",
            ipv6=f"fd7a:115c:a1e0::{self.number}",
            class_id=self.owner,
            owner=self.owner,
            online=True,
            endpoints=(f"127.0.0.1:{self.driver.port}",),
        )
        return msgspec.structs.replace(known, **changes)

    def tell(
        self,
        *peers: Peer,
        rules: tuple[FilterRule, ...] = OWN_DEVICES,
        ends: tuple[SightEnd, ...] = (),
        utc: int = START,
    ) -> None:
        own = self.peer()
        parts = Parts(
            self=encode_part(
                SelfNode(
                    id=own.id, name=own.name, key=own.key, ipv4=own.ipv4, ipv6=own.ipv6, class_id=1, owner=self.owner
                )
            ),
            filter=encode_part(Filter(rules=rules, ends=ends)),
            dns=encode_part(Dns(domain="mesh")),
            relays=encode_part(Relays()),
            network=encode_part(Network(id="n", domain="mesh", max_age_s=1e6, heartbeat_s=30.0)),
            peers={one.id: encode_part(one) for one in peers},
        )
        self.netmap.apply_page(MapFull(page=0, parts=parts, last=True, position=Position(b"l", 1, b"b", 1)))
        self.tune(utc)

    def tune(self, utc: int = START, halted: bool = False) -> None:
        self.driver.apply(self.plan.steps(self.netmap, self.private, utc, halted), utc)


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    one, two = Node(1), Node(2)
    yield one, two
    one.driver.close()
    two.driver.close()


def test_nodes_of_one_owner_ping_each_other_both_ways(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.tell(two.peer())
    two.tell(one.peer())
    assert one.driver.mode == "userspace"
    rtt = one.driver.ping("100.64.0.2", PING_S)
    assert rtt is not None
    assert rtt > 0
    assert two.driver.ping("fd7a:115c:a1e0::1", PING_S) is not None
    counters = one.driver.counters()[2]
    assert counters.alive
    assert counters.endpoint == f"127.0.0.1:{two.driver.port}"
    assert counters.rx_bytes > 0
    assert one.driver.totals()[0] > 0


def test_nodes_of_different_owners_reach_nobody(pair: tuple[Node, Node]) -> None:
    one, two = pair
    two.owner = 2
    one.tell(two.peer())
    two.tell(one.peer())
    assert one.driver.ping("100.64.0.2", 1.0) is None


def test_a_peer_that_is_dropped_is_cut_while_data_flows(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    with socket.create_server(("127.0.0.1", 0)) as sink:
        two.driver.serve(Wishes(exposes=(f"5201=127.0.0.1:{sink.getsockname()[1]}",)), tmp_path)
        path = tmp_path / "forward"
        one.driver.serve(Wishes(forwards=(f"unix:{path}=node2.mesh:5201",)), tmp_path)
        one.tell(two.peer())
        two.tell(one.peer())
        with socket.socket(socket.AF_UNIX) as source:
            source.connect(str(path))
            source.settimeout(PING_S)
            source.sendall(b"hello")
            sink.settimeout(PING_S)
            arrived, _ = sink.accept()
            assert arrived.recv(5) == b"hello"
            ended = threading.Event()

            def flood() -> None:
                try:
                    while True:
                        source.sendall(b"x" * 65536)
                except OSError:
                    ended.set()

            threading.Thread(target=flood, daemon=True).start()
            arrived.settimeout(PING_S)
            assert arrived.recv(1 << 16)
            two.tell()
            one.tell()
            assert ended.wait(2 * 5)
            arrived.close()
    assert one.driver.counters() == {}
    assert one.driver.ping("100.64.0.2", 0.5) is None


def test_a_filter_that_changes_judges_what_runs(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.tell(two.peer())
    two.tell(one.peer())
    assert one.driver.ping("100.64.0.2", PING_S) is not None
    two.tell(one.peer(), rules=())
    assert one.driver.ping("100.64.0.2", 0.7) is None
    # What two began itself is answered.
    assert two.driver.ping("100.64.0.1", PING_S) is not None


def test_a_peer_ends_in_the_tunnel_too(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.tell(two.peer())
    two.tell(one.peer(), ends=(SightEnd(nodes=(1,), until=START + SECOND),))
    assert one.driver.ping("100.64.0.2", PING_S) is not None
    two.tune(START + 2 * SECOND)
    assert two.driver.counters() == {}
    assert one.driver.ping("100.64.0.2", 0.7) is None


def test_a_rotated_key_goes_on_with_the_same_peer(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.tell(two.peer())
    two.tell(one.peer())
    assert one.driver.ping("100.64.0.2", PING_S) is not None
    two.private = node_key(77)
    two.tune()
    one.tell(two.peer())
    assert one.driver.ping("100.64.0.2", PING_S) is not None
    assert two.driver.ping("100.64.0.1", PING_S) is not None


def test_one_peer_that_cannot_be_does_not_keep_another_from_being_cut(pair: tuple[Node, Node]) -> None:
    one, two = pair
    nine = two.peer(id=9, key=public_key(node_key(9)), ipv4="100.64.0.9", ipv6="", name="nine")
    one.tell(two.peer(), nine)
    two.tell(one.peer())
    assert one.driver.ping("100.64.0.2", PING_S) is not None
    one.tell(msgspec.structs.replace(nine, routes=("no network",)))
    assert one.driver.counters() == {}


def test_halting_cuts_everybody_and_back(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.tell(two.peer())
    two.tell(one.peer())
    one.tune(halted=True)
    assert one.driver.counters() == {}
    one.tune()
    assert one.driver.ping("100.64.0.2", PING_S) is not None


def test_credentials_that_others_may_read_are_refused(pair: tuple[Node, Node], tmp_path: Path) -> None:
    file = tmp_path / "proxy.auth"
    file.write_text("user:password\n")
    file.chmod(0o644)
    with pytest.raises(PermissionDeniedError, match="chmod 600"):
        pair[0].driver.serve(Wishes(socks5="127.0.0.1:0"), tmp_path)
    file.chmod(0o600)
    assert "127.0.0.1:" in pair[0].driver.serve(Wishes(socks5="127.0.0.1:0"), tmp_path)[0]


def test_proxies_stay_on_this_machine_unless_opened(pair: tuple[Node, Node], tmp_path: Path) -> None:
    for wide in (Wishes(socks5="0.0.0.0:0"), Wishes(socks5="[::]:0"), Wishes(forwards=("192.0.2.1:0=two:80",))):
        with pytest.raises(ValidationError, match="--open-proxy"):
            pair[0].driver.serve(wide, tmp_path)
    pair[0].driver.serve(Wishes(socks5="0.0.0.0:0", open_proxy=True), tmp_path)


def test_forwards_and_exposes_are_spelled_one_way() -> None:
    assert parse_forward("127.0.0.1:80=web:8080") == ("127.0.0.1:80", "web", 8080)
    assert parse_forward("unix:/run/x=[fd7a::1]:22") == ("unix:/run/x", "fd7a::1", 22)
    assert parse_expose("80=127.0.0.1:8080") == (80, "127.0.0.1:8080")
    for wrong in ("", "a", "a=b", "a=b:0", "=b:1", "a=:1", "a=b:65536", "a=b:x"):
        with pytest.raises(ValidationError):
            parse_forward(wrong)
    for wrong in ("", "80", "x=y", "80=", "0=y", "70000=y"):
        with pytest.raises(ValidationError):
            parse_expose(wrong)
