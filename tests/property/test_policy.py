"""The compiled engine against its twin over random policies, networks and histories."""

import json
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.policy import Change, Engine, NodeFacts, Policy, UserFacts
from tests.reference.policy import Twin

USERS = [
    UserFacts(id=10 + i, name=name, email=f"{name}@example.com", role=role)
    for i, (name, role) in enumerate([("ann", "owner"), ("bob", "admin"), ("cat", "member"), ("dan", "member")])
]
TAGS = ["tag:a", "tag:b", "tag:c"]
GROUPS = {"group:x": ["ann@", "bob@example.com"], "group:y": ["cat@"], "group:none": []}
HOSTS = {"lan": "10.0.0.0/8", "box": "100.64.0.3", "half": "100.64.0.0/29", "six": "fd7a:115c:a1e0::/125"}
PREFIXES = ["100.64.0.0/28", "100.64.0.4/30", "100.64.0.9", "10.1.0.0/16", "fd7a:115c:a1e0::4/126", "fd7a:115c:a1e0::1"]
PEOPLE = [
    "ann@",
    "bob@example.com",
    "cat@",
    "nobody@",
    *GROUPS,
    "autogroup:member",
    "autogroup:owner",
    "autogroup:admin",
]
SELECTORS = ["*", "autogroup:tagged", *PEOPLE, *TAGS, *HOSTS, *PREFIXES]
PORTS = ["*", "22", "80-90", "22,443", "1-65535", "0-21"]
PROTOS = ["", "tcp", "udp", "icmp", "gre"]


def names(choices, most=3):
    return st.lists(st.sampled_from(choices), min_size=1, max_size=most, unique=True)


@st.composite
def acls(draw):
    proto = draw(st.sampled_from(PROTOS))
    ports = ["*"] if proto in ("icmp", "gre") else PORTS
    if draw(st.integers(0, 4)) == 0:
        src, dst = draw(names(["*", *PEOPLE])), [f"autogroup:self:{draw(st.sampled_from(ports))}"]
    else:
        src = draw(names(SELECTORS))
        dst = [f"{name}:{draw(st.sampled_from(ports))}" for name in draw(names(SELECTORS))]
    return {"action": "accept", "src": src, "dst": dst, **({"proto": proto} if proto else {})}


@st.composite
def grants(draw):
    ip = draw(names(["*", "22", "tcp:80-90", "udp:53", "icmp:*"]))
    if draw(st.integers(0, 4)) == 0:
        return {"src": draw(names(PEOPLE)), "dst": ["autogroup:self"], "ip": ip}
    return {"src": draw(names(SELECTORS)), "dst": draw(names(SELECTORS)), "ip": ip}


@st.composite
def policies(draw):
    sections = draw(st.sampled_from([("acls",), ("grants",), ("acls", "grants"), ()]))
    made = {"groups": GROUPS, "hosts": HOSTS, "tagOwners": {tag: ["ann@"] for tag in TAGS}}
    for section in sections:
        made[section] = draw(st.lists(acls() if section == "acls" else grants(), max_size=5))
    return made


@st.composite
def nodes(draw, node_id):
    tags = tuple(draw(names(TAGS, 2))) if draw(st.booleans()) else ()
    routes = tuple(draw(st.sampled_from([(), (), (), ("10.1.0.0/16",), ("10.0.0.0/8",), ("192.168.0.0/24",)])))
    last = draw(st.integers(0, 12))
    addresses = (f"100.64.0.{last}", f"fd7a:115c:a1e0::{last:x}")[: draw(st.integers(1, 2))]
    user = None if tags else draw(st.sampled_from([None, *(user.id for user in USERS)]))
    return NodeFacts(id=node_id, user=user, tags=tags, addresses=addresses, routes=routes)


def networks(most=8):
    return st.integers(0, most).flatmap(lambda n: st.tuples(*(nodes(i * 3) for i in range(n))))


def engine_of(policy, network):
    return Engine.build(Policy.parse(json.dumps(policy)), USERS, network)


@settings(max_examples=200, deadline=None)
@given(policies(), networks(), st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=40))
def test_decisions_are_the_twins(policy, network, pairs):
    engine, twin = engine_of(policy, network), Twin(policy, USERS, network)
    kinds = [(6, 22), (6, 85), (6, 443), (17, 53), (1, 0), (47, 0), (132, 22), (6, 65535), (6, 0)]
    asked = [(src, dst, *kind) for src, dst in pairs for kind in kinds]
    expected = [twin.decide(*question) for question in asked]
    assert [engine.decide(*question) for question in asked] == expected
    columns = np.array(asked, dtype=np.uint32).reshape(-1, 4).T
    types = (np.uint32, np.uint32, np.uint8, np.uint16)
    batch = [np.ascontiguousarray(column.astype(kind)) for column, kind in zip(columns, types, strict=True)]
    assert engine.decide_many(*batch).tolist() == expected
    assert engine.decide_each(pairs, kinds).ravel().tolist() == expected
    for src, dst, proto, port in asked[:20]:
        if src in twin.nodes and dst in twin.nodes:
            assert engine.explain(src, dst, proto, port).allowed == twin.decide(src, dst, proto, port)


@settings(max_examples=200, deadline=None)
@given(policies(), networks())
def test_visible_peers_are_the_twins(policy, network):
    engine, twin = engine_of(policy, network), Twin(policy, USERS, network)
    for node in network:
        assert set(engine.visible(node.id)) == twin.visible(node.id)


def test_a_wide_network_answers_as_its_twin():
    """Enough classes for several threads and parts of the cells, and nodes that see few of all."""
    draw = random.Random(11)
    count = 1_300
    people = [UserFacts(id=i + 1, name=f"u{i}", email=f"u{i}@example.com") for i in range(count)]
    address = [f"100.64.{i >> 8}.{i & 255}" for i in range(count)]
    network = [NodeFacts(id=i, user=i + 1, addresses=(address[i],)) for i in range(count)]
    pairs = [(draw.randrange(count), draw.randrange(count)) for _ in range(count)]
    acls = [
        {
            "action": "accept",
            "src": [f"u{src}@"],
            "dst": [f"u{dst}@:{draw.choice(PORTS)}"],
            "proto": draw.choice(PROTOS[:3]),
        }
        for src, dst in pairs
    ]
    acls.append({"action": "accept", "src": ["100.64.0.0/27"], "dst": ["100.64.1.0/28:443"]})
    policy = {"acls": acls}
    engine, twin = Engine.build(Policy.parse(json.dumps(policy)), people, network), Twin(policy, people, network)
    asked = [(*draw.choice(pairs), 6, draw.choice((22, 85, 443))) for _ in range(150)]
    asked += [(draw.randrange(40), 256 + draw.randrange(20), 6, 443) for _ in range(60)]
    assert [engine.decide(*question) for question in asked] == [twin.decide(*question) for question in asked]
    for i in [*range(0, 40, 3), *range(256, 276, 3), *(draw.randrange(count) for _ in range(40))]:
        seen = {right if left == i else left for left, right in pairs if i in (left, right)} - {i}
        if i < 32:
            seen |= set(range(256, 272))
        if 256 <= i < 272:
            seen |= set(range(32))
        assert set(engine.visible(i)) == seen
    acls.append({"action": "accept", "src": ["u5@", "u6@"], "dst": [f"u{i}@:22" for i in range(0, 900, 2)]})
    assert len(engine.edit(Policy.parse(json.dumps(policy))) or ()) > 450
    twin = Twin(policy, people, network)
    asked = [*asked[:60], *((draw.randrange(3, 9), draw.randrange(count), 6, 22) for _ in range(60))]
    assert [engine.decide(*question) for question in asked] == [twin.decide(*question) for question in asked]


def answers(engine, ids):
    """What a node is sent, as far as the policy decides: peers with class, owner, addresses and routes, and filter."""
    return {i: (set(engine.visible(i)), engine.class_of(i), engine.native_filter(i)) for i in ids}


def looks(facts):
    """What peers are told of a node, its class apart."""
    return facts.user, bool(facts.tags), facts.addresses, facts.routes


@st.composite
def histories(draw):
    steps = []
    for _ in range(draw(st.integers(1, 8))):
        node_id = draw(st.integers(0, 5)) * 3
        steps.append(draw(st.one_of(nodes(node_id), st.just(node_id))))
    return steps


@settings(max_examples=150, deadline=None)
@given(policies(), networks(5), histories())
def test_a_history_ends_where_a_fresh_compilation_begins(policy, network, history):
    engine, present = engine_of(policy, network), {node.id: node for node in network}
    for step in history:
        before = answers(engine, present)
        shown = dict(present)
        change = Change(node=step) if isinstance(step, NodeFacts) else Change(leave=step)
        foretold = engine.affected(change)
        if isinstance(step, NodeFacts):
            affected = engine.update(step)
            present[step.id] = step
        else:
            affected = engine.leave(step)
            present.pop(step, None)
        assert foretold >= affected
        after = answers(engine, present)
        for node_id in present.keys() | before.keys():
            sights = [side.get(node_id, (set(), None, ()))[0] for side in (before, after)]
            peers = [{(i, looks(facts[i])) for i in seen} for seen, facts in zip(sights, (shown, present), strict=True)]
            if peers[0] != peers[1] or before.get(node_id) != after.get(node_id):
                assert node_id in affected
    fresh, twin = engine_of(policy, present.values()), Twin(policy, USERS, present.values())
    for node_id in present:
        assert engine.visible(node_id) == fresh.visible(node_id)
        for other in present:
            for kind in ((6, 22), (17, 53), (1, 0)):
                assert engine.decide(node_id, other, *kind) == twin.decide(node_id, other, *kind)


@settings(max_examples=100, deadline=None)
@given(policies(), networks(), st.data())
def test_an_edited_policy_answers_as_a_fresh_one(policy, network, data):
    section = data.draw(st.sampled_from(["acls", "grants"]))
    if section not in policy:
        return
    engine = engine_of(policy, network)
    before = answers(engine, [node.id for node in network])
    rules = list(policy[section])
    place = data.draw(st.integers(0, len(rules)))
    rules[place : place + data.draw(st.integers(0, 2))] = data.draw(
        st.lists(acls() if section == "acls" else grants(), max_size=2)
    )
    edited = policy | {section: rules}
    affected = engine.edit(Policy.parse(json.dumps(edited)))
    if affected is None:
        return
    fresh, twin = engine_of(edited, network), Twin(edited, USERS, network)
    after = answers(engine, [node.id for node in network])
    for node in network:
        assert engine.visible(node.id) == fresh.visible(node.id)
        if before[node.id] != after[node.id]:
            assert node.id in affected
        for other in network:
            assert engine.decide(node.id, other.id, 6, 22) == twin.decide(node.id, other.id, 6, 22)


def test_the_affected_are_few_more_than_those_whose_map_changes():
    """A seeded history of a network of teams: joins, leaves, new addresses, new tags, new routes."""
    draw = random.Random(5)
    teams = [f"group:team{i}" for i in range(12)]
    people = [UserFacts(id=i, name=f"u{i}", email=f"u{i}@example.com") for i in range(60)]
    policy = {
        "groups": {team: [f"u{i}@" for i in range(60) if i % 12 == number] for number, team in enumerate(teams)},
        "tagOwners": {f"tag:t{i}": [] for i in range(12)},
        "acls": [{"action": "accept", "src": [team], "dst": [f"tag:t{i}:443"]} for i, team in enumerate(teams)]
        + [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}],
    }

    def some_node(node_id):
        tags = (f"tag:t{draw.randrange(12)}",) if draw.random() < 0.4 else ()
        address = (f"100.64.{draw.randrange(200)}.{node_id}",)
        routes = ("10.9.0.0/16",) if tags and draw.random() < 0.1 else ()
        return NodeFacts(
            id=node_id, user=None if tags else draw.randrange(60), tags=tags, addresses=address, routes=routes
        )

    present = {i: some_node(i) for i in range(120)}
    engine = Engine.build(Policy.parse(json.dumps(policy)), people, present.values())
    named = changed = 0
    for _ in range(150):
        node_id, before, shown = draw.randrange(140), answers(engine, present), dict(present)
        if node_id in present and draw.random() < 0.3:
            affected = engine.leave(node_id)
            del present[node_id]
        else:
            present[node_id] = some_node(node_id)
            affected = engine.update(present[node_id])
        after = answers(engine, present)
        really = {
            i
            for i in before.keys() | after.keys()
            if before.get(i) != after.get(i)
            or {(p, shown[p]) for p in before[i][0]} != {(p, present[p]) for p in after[i][0]}
        }
        assert set(affected) >= really
        named, changed = named + len(affected), changed + len(really | {node_id})
    assert named <= 1.2 * changed
