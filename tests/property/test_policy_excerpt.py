"""A node's packet filter, which is made of what concerns it alone, against those of whole networks."""

import json

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, NodeFacts, Policy, compile, directory
from ghostwire.policy.replay import run
from tests.property.test_policy import PEOPLE, SELECTORS, TAGS, USERS, acls, grants, names
from tests.property.test_policy_own import networks, own_policies, reporting

APPS = ["tailscale.com/cap/drive", "tailscale.com/cap/relay", "example.com/cap/a"]
POSTURES = {"posture:linux": ["node:os == 'linux'"], "posture:old": ["node:version == '1.1'"]}


@st.composite
def special_grants(draw):
    """Capabilities, routers to go through, conditions: what is written otherwise than plain rules."""
    kind = draw(st.sampled_from(["app", "own app", "via", "posture"]))
    if kind == "via":
        targets = names(["10.1.0.0/16", "lan", "autogroup:internet", "192.168.0.0/24"], 2)
        return {"src": draw(names(SELECTORS)), "dst": draw(targets), "ip": ["*"], "via": draw(names(TAGS, 2))}
    if kind == "posture":
        return draw(grants()) | {"srcPosture": draw(names(sorted(POSTURES), 2))}
    given_to = names(["autogroup:self"]) if kind == "own app" else names(SELECTORS)
    sources = names(PEOPLE) if kind == "own app" else names(SELECTORS)
    return {"src": draw(sources), "dst": draw(given_to), "app": {draw(st.sampled_from(APPS)): [{"x": 1}]}}


@st.composite
def cases(draw):
    policy = draw(own_policies()) | {"postures": POSTURES}
    if draw(st.booleans()):
        # Few names, so that rules have the same sources under other names.
        few = st.sampled_from(["ann@", "cat@", "group:y", "autogroup:owner", "autogroup:member", "100.64.0.9", "*"])
        sources = st.lists(few, min_size=1, max_size=2, unique=True)
        targets = st.sampled_from(["tag:a:22", "ann@:22", "cat@:80", "autogroup:member:443", "box:22", "lan:80"])
        rules = st.fixed_dictionaries(
            {"action": st.just("accept"), "src": sources, "dst": st.lists(targets, max_size=2)}
        )
        policy["acls"] = policy.get("acls", []) + draw(st.lists(rules, max_size=6))
    if draw(st.booleans()):
        policy["grants"] = policy.get("grants", []) + draw(st.lists(special_grants(), max_size=4))
    try:
        Policy.parse(json.dumps(policy))
    except ValidationError:
        assume(False)
    return policy


@st.composite
def exits(draw):
    """A network in which some lead to the internet."""
    everywhere = ("0.0.0.0/0", "::/0")
    leads = st.booleans() if draw(st.booleans()) else st.just(False)
    return tuple(replace(node, routes=everywhere) if draw(leads) else node for node in draw(networks()))


def as_case(policy, network):
    """Users and nodes in the shape of the replay contract."""
    called = {user.id: user.name for user in USERS}
    nodes = {
        f"n{node.id}": {
            "id": node.id,
            "user": called.get(node.user, ""),
            "tags": list(node.tags),
            "addresses": list(node.addresses),
            "routable_ips": list(node.routes),
            "approved_routes": list(node.routes),
            **{fact: getattr(node, fact) for fact in ("os", "version", "country", "region")},
        }
        for node in network
    }
    users = [{"id": user.id, "name": user.name, "email": user.email, "role": user.role} for user in USERS]
    return {"policy": json.dumps(policy), "users": users, "nodes": nodes}


def compiled(policy, network):
    case = as_case(policy, network)
    return compile(Policy.parse(case["policy"]), directory(case["users"], case["nodes"]))


def of_the_whole(policy, network):
    """Every node's filter from all rules and all nodes."""
    (line,) = run([json.dumps({"test_id": "x", "input": as_case(policy, network)})])
    answered = json.loads(line)
    assert answered["accepted"], answered["error"]
    return {int(name[1:]): view["packet_filter"] for name, view in answered["nodes"].items()}


@settings(max_examples=150, deadline=None)
@given(cases(), exits())
def test_filters_are_those_of_the_whole_network(policy, network):
    engine = compiled(policy, network)
    assert {node.id: engine.packet_filter(node.id) for node in network} == of_the_whole(policy, network)


@settings(max_examples=60, deadline=None)
@given(cases(), exits(), st.data())
def test_filters_stay_so_while_nodes_and_rules_change(policy, network, data):
    engine = compiled(policy, network)
    known = {node.id: node for node in network}
    for _ in range(data.draw(st.integers(1, 4))):
        node = data.draw(reporting(data.draw(st.sampled_from([0, 3, 6, 40]))))
        others = {address for other in known.values() if other.id != node.id for address in other.addresses}
        if not others & set(node.addresses):
            known[node.id] = node
            engine.update(node)
        if known and data.draw(st.booleans()):
            engine.leave(known.pop(data.draw(st.sampled_from(sorted(known)))).id)
        for node_id in known:
            engine.packet_filter(node_id)
        section = data.draw(st.sampled_from(["acls", "grants"]))
        if section in policy:
            rules = data.draw(st.lists(acls() if section == "acls" else grants(), max_size=2))
            place = data.draw(st.integers(0, len(policy[section])))
            policy = policy | {section: policy[section][:place] + rules + policy[section][place + 1 :]}
            if engine.edit(Policy.parse(json.dumps(policy))) is None:
                engine = compiled(policy, known.values())
    found = {node_id: engine.packet_filter(node_id) for node_id in known}
    assert found == of_the_whole(policy, known.values())


def test_nodes_that_share_an_address_share_the_places_of_their_rules():
    """The first rule, which is not about the node, decides where the last one stands."""
    rules = [("ann@", "tag:b"), ("cat@", "tag:a"), ("bob@", "tag:a")]
    policy = {"tagOwners": {"tag:a": [], "tag:b": []}}
    policy["acls"] = [{"action": "accept", "src": [source], "dst": [f"{target}:22"]} for source, target in rules]
    nodes = [
        NodeFacts(id=1, user=10, addresses=("100.64.0.1",)),
        NodeFacts(id=2, user=11, addresses=("100.64.0.1",)),
        NodeFacts(id=3, user=12, addresses=("100.64.0.3",)),
        NodeFacts(id=4, tags=("tag:a",), addresses=("100.64.0.4",)),
    ]
    engine = Engine.build(Policy.parse(json.dumps(policy)), USERS, nodes)
    assert [rule["SrcIPs"] for rule in engine.packet_filter(4)] == [["100.64.0.1"], ["100.64.0.3"]]


def test_prefixes_that_a_rule_spells_out_are_found_beside_hosts_of_the_same_ones():
    policy = {"hosts": {"lan": "10.0.0.0/8"}, "tagOwners": {"tag:a": [], "tag:b": []}}
    rules = [("10.0.0.0/8", "tag:b"), ("ann@", "tag:a"), ("lan", "tag:a")]
    policy["acls"] = [{"action": "accept", "src": [source], "dst": [f"{target}:22"]} for source, target in rules]
    nodes = [
        NodeFacts(id=1, user=10, addresses=("100.64.0.1",)),
        NodeFacts(id=4, tags=("tag:a",), addresses=("100.64.0.4",)),
    ]
    engine = Engine.build(Policy.parse(json.dumps(policy)), USERS, nodes)
    assert [rule["SrcIPs"] for rule in engine.packet_filter(4)] == [["10.0.0.0/8"], ["100.64.0.1"]]
