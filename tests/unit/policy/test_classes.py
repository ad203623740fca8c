"""What nodes are told apart by, and what not: classes are what filters and maps grow with."""

import json
from typing import Any

import numpy as np
import pytest

from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts, default_policy

COUNT = 300
USERS = [UserFacts(id=number, name=f"u{number}") for number in range(COUNT)]
NODES = [
    NodeFacts(id=number, user=number, addresses=(f"100.64.{number >> 8}.{number & 255}",)) for number in range(COUNT)
]
OWN = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
TO_WEB = {"action": "accept", "src": ["group:web"], "dst": ["tag:web:443"]}


def policy(*acls: dict[str, Any], **sections: Any) -> Policy:
    known = {"groups": {"group:web": ["u1@", "u2@"]}, "tagOwners": {"tag:web": []}}
    return Policy.parse(json.dumps(known | {"acls": acls} | sections))


@pytest.mark.parametrize("written", [default_policy(), policy(OWN), policy(OWN, TO_WEB)])
def test_owners_are_told_apart_beside_classes(written: Policy) -> None:
    """However many users have devices of their own, whom no rule names."""
    engine = Engine.build(written, USERS, NODES)
    assert len({engine.class_of(node.id) for node in NODES}) <= 2
    engine.join(NodeFacts(id=COUNT, user=7, addresses=("100.65.0.1",)))
    assert list(engine.visible(COUNT)) == [7]
    assert not engine.decide(COUNT, 8, 6, 22)


def test_logins_and_attributes_tell_nobody_apart() -> None:
    """Neither is part of a filter."""
    named = {
        "nodeAttrs": [{"target": [f"u{number}@"], "attr": [f"funnel{number}"]} for number in range(COUNT)],
        "ssh": [
            {"action": "accept", "src": [f"u{number}@"], "dst": ["autogroup:self"], "users": [f"local{number}"]}
            for number in range(COUNT)
        ],
    }
    engine = Engine.build(policy(OWN, **named), USERS, NODES)
    assert len({engine.class_of(node.id) for node in NODES}) == 1
    assert "funnel9" in engine.capabilities(9)
    assert "funnel9" not in engine.capabilities(8)
    assert "local9" in engine.ssh_rules(9)[0]["sshUsers"]


@pytest.mark.parametrize(
    ("asked", "classes"),
    [("attribute == 'funnel9'", 2), ("attribute NOT IN ['funnel9', 'funnel8']", 3), ("attribute IS SET", COUNT + 1)],
)
def test_attributes_tell_apart_where_a_condition_asks_for_them(asked: str, classes: int) -> None:
    written = policy(
        nodeAttrs=[{"target": [f"u{number}@"], "attr": [f"funnel{number}"]} for number in range(COUNT)],
        ghostwire={
            "conditions": {"condition:asked": [asked]},
            "grants": [{"src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["443"], "when": ["condition:asked"]}],
        },
    )
    web = NodeFacts(id=COUNT + 1, tags=("tag:web",), addresses=("100.65.0.1",))
    plain = NodeFacts(id=COUNT, user=COUNT, addresses=("100.65.0.2",))
    engine = Engine.build(written, [*USERS, UserFacts(id=COUNT, name="plain")], [*NODES, plain, web])
    assert len({engine.class_of(node.id) for node in (*NODES, plain)}) == classes
    reaches = {node.id for node in (*NODES, plain) if engine.decide(node.id, web.id, 6, 443)}
    everyone = set(range(COUNT + 1))
    expected = {2: {9}, 3: everyone - {8, 9}, COUNT + 1: everyone - {COUNT}}[classes]
    assert reaches == expected
    assert set(engine.visible(web.id)) == expected


@pytest.mark.parametrize("written", [default_policy(), policy(OWN, TO_WEB)])
def test_a_node_that_joins_a_known_class_changes_no_filter(written: Policy) -> None:
    web = NodeFacts(id=COUNT, tags=("tag:web",), addresses=("100.65.0.1",))
    engine = Engine.build(written, USERS, [*NODES, web])
    before = {node.id: engine.native_filter(node.id) for node in (*NODES, web)}
    for place, joins in enumerate((NodeFacts(id=COUNT + 1, user=1), NodeFacts(id=COUNT + 2, tags=("tag:web",)))):
        engine.join(NodeFacts(id=joins.id, user=joins.user, tags=joins.tags, addresses=(f"100.65.1.{place}",)))
        assert {number: engine.native_filter(number) for number in before} == before


def test_nodes_that_nobody_knows_may_nothing() -> None:
    """Whatever number they have: cells are looked up by it."""
    text = json.dumps({"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]})
    engine = Engine.build(Policy.parse(text), USERS, NODES)
    unknown = [COUNT, COUNT + 63, COUNT + 64, 2**16, 2**22 - 1, 2**22, 2**31, 2**32 - 1]
    for number in unknown:
        assert not engine.decide(number, 1, 6, 80)
        assert not engine.decide(1, number, 6, 80)
        assert not engine.decide(number, number, 6, 80)
    asked = np.array([1, *unknown], np.uint32)
    two, protos, ports = (
        np.full(len(asked), value, kind) for value, kind in ((2, np.uint32), (6, np.uint8), (80, np.uint16))
    )
    assert engine.decide_many(asked, two, protos, ports).tolist() == [True] + [False] * len(unknown)
    assert engine.decide_many(two, asked, protos, ports).tolist() == [True] + [False] * len(unknown)
