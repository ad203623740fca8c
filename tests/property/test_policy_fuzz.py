"""Whatever text comes in, the answer is a policy or a refusal with a place."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts, replay

WORDS = [
    *("acls", "grants", "groups", "hosts", "ipsets", "tagOwners", "autoApprovers", "ssh", "nodeAttrs", "postures"),
    *("tests", "sshTests", "src", "dst", "ip", "app", "via", "action", "proto", "users", "target", "attr", "accept"),
    *("group:a", "tag:a", "tag:", "autogroup:self", "autogroup:internet", "*", "*:*", "tag:a:22", "a@b", "a@", "::/0"),
    *("10.0.0.0/8", "10.0.0.0/8:*", "0.0.0.0/0", "1.2.3.4", "fd00::/8:1-2", "[::1]:5", "ipset:a", "posture:a", "svc:a"),
    *("add ipset:a", "user:*@b", "localpart:*@b", "checkPeriod", "-1m", "9999999999h", "a/b", "routes", "exitNode"),
]
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=12))
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=40,
)
TEXTS = DOCUMENTS.map(json.dumps) | st.text(max_size=200) | st.text('{}[]",:/*\\ \n0ae-', max_size=120)


def judge(text):
    try:
        policy = Policy.parse(text)
    except ValidationError as error:
        assert "(line " in error.message
        assert ", column " in error.message
        return
    nodes = [NodeFacts(id=0, user=1, addresses=("100.64.0.1", "fd7a::1"), routes=("10.0.0.0/8", "0.0.0.0/0"))]
    nodes.append(NodeFacts(id=1, tags=("tag:a",), addresses=("1.2.3.4",)))
    engine = Engine.build(policy, [UserFacts(id=1, name="a", email="a@b")], nodes)
    for node in nodes:
        engine.visible(node.id)
        engine.native_filter(node.id)
        engine.packet_filter(node.id)
        engine.ssh_rules(node.id)
        engine.capabilities(node.id)
        engine.explain(0, node.id, 6, 22)
        engine.decide(node.id, 1 - node.id, 6, 22)
    engine.decide_address("1.2.3.4", "100.64.0.1", 6, 22)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_is_read_or_refused(text):
    judge(text)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS[:12]), DOCUMENTS, max_size=4).map(json.dumps))
def test_any_sections_are_read_or_refused(text):
    judge(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    judge(raw)


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
def test_any_line_is_answered_or_refused(document):
    try:
        list(replay.run([json.dumps(document), json.dumps({"input": document})]))
    except ValidationError as error:
        assert error.message.startswith("line ")
