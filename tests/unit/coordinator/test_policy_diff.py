"""Differences of policies, against asking about every pair of nodes at every port that matters."""

import itertools
import random
from ipaddress import ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.policy_diff import Meaning, compare, only_removes
from ghostwire.coordinator.policy_edges import EdgeGroup
from ghostwire.coordinator.policy_groups import lone_addresses
from ghostwire.errors import ValidationError
from ghostwire.policy import POOLS, Engine, NodeFacts, Policy, UserFacts, default_policy

USERS = [UserFacts(id=i + 1, name=name, role="admin" if i == 0 else "member") for i, name in enumerate("abcd")]
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "other": 255, "sctp": 132}
PROBES = [
    (6, 21),
    (6, 22),
    (6, 23),
    (6, 80),
    (6, 443),
    (6, 65535),
    (17, 22),
    (17, 53),
    (17, 80),
    (1, 0),
    (47, 0),
    (255, 0),
]


def node(slot: int, user: int | None, tags: tuple[str, ...] = (), routes: tuple[str, ...] = ()) -> NodeFacts:
    addresses = (f"100.64.0.{slot + 1}", f"fd7a:115c:a1e0::{slot + 1:x}")
    return NodeFacts(id=slot, user=user, tags=tags, addresses=addresses, routes=routes)


def people(count: int, rng: random.Random) -> list[NodeFacts]:
    found = []
    for slot in range(count):
        tags = rng.choice([(), (), ("tag:web",), ("tag:db",), ("tag:web", "tag:db")])
        found.append(node(slot, None if tags else rng.randint(1, len(USERS)), tags))
    return found


def text(rng: random.Random) -> str:
    names = ["*", "a@", "b@", "group:g", "tag:web", "tag:db", "autogroup:member", "100.64.0.0/29", "h", "100.64.0.9"]
    ports = ["*", "22", "80,443", "20-25", "0-65535"]
    acls = []
    for _ in range(rng.randint(0, 4)):
        targets = [f"{rng.choice([*names, 'autogroup:self'])}:{rng.choice(ports)}" for _ in range(rng.randint(1, 2))]
        own = any(target.startswith("autogroup:self") for target in targets)
        sources = ["autogroup:member"] if own else rng.sample(names, rng.randint(1, 2))
        rule: dict[str, object] = {"action": "accept", "src": sources, "dst": targets}
        if rng.random() < 0.4:
            proto = rng.choice(["tcp", "udp", "icmp"])
            if proto == "icmp":
                rule["dst"] = [target.rpartition(":")[0] + ":*" for target in targets]
            rule["proto"] = proto
        acls.append(rule)
    policy = {
        "groups": {"group:g": ["b@", "c@"]},
        "hosts": {"h": "100.64.0.4"},
        "tagOwners": {"tag:web": [], "tag:db": []},
        "acls": acls,
    }
    return msgspec.json.encode(policy).decode()


def edited(policy: str, rng: random.Random) -> str:
    """Some rules gone, some come."""
    document, other = msgspec.json.decode(policy), msgspec.json.decode(text(rng))
    document["acls"] = [rule for rule in document["acls"] if rng.random() < 0.7] + other["acls"][:1]
    return msgspec.json.encode(document).decode()


def limited(policy: str, rng: random.Random) -> str:
    """The same with denials, and members and rules for a time."""
    names = ["*", "a@", "group:g", "group:h", "tag:web", "tag:db", "100.64.0.0/29", "h"]
    document = msgspec.json.decode(policy)
    denials = [
        {
            "src": [rng.choice(names)],
            "dst": [rng.choice(names)],
            "ip": rng.choice([[], ["22"], ["tcp:20-80", "udp:53"]]),
        }
        for _ in range(rng.randint(0, 3))
    ]
    document["ghostwire"] = {
        "groups": {
            "group:h": [{"member": "d@", "expires": rng.choice(["1980-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])}]
        },
        "grants": [{"src": ["group:h"], "dst": ["tag:db"], "ip": ["22"], "expires": "2100-01-01T00:00:00Z"}],
        "deny": denials,
    }
    return msgspec.json.encode(document).decode()


def meaning(policy: str, nodes: list[NodeFacts]) -> Meaning:
    parsed = Policy.parse(policy) if policy else default_policy()
    return Meaning(policy, Engine.build(parsed, USERS, nodes))


def whole(nodes: list[NodeFacts]) -> Directory:
    return Directory(tuple(USERS), tuple(nodes), POOLS)


def allows(access: tuple[str, ...], protocol: int, port: int) -> bool:
    for part in access:
        if part == "*":
            return True
        names, _, ports = part.partition(" ")
        if (255 if protocol == 47 else protocol) not in [NUMBERS[name] for name in names.split(",")]:
            continue
        spans = [span.partition("-") for span in ports.split(",") if span]
        if not spans or any(int(low) <= port <= int(high or low) for low, _, high in spans):
            return True
    return False


def listed(groups: tuple[EdgeGroup, ...], nodes: list[NodeFacts]) -> set[tuple[int, int, int, int]]:
    owner = {each.id: each.user for each in nodes}
    found = set()
    for group in groups:
        count = 0
        for source, target in itertools.product(group.sources, group.targets):
            same = owner[source] is not None and owner[source] == owner[target]
            if source == target or group.pairs == ("other owners" if same else "same owner"):
                continue
            count += 1
            found |= {(source, target, *probe) for probe in PROBES if allows(group.access, *probe)}
        assert group.count == count, group
    return found


def test_networks_are_asked_about_behind_routers_that_let_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    routers = [node(slot, None, ("tag:web",), (f"10.{slot}.0.0/16",)) for slot in range(5)]
    nodes = [*routers, *(node(slot, 1 + slot % 4) for slot in range(5, 25))]
    rule = {"action": "accept", "src": ["a@"], "dst": [f"10.{slot}.0.0/16:443" for slot in range(5)]}
    other = {"action": "accept", "src": ["b@"], "dst": ["10.3.0.0/16:443"]}
    before, after = (
        meaning(msgspec.json.encode({"tagOwners": {"tag:web": []}, "acls": acls}).decode(), nodes)
        for acls in ([rule], [rule, other])
    )
    asked: set[str] = set()
    decide = Engine.decide_address

    def noted(engine: Engine, source: str, target: str, protocol: int, port: int) -> bool:
        asked.add(target)
        return decide(engine, source, target, protocol, port)

    monkeypatch.setattr(Engine, "decide_address", noted)
    found = compare(before, after, whole(nodes))
    assert [(edge.route, edge.targets, edge.count) for edge in found.gained] == [("10.3.0.0/16", (3,), 5)]
    assert asked == {"10.3.0.0"}


@pytest.mark.parametrize("most", [1, 7, 100])
def test_it_makes_no_difference_how_many_are_asked_about_at_once(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(most)
    nodes = people(12, rng)
    before, after = (meaning(text(rng), nodes) for _ in range(2))
    expected = compare(before, after, whole(nodes))
    assert expected.touched
    monkeypatch.setattr("ghostwire.coordinator.policy_diff.MOST_ASKED", most)
    assert compare(before, after, whole(nodes)) == expected


def test_differences_too_many_to_be_listed_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node(slot, 1 + slot) for slot in range(4)]
    before, after = (
        meaning(msgspec.json.encode({"acls": [{"action": "accept", "src": ["*"], "dst": to}]}).decode(), nodes)
        for to in (["a@:22"], [f"{name}@:22" for name in "abcd"])
    )
    listed_slots = sum(len(edge.sources) + len(edge.targets) for edge in compare(before, after, whole(nodes)).gained)
    for most in (5, listed_slots - 1):
        monkeypatch.setattr("ghostwire.coordinator.policy_edges.MOST_LISTED", most)
        with pytest.raises(ValidationError, match=f"{most}.*compare them in smaller steps"):
            compare(before, after, whole(nodes))
        assert only_removes(after, before, whole(nodes))
    monkeypatch.setattr("ghostwire.coordinator.policy_edges.MOST_LISTED", listed_slots)
    assert compare(before, after, whole(nodes)).gained


@pytest.mark.parametrize("seed", range(150))
def test_every_edge_is_listed_and_no_other(seed: int) -> None:
    rng = random.Random(seed)
    nodes = people(rng.choice([3, 8, 14]), rng)
    first = text(rng)
    before, after = meaning(first, nodes), meaning(rng.choice(["", text(rng), edited(first, rng)]), nodes)
    check_edges(before, after, nodes)


@pytest.mark.parametrize("seed", range(100))
def test_denials_and_limited_rules_are_told_apart_edge_by_edge(seed: int) -> None:
    rng = random.Random(1000 + seed)
    nodes = people(rng.choice([3, 8, 14]), rng)
    first = limited(text(rng), rng)
    second = rng.choice([limited(first, rng), edited(first, rng), text(rng)])
    check_edges(meaning(first, nodes), meaning(second, nodes), nodes)


def check_edges(before: Meaning, after: Meaning, nodes: list[NodeFacts]) -> None:
    found = compare(before, after, whole(nodes))
    gained, lost = set(), set()
    for left, right in itertools.permutations(nodes, 2):
        for probe in PROBES:
            was, now = (each.engine.decide(left.id, right.id, *probe) for each in (before, after))
            if was != now:
                (gained if now else lost).add((left.id, right.id, *probe))
    assert listed(found.gained, nodes) == gained
    assert listed(found.lost, nodes) == lost
    assert {edge[0] for edge in gained | lost} <= set(found.touched)
    assert only_removes(before, after, whole(nodes)) == (bool(found.lost) and not found.gained)


def test_the_same_policy_changes_nothing() -> None:
    nodes = people(10, random.Random(1))
    policy = text(random.Random(4))
    assert compare(meaning(policy, nodes), meaning(policy, nodes), whole(nodes)).touched == ()


def test_ports_are_spelled_as_ranges() -> None:
    nodes = [node(0, 1), node(1, None, ("tag:web",))]
    some = '{"tagOwners": {"tag:web": []}, "acls": [{"action": "accept", "src": ["a@"], "dst": ["tag:web:%s"]}]}'
    found = compare(meaning(some % "22,80-90", nodes), meaning(some % "22,85-100,443", nodes), whole(nodes))
    assert [edge.access for edge in found.gained] == [("tcp,udp 91-100,443",)]
    assert [edge.access for edge in found.lost] == [("tcp,udp 80-84",)]
    assert (found.gained[0].sources, found.gained[0].targets, found.gained[0].count) == ((0,), (1,), 1)


def test_groups_that_gain_the_same_are_listed_together() -> None:
    nodes = [node(0, 1), node(1, 2), node(2, 3), node(3, None, ("tag:web",)), node(4, None, ("tag:db",))]
    before = '{"tagOwners": {"tag:web": [], "tag:db": []}, "acls": []}'
    after = before.replace("[]}", '[{"action": "accept", "src": ["*"], "dst": ["tag:web:80", "tag:db:80"]}]}').replace(
        '"tag:db": [{"action": "accept", "src": ["*"], "dst": ["tag:web:80", "tag:db:80"]}]}', '"tag:db": []}'
    )
    found = compare(meaning(before, nodes), meaning(after, nodes), whole(nodes))
    assert not found.lost
    assert sum(edge.count for edge in found.gained) == 4 * 2
    assert len(found.gained) <= 3


def test_networks_behind_a_node() -> None:
    nodes = [node(0, 1), node(1, 2), node(2, None, ("tag:web",), ("10.0.0.0/16",))]
    some = '{"tagOwners": {"tag:web": []}, "acls": [{"action": "accept", "src": ["%s"], "dst": ["10.0.1.0/24:443"]}]}'
    found = compare(meaning(some % "a@", nodes), meaning(some % "b@", nodes), whole(nodes))
    assert [(edge.sources, edge.targets, edge.route, edge.access) for edge in found.gained] == [
        ((1,), (2,), "10.0.1.0/24", ("icmp,ipv6-icmp", "tcp,udp 443"))
    ]
    assert [edge.sources for edge in found.lost] == [(0,)]


def test_prefixes_within_each_other_behind_a_node() -> None:
    """A prefix is asked about where no narrower one is, or what the narrower one has would be taken for all."""
    nodes = [node(0, 1), node(1, None, ("tag:web",), ("10.0.0.0/8",))]
    rule = '{"tagOwners": {"tag:web": []}, "acls": [{"action": "accept", "src": ["a@"], "dst": ["%s:443"]}]}'
    narrow, wide = (meaning(rule % prefix, nodes) for prefix in ("10.0.0.0/24", "10.0.0.0/8"))
    gained, lost = compare(narrow, wide, whole(nodes)), compare(wide, narrow, whole(nodes))
    assert [edge.route for edge in gained.gained] == [edge.route for edge in lost.lost] == ["10.0.0.0/8"]
    assert not gained.lost
    assert not lost.gained
    assert only_removes(wide, narrow, whole(nodes))
    assert not only_removes(narrow, wide, whole(nodes))


@given(st.sets(st.tuples(st.integers(0, 31), st.integers(27, 32)), max_size=12))
def test_what_stands_for_a_prefix_is_the_first_address_in_no_narrower_one(drawn: set[tuple[int, int]]) -> None:
    networks = {ip_network((0x0A000000 + place, length), strict=False) for place, length in drawn}
    expected = {}
    for network in networks:
        within = [other for other in networks if other != network and other.subnet_of(network)]
        free = [address for address in network if not any(address in other for other in within)]
        if free:
            expected[str(network)] = str(free[0])
    assert lone_addresses(str(network) for network in networks) == expected


def test_addresses_written_with_escapes_tell_nodes_apart() -> None:
    """Two nodes of one user, of which a rule names the one's address: JSON may escape the slash."""
    nodes = [node(0, 1), node(1, 1), node(2, 2)]
    rule = r'{"acls": [{"action": "accept", "src": ["b@"], "dst": ["100.64.0.0\/31:22"]}]}'
    found = compare(meaning('{"acls": []}', nodes), meaning(rule, nodes), whole(nodes))
    assert [(edge.sources, edge.targets) for edge in found.gained] == [((2,), (0,))]
