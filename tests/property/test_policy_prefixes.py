"""Answers about addresses once rules between prefixes are packed, against those of rules one by one and the twin."""

import json
import random
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.policy import Engine, Policy
from ghostwire.policy.prefixes import MANY, PrefixRules
from tests.property.test_policy import USERS
from tests.property.test_policy_own import TIMES, networks, own_policies
from tests.property.test_policy_shapes import ADDRESSES
from tests.reference.policy import Twin

KINDS = [(6, 22), (6, 85), (6, 65535), (17, 53), (1, 0), (58, 9), (47, 7), (132, 80), (255, 0)]
SPANS = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.1.2.2/31", "255.255.255.255/32", "128.0.0.0/1"]
SIX = ["::/0", "fd7a:115c:a1e0::/48", "fd7a:115c:a1e0::4/126", "fd7a:115c:a1e0::7/128", "ffff::/16", "::/128"]


def asked_often(policy, nodes, at=0):
    """An engine that has been asked so much that it has packed its rules."""
    engine = Engine.build(Policy.parse(json.dumps(policy)), USERS, nodes, at=at)
    ask_often(engine)
    return engine


def ask_often(engine):
    for _ in range(MANY):
        engine.decide_address("10.1.2.3", "192.168.0.9", 6, 22)


def test_what_was_packed_of_rules_that_are_others_by_then_is_left_behind(monkeypatch):
    """As when one thread packs them while another edits the policy."""
    before, after = (
        {"acls": [{"action": "accept", "src": ["10.0.0.0/8"], "dst": [f"192.168.0.9:{port}"]}]} for port in (22, 80)
    )
    engine = Engine.build(Policy.parse(json.dumps(before)), USERS, [])
    pack = PrefixRules.of

    def slowly(core):
        packed = pack(core)
        engine.edit(Policy.parse(json.dumps(after)))
        return packed

    monkeypatch.setattr(PrefixRules, "of", slowly)
    ask_often(engine)
    assert not engine.decide_address("10.1.2.3", "192.168.0.9", 6, 22)
    assert engine.decide_address("10.1.2.3", "192.168.0.9", 6, 80)


@st.composite
def tables(draw):
    """Rules between prefixes that lie in each other, side by side, and at the ends of all addresses."""
    pairs = st.one_of(*(st.tuples(st.sampled_from(spans), st.sampled_from(spans)) for spans in (SPANS, SIX)))
    ports = st.sampled_from(["*", "22", "80-90", "0", "65535", "53,85"])
    protocols = st.sampled_from(["", "tcp", "udp", "icmp", "gre"])
    rules = []
    for source, target in draw(st.lists(pairs, max_size=8)):
        proto = draw(protocols)
        kind = {"proto": proto} if proto else {}
        port = "*" if proto in ("icmp", "gre") else draw(ports)
        rules.append({"action": "accept", "src": [source], "dst": [f"{target}:{port}"], **kind})
    return {"acls": rules}


def edges(spans):
    """The first and last addresses of prefixes, and those beside them."""
    found = set()
    for span in spans:
        text, _, length = span.partition("/")
        first = ip_address(text)
        last = int(first) | ((1 << (first.max_prefixlen - int(length))) - 1)
        near = (int(first) - 1, int(first), last, last + 1)
        found |= {str(type(first)(one)) for one in near if 0 <= one < 1 << first.max_prefixlen}
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_packed_rules_say_at_their_edges_what_the_twin_says(policy, draw):
    engine, twin = asked_often(policy, []), Twin(policy, USERS, [])
    for side in (edges(SPANS), edges(SIX)):
        for _ in range(60):
            source, target, kind = draw.choice(side), draw.choice(side), draw.choice(KINDS)
            assert engine.decide_address(source, target, *kind) == twin.decide_address(source, target, *kind)
    assert not engine.decide_address("10.1.2.3", "::1", 6, 22)


@settings(max_examples=80, deadline=None)
@given(own_policies(), networks(), st.sampled_from(TIMES), st.sampled_from(TIMES), st.data())
def test_packed_rules_stay_beside_all_others(policy, network, at, later, data):
    """Denials, windows, conditions, names of users and groups, and rules that change after they were packed."""
    engine = asked_often(policy, network, at)
    draw = random.Random(data.draw(st.integers(0, 1000)))
    for now in (at, later):
        fresh = Engine.build(Policy.parse(json.dumps(policy)), USERS, network, at=now)
        for _ in range(60):
            question = draw.choice(ADDRESSES), draw.choice(ADDRESSES), *draw.choice(KINDS)
            assert engine.decide_address(*question) == fresh.decide_address(*question)
        engine.turn(later)
        ask_often(engine)


def test_rules_are_packed_again_after_an_edit():
    def policy(port):
        return {"acls": [{"action": "accept", "src": ["10.0.0.0/8"], "dst": [f"192.168.0.0/16:{port}"]}]}

    engine = asked_often(policy(22), [])
    assert engine.decide_address("10.1.2.3", "192.168.0.9", 6, 22)
    assert engine.edit(Policy.parse(json.dumps(policy(80)))) is not None
    for _ in range(2):
        assert not engine.decide_address("10.1.2.3", "192.168.0.9", 6, 22)
        assert engine.decide_address("10.1.2.3", "192.168.0.9", 6, 80)
        ask_often(engine)
