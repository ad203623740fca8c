"""What a policy text may say, and how a refusal is worded and placed."""

import json

import pytest

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts

ALICE = UserFacts(id=1, name="alice", email="alice@example.com", role="owner")
BOB = UserFacts(id=2, name="bob", email="bob@example.com")


def refused(text):
    with pytest.raises(ValidationError) as caught:
        Policy.parse(text)
    return caught.value.message


def rule(**fields):
    given = {"action": "accept", "src": ["*"], "dst": ["*:*"]} | fields
    return json.dumps({"tagOwners": {"tag:a": []}, "acls": [given]})


def test_comments_and_trailing_commas_are_read():
    policy = Policy.parse('// first\n{ /* rules */ "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"],},], }')
    assert len(policy) == 1
    assert not policy.allows_everything


@pytest.mark.parametrize(("text", "everything"), [("{}", True), ('{"acls": []}', False), ('{"grants": []}', False)])
def test_no_rules_section_is_not_an_empty_one(text, everything):
    assert Policy.parse(text).allows_everything is everything


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "aclz": []\n}', 'unknown field "aclz" (line 2, column 3; did you mean "acls"?)'),
        ('{"acls": [], "acls": []}', 'key "acls" occurs twice (line 1, column 14'),
        ('{"acls": [], "ACLs": []}', 'field "acls" occurs twice (line 1, column 14'),
        ('{"acls": [}', 'unexpected "}" (line 1, column 11'),
        ('{"acls": []', "the text ends too early"),
        ("", "the policy is empty (line 1, column 1"),
        ('{"acls": []} x', "text after the end of the policy (line 1, column 14"),
        ("{'acls': []}", "invalid HuJSON"),
        ("[]", "not an object (line 1, column 1"),
        (rule(action="deny"), 'action="deny" is not supported'),
        (rule(src=["tag:b"]), 'src=tag not found: "tag:b"'),
        (rule(dst=["tag:a:ssh"]), 'dst="tag:a:ssh": port range "ssh": invalid first integer'),
        (rule(dst=["tag:a:99999"]), 'port range "99999"'),
        (rule(dst=["tag:a:90-80"]), 'port range "90-80"'),
        (rule(dst=["tag:a"]), 'dst="tag:a"'),
        (rule(proto="tpc"), 'proto name "tpc" not known'),
        (rule(proto="icmp", dst=["tag:a:22"]), 'protocol "icmp" does not support specific ports'),
        (rule(src=["autogroup:self"]), '"autogroup:self" not valid on the src side of a rule'),
        (rule(src=["autogroup:admins"]), 'did you mean "autogroup:admin"?'),
        (rule(src=["alice"]), "users are written alice@"),
        ('{"groups": {"group:a": ["group:b"], "group:b": []}}', "group members cannot be recursive"),
        ('{"ipsets": {"ipset:a": ["add ipset:b"], "ipset:b": ["add ipset:a"]}}', "circular"),
        ('{"tagOwners": {"tag:1": []}}', "tag names must start with a letter, after 'tag:'"),
        ('{"hosts": {"a": "10.0.0.0/33"}}', 'hosts["a"]: invalid IP address or prefix'),
        ('{"grants": [{"src": ["*"], "dst": ["*"]}]}', "ip and app can not both be empty"),
        ('{"postures": {"posture:a": ["os = 1"]}}', "expected an attribute such as node:os"),
        ('{"randomizeClientPort": 1}', "randomizeClientPort is not a boolean"),
    ],
)
def test_a_refusal_says_what_and_where(text, message):
    found = refused(text)
    assert message in found
    assert "(line " in found


def test_a_column_counts_characters():
    assert "(line 2, column 10" in refused('{\n "é": 1, "é": 2}')


def test_bytes_and_lone_surrogates_are_placed():
    assert "0xff is not UTF-8 (line 2, column 3" in refused(b'{\n "\xff"}')
    assert "(line 1, column 3" in refused('{"\ud800"}')


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"acls":' + "[" * 5_000_000])
def test_nesting_is_bounded(text):
    assert "nested too deeply" in refused(text) or "unknown field" in refused(text)


def test_a_million_groups_are_read_in_bounded_time():
    text = json.dumps({"groups": {f"group:{i}": [] for i in range(1_000_000)}, "acls": []})
    assert len(Policy.parse(text)) == 0


def test_too_long_a_text_is_refused_unread():
    assert "at most 67108864 are read" in refused(" " * (64 * 1024 * 1024 + 1))


def test_cyclic_tag_owners_end():
    owners = {"tag:a": ["tag:b"], "tag:b": ["tag:a", "alice@"]}
    engine = Engine.build(Policy.parse(json.dumps({"tagOwners": owners})), [ALICE, BOB], [])
    assert engine.tags_allowed(1) == {"tag:a", "tag:b"}
    assert engine.tags_allowed(2) == frozenset()


def test_a_name_stays_with_its_first_bearer():
    text = json.dumps(
        {"tagOwners": {"tag:a": []}, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["tag:a:*"]}]}
    )
    nodes = [NodeFacts(id=0, user=1), NodeFacts(id=1, user=9), NodeFacts(id=2, tags=("tag:a",))]
    engine = Engine.build(Policy.parse(text), [ALICE], nodes)
    assert engine.bindings == {"alice@": 1}
    assert set(engine.visible(2)) == {0}
    other = UserFacts(id=9, name="alice", email="alice@elsewhere.org")
    assert set(engine.set_users([other])) >= {0, 2}
    assert set(engine.visible(2)) == set()
    renamed = UserFacts(id=1, name="alicia", email="alice@example.com")
    engine.set_users([renamed, other])
    assert set(engine.visible(2)) == set()
    engine.set_users([ALICE, other])
    assert set(engine.visible(2)) == {0}


@pytest.mark.parametrize("name", ["alice@", "alice@example.com"])
def test_a_user_is_named_by_login_or_by_email(name):
    rules = [{"action": "accept", "src": [name], "dst": ["tag:a:22"]}]
    policy = Policy.parse(json.dumps({"tagOwners": {"tag:a": []}, "acls": rules}))
    nodes = [NodeFacts(id=0, user=1), NodeFacts(id=1, user=2), NodeFacts(id=2, tags=("tag:a",))]
    engine = Engine.build(policy, [ALICE, BOB], nodes)
    assert engine.bindings == {name: 1}
    assert [engine.decide(source, 2, 6, 22) for source in (0, 1)] == [True, False]
    engine.set_users([UserFacts(id=1, name="alice", email="alice@elsewhere.org", role="owner"), BOB])
    assert engine.decide(0, 2, 6, 22) is (name == "alice@")


def test_a_name_is_bound_where_one_user_bears_it():
    """Names and e-mail addresses may look like each other's; one user may bear a name twice."""
    users = [("ann", "x@e"), ("x", "ann@e"), ("bob@e", ""), ("bob", "bob@e"), ("eve@e", "eve@e"), ("", "")]
    names = ["ann@", "x@", "x@e", "ann@e", "bob@", "bob@e", "bob@e@", "eve@e", "nobody@"]
    rules = [{"action": "accept", "src": names, "dst": ["*:*"]}]
    facts = [UserFacts(id=number, name=name, email=email) for number, (name, email) in enumerate(users, 1)]
    engine = Engine.build(Policy.parse(json.dumps({"acls": rules})), facts, [])
    bound = {"ann@": 1, "x@": 2, "x@e": 1, "ann@e": 2, "bob@": 4, "bob@e@": 3, "eve@e": 5}
    assert engine.bindings == bound
    engine.set_users(facts[:2] + facts[3:])
    assert engine.bindings == bound | {"bob@e": 4}


def test_postures_ask_of_the_source():
    text = json.dumps(
        {
            "tagOwners": {"tag:a": []},
            "postures": {"posture:new": ["node:os IN ['linux', 'macos']", "node:version >= '1.10'"]},
            "grants": [{"src": ["alice@"], "dst": ["tag:a"], "ip": ["22"], "srcPosture": ["posture:new"]}],
        }
    )
    facts = [("linux", "1.9.2"), ("linux", "1.10"), ("windows", "2.0"), ("macos", "1.10.3")]
    nodes = [NodeFacts(id=i, user=1, os=os, version=version) for i, (os, version) in enumerate(facts)]
    engine = Engine.build(Policy.parse(text), [ALICE], [*nodes, NodeFacts(id=9, tags=("tag:a",))])
    assert [engine.decide(i, 9, 6, 22) for i in range(4)] == [False, True, False, True]
    assert set(engine.visible(9)) == {1, 3}
    engine.update(NodeFacts(id=0, user=1, os="linux", version="1.11"))
    assert engine.decide(0, 9, 6, 22)


def test_ip_sets_add_and_remove():
    text = json.dumps(
        {
            "hosts": {"box": "100.64.0.2"},
            "ipsets": {"ipset:a": ["add 100.64.0.0/29", "remove box"], "ipset:b": ["ipset:a", "100.64.0.9"]},
            "acls": [{"action": "accept", "src": ["*"], "dst": ["ipset:b:*"]}],
        }
    )
    nodes = [NodeFacts(id=i, addresses=(f"100.64.0.{i}",)) for i in (1, 2, 9, 10)]
    engine = Engine.build(Policy.parse(text), [], nodes)
    assert [engine.decide(10, i, 6, 1) for i in (1, 2, 9, 10)] == [True, False, True, False]


def test_routes_are_approved_by_those_who_may():
    text = json.dumps(
        {
            "tagOwners": {"tag:a": []},
            "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:a"]}, "exitNode": ["alice@"]},
            "acls": [],
        }
    )
    engine = Engine.build(Policy.parse(text), [ALICE, BOB], [])
    tagged, own = NodeFacts(id=1, tags=("tag:a",)), NodeFacts(id=2, user=1)
    assert engine.approves(tagged, "10.1.0.0/16")
    assert not engine.approves(tagged, "192.168.0.0/16")
    assert not engine.approves(tagged, "0.0.0.0/0")
    assert engine.approves(own, "::/0")
    assert not engine.approves(NodeFacts(id=3, user=2), "::/0")


def test_addresses_behind_routers_are_decided():
    text = json.dumps(
        {
            "tagOwners": {"tag:r": []},
            "acls": [{"action": "accept", "src": ["alice@"], "dst": ["10.0.0.0/8:22"], "proto": "tcp"}],
        }
    )
    engine = Engine.build(
        Policy.parse(text),
        [ALICE, BOB],
        [
            NodeFacts(id=0, user=1, addresses=("100.64.0.1",)),
            NodeFacts(id=1, user=2, addresses=("100.64.0.2",)),
            NodeFacts(id=2, tags=("tag:r",), addresses=("100.64.0.3",), routes=("10.1.0.0/16",)),
        ],
    )
    assert engine.decide_address("100.64.0.1", "10.1.2.3", 6, 22)
    assert not engine.decide_address("100.64.0.1", "10.1.2.3", 6, 23)
    assert not engine.decide_address("100.64.0.2", "10.1.2.3", 6, 22)
    assert not engine.decide(0, 2, 6, 22)
    assert set(engine.visible(2)) == {0}


def test_an_edited_rule_touches_its_nodes():
    def text(port):
        acls = [
            {"action": "accept", "src": ["alice@"], "dst": [f"tag:a:{port}"]},
            {"action": "accept", "src": ["bob@"], "dst": ["tag:b:22"]},
        ]
        return json.dumps({"tagOwners": {"tag:a": [], "tag:b": []}, "acls": acls})

    nodes = [NodeFacts(id=i, user=i + 1) for i in range(2)]
    nodes += [NodeFacts(id=2, tags=("tag:a",)), NodeFacts(id=3, tags=("tag:b",))]
    engine = Engine.build(Policy.parse(text(22)), [ALICE, BOB], nodes)
    assert engine.decide(0, 2, 6, 22)
    assert set(engine.edit(Policy.parse(text(23)))) == {2}
    assert not engine.decide(0, 2, 6, 22)
    assert engine.decide(0, 2, 6, 23)
    assert engine.edit(Policy.parse("{}")) is None


def test_an_explanation_names_the_rule():
    text = (
        '{"tagOwners": {"tag:a": []},\n "acls": [\n  {"action": "accept", "src": ["alice@"], "dst": ["tag:a:22"]}\n]}'
    )
    nodes = [NodeFacts(id=0, user=1), NodeFacts(id=1, user=2), NodeFacts(id=2, tags=("tag:a",))]
    engine = Engine.build(Policy.parse(text), [ALICE, BOB], nodes)
    granted, wrong_port, wrong_user = (engine.explain(*q) for q in ((0, 2, 6, 22), (0, 2, 6, 80), (1, 2, 6, 22)))
    assert granted.allowed
    assert (granted.rules[0].line, granted.rules[0].column) == (3, 3)
    assert (wrong_port.allowed, wrong_port.rules[0].ports) == (False, False)
    assert (wrong_user.rules[0].source, wrong_user.rules[0].target) == (False, True)
    assert engine.explain(0, 77, 6, 22).rules == ()
