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


NOW = 1_795_000_000_000_000_000
OWN = ["schedules", "conditions", "groups", "grants", "acls", "deny", "requests"]
OWN_WORDS = [
    *("days", "hours", "zone", "schedule", "expires", "when", "member", "priority", "name", "approvers", "longest"),
    *("mon-fri", "sun", "09:00-17:30", "22:00-06:00", "00:00-24:00", "24:00-00:00", "99:99-1:1", "Europe/Berlin", "s"),
    *("2026-12-01T00:00:00Z", "2026-02-30T00:00:00Z", "1969-12-31T00:00:00Z", "condition:a", "os == 'linux'", "4h"),
    *("tag == 'tag:a'", "attribute != 'x'", "version >=", "tag < 'a'", "autogroup:member", "tcp:22", "-5", "1e3"),
]
OWN_LEAVES = st.one_of(LEAVES, st.sampled_from(OWN_WORDS))
OWN_ENTRIES = st.dictionaries(
    st.sampled_from([*OWN_WORDS[:11], "src", "dst", "ip", "a@", "tag:a", "group:a", "condition:a", "s"]),
    OWN_LEAVES | st.lists(OWN_LEAVES, max_size=3) | st.integers(-1, 2000),
    max_size=5,
)
OWN_SECTIONS = st.dictionaries(
    st.sampled_from(OWN),
    st.lists(OWN_ENTRIES, max_size=3)
    | st.dictionaries(
        st.sampled_from(["s", "group:a", "condition:a", "x"]),
        OWN_ENTRIES | st.lists(OWN_ENTRIES | OWN_LEAVES, max_size=3),
    )
    | OWN_LEAVES,
    max_size=4,
)


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
    engine.request(1, 1, ["tcp:22"])
    engine.lint()
    engine.turn(max(0, engine.next_turn(NOW)))
    for node in nodes:
        engine.visible(node.id)
        engine.decide(node.id, 1 - node.id, 6, 22)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_is_read_or_refused(text):
    judge(text)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS[:12]), DOCUMENTS, max_size=4).map(json.dumps))
def test_any_sections_are_read_or_refused(text):
    judge(text)


@settings(max_examples=300, deadline=None)
@given(OWN_SECTIONS)
def test_any_own_section_is_read_or_refused(own):
    judge(json.dumps({"tagOwners": {"tag:a": []}, "groups": {"group:a": ["a@"]}, "ghostwire": own}))


VALID = {
    "schedules": {"s": {"days": ["mon-fri"], "hours": ["09:00-17:30"], "zone": "Europe/Berlin"}},
    "conditions": {"condition:a": ["os == 'linux'"]},
    "groups": {"group:a": [{"member": "a@", "schedule": "s", "expires": "2026-12-01T00:00:00Z"}]},
    "grants": [{"src": ["group:a"], "dst": ["tag:a"], "ip": ["tcp:22"], "schedule": "s", "when": ["condition:a"]}],
    "deny": [{"src": ["a@"], "dst": ["tag:a"], "ip": ["tcp:22"], "priority": 5, "expires": "2026-12-01T00:00:00Z"}],
    "requests": [
        {"name": "r", "src": ["a@"], "dst": ["tag:a"], "ip": ["22"], "approvers": ["autogroup:admin"], "longest": "4h"}
    ],
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_valid_section_with_one_value_exchanged_is_read_or_refused(data):
    own = json.loads(json.dumps(VALID))
    place, key = own, data.draw(st.sampled_from(list(own)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(OWN_LEAVES | OWN_ENTRIES | st.lists(OWN_LEAVES, max_size=2))
    judge(json.dumps({"tagOwners": {"tag:a": []}, "groups": {"group:a": ["a@"]}, "ghostwire": own}))


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
