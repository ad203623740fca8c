"""Whom an edited rule reaches."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from pyroaring import BitMap

from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts

RULES = """{
    "postures": {"posture:linux": ["node:os == 'linux'"]},
    "acls": [%s],
}"""
OWN = """{
    "action": "accept", "src": ["autogroup:member"], "srcPosture": ["posture:linux"], "dst": ["autogroup:self:*"],
}"""
ALICE = UserFacts(id=1, name="alice", email="", role="member")


def test_devices_beside_one_that_a_rule_of_owners_names_are_reached() -> None:
    """The rule names the class of the Linux machine alone, and opens the other one of its owner to it."""
    engine = Engine.build(Policy.parse(RULES % OWN), [ALICE], [])
    engine.join(device(1, os=""))
    engine.join(device(2, os="linux"))
    assert engine.edit(Policy.parse(RULES % "")) == BitMap([1, 2])
    assert not engine.native_filter(1)
    assert engine.edit(Policy.parse(RULES % OWN)) == BitMap([1, 2])
    assert engine.native_filter(1)


CROWDED = f"""
import json, resource, threading
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts
users = [UserFacts(id=number, name=f"u{{number}}") for number in range(200)]
nodes = [NodeFacts(id=user.id, user=user.id, addresses=(f"100.64.0.{{user.id}}",)) for user in users]
rules = [{{"action": "accept", "src": [f"u{{user.id}}@"], "dst": ["100.64.0.2:80"]}} for user in users]
edited = [*rules[:-1], rules[-1] | {{"dst": ["100.64.0.2:81"]}}]
before, after = (Policy.parse(json.dumps({{"acls": acls}})) for acls in (rules, edited))
engine = Engine.build(before, users, nodes)
threading.stack_size({2 << 20})
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + {3 << 19}
resource.setrlimit(resource.RLIMIT_AS, (size, size))
try:
    threading.Thread(target=print, args=("a thread",)).start()
except RuntimeError:
    answers = [engine.decide(199, 2, 6, port) for port in (80, 81)]
    engine.edit(after)
    print(*answers, *(engine.decide(199, 2, 6, port) for port in (80, 81)))
"""
"""Decides and edits with so little memory left that no thread is to be had: 1.5 MiB, where a stack takes 2 MiB."""


def test_a_policy_decides_and_is_edited_where_no_thread_is_to_be_had() -> None:
    done = subprocess.run([sys.executable, "-c", CROWDED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True False False True\n"), done.stderr[-500:]


def test_rules_that_stay_are_explained_where_they_stand_now() -> None:
    """A rule above them moves them down, in the section and in the text."""
    text = '{"acls": [\n%s{"action": "accept", "src": ["100.64.0.1"], "dst": ["100.64.0.2:80"]},\n]}'
    above = '{"action": "accept", "src": ["100.64.0.2"], "dst": ["100.64.0.1:22"]},\n'
    engine = Engine.build(Policy.parse(text % ""), [ALICE], [device(1, os=""), device(2, os="")])
    for edited, place in ((above, (1, 3)), (above * 2, (2, 4)), ("", (0, 2))):
        assert engine.edit(Policy.parse(text % edited)) is not None
        (rule,) = engine.explain(1, 2, 6, 80).rules
        assert (rule.index, rule.line) == place


@pytest.mark.parametrize("source", ["*", "alice@", "bob@", "tag:a", "group:team", "autogroup:member", "100.64.0.2/31"])
@pytest.mark.parametrize("target", ["*:80", "tag:a:80", "autogroup:tagged:80", "100.64.0.3:80"])
def test_a_name_that_no_rule_had_comes_into_use_at_once(source: str, target: str) -> None:
    """And the edited policy says what one says that was compiled with it."""
    text = """{
        "groups": {"group:team": ["bob@"]}, "tagOwners": {"tag:a": []},
        "acls": [{"action": "accept", "src": ["100.64.0.1"], "dst": ["100.64.0.2:80"]}%s],
    }"""
    users = [ALICE, UserFacts(id=2, name="bob")]
    bobs = NodeFacts(id=3, user=2, addresses=("100.64.0.3",))
    nodes = [device(1, os=""), device(2, os=""), bobs, NodeFacts(id=4, tags=("tag:a",), addresses=("100.64.0.4",))]
    engine = Engine.build(Policy.parse(text % ""), users, nodes)
    engine.decide(1, 2, 6, 80)
    before = [engine.visible(node.id) for node in nodes]
    rule = f', {{"action": "accept", "src": ["{source}"], "dst": ["{target}"]}}'
    affected = engine.edit(Policy.parse(text % rule))
    fresh = Engine.build(Policy.parse(text % rule), users, nodes)
    assert affected is not None
    assert engine.bindings == fresh.bindings
    for node, seen in zip(nodes, before, strict=True):
        assert engine.visible(node.id) == fresh.visible(node.id)
        assert node.id in affected or engine.visible(node.id) == seen
        for other in nodes:
            assert engine.decide(node.id, other.id, 6, 80) == fresh.decide(node.id, other.id, 6, 80)


def test_names_that_only_logins_and_tag_owners_use_are_bound_by_an_edit() -> None:
    text = '{"acls": [], "tagOwners": {"tag:web": [%s]}, "ssh": [%s]}'
    rule = '{"action": "accept", "src": ["alice@"], "dst": ["tag:web"], "users": ["root"]}'
    web = NodeFacts(id=2, tags=("tag:web",), addresses=("100.64.0.2",))
    engine = Engine.build(Policy.parse(text % ("", "")), [ALICE], [device(1, os=""), web])
    assert engine.edit(Policy.parse(text % ('"alice@"', rule))) == BitMap([2])
    assert engine.ssh_rules(2)
    assert engine.owns_tag(ALICE.id, "tag:web")


def test_decisions_stay_those_of_the_policy_while_rules_of_many_ports_are_edited() -> None:
    """Rows of cells with lists of port sets are patched again and again, also patched ones."""
    draw = random.Random(4)
    users = [UserFacts(id=i + 1, name=f"u{i}") for i in range(12)]
    nodes = [NodeFacts(id=i, user=i + 1, addresses=(f"100.64.0.{i + 1}",)) for i in range(12)]

    def rule() -> dict[str, object]:
        people = [f"u{i}@" for i in draw.sample(range(12), 4)]
        return {"action": "accept", "src": people[:2], "dst": [f"{name}:{draw.choice(ports)}" for name in people[2:]]}

    ports = [20, 21, 22, "20-21", 23]
    rules = [rule() for _ in range(150)]
    engine = Engine.build(Policy.parse(json.dumps({"acls": rules})), users, nodes)
    pairs = np.array([(s, t, port) for s in range(12) for t in range(12) for port in (20, 21, 22, 23)])
    asked = pairs[:, 0].astype(np.uint32), pairs[:, 1].astype(np.uint32), np.full(len(pairs), 6, np.uint8)
    for _ in range(60):
        engine.decide_many(*asked, pairs[:, 2].astype(np.uint16))
        rules[draw.randrange(len(rules))] = rule()
        policy = Policy.parse(json.dumps({"acls": rules}))
        assert engine.edit(policy) is not None
        fresh = Engine.build(policy, users, nodes)
        found = [one.decide_many(*asked, pairs[:, 2].astype(np.uint16)) for one in (engine, fresh)]
        assert found[0].any()
        assert (found[0] == found[1]).all()


def test_two_rules_far_apart_are_edited_at_once() -> None:
    """What lies between them, which is more than an edit takes over, stays as it is."""

    def policy(first: int, last: int) -> Policy:
        rules = [("100.64.0.1", f"100.64.0.2:{port}") for port in (first, *range(1000, 6000), last)]
        return Policy.parse(json.dumps({"acls": [{"action": "accept", "src": [s], "dst": [d]} for s, d in rules]}))

    engine = Engine.build(policy(22, 80), [ALICE], [device(1, os=""), device(2, os="")])
    for first, last in ((23, 81), (22, 82), (22, 83)):
        assert engine.edit(policy(first, last)) is not None
        opened = [port for port in (22, 23, 80, 81, 82, 83, 1000, 5999) if engine.decide(1, 2, 6, port)]
        assert opened == [first, last, 1000, 5999]
        (rule,) = engine.explain(1, 2, 6, last).rules
        assert rule.index == 5001


def test_what_differs_in_most_rules_is_built_anew() -> None:
    def policy(*ports: int) -> Policy:
        rules = [{"action": "accept", "src": ["100.64.0.1"], "dst": [f"100.64.0.2:{port}"]} for port in ports]
        return Policy.parse(json.dumps({"acls": rules}))

    engine = Engine.build(policy(80), [ALICE], [device(1, os="")])
    assert not engine.can_edit(policy(*range(1, 5000)))
    assert engine.edit(policy(*range(1, 5000))) is None
    assert engine.can_edit(policy(81))
    assert engine.edit(policy(81)) is not None


def device(number: int, os: str) -> NodeFacts:
    return NodeFacts(id=number, user=ALICE.id, tags=(), addresses=(f"100.64.0.{number}",), routes=(), os=os)
