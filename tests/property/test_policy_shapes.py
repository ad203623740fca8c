"""SSH logins, capabilities and answers about addresses against their twins."""

import json

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ghostwire.errors import ValidationError
from ghostwire.policy import Engine, Policy
from tests.property.test_policy import HOSTS, PEOPLE, PREFIXES, TAGS, USERS, names, nodes, policies
from tests.reference.policy import Twin
from tests.reference.policy_shapes import Login, capabilities, in_order, logins

SOURCES = [*PEOPLE, *TAGS, "autogroup:tagged"]
LOGINS = ["root", "deploy", "autogroup:nonroot", "localpart:*@example.com", "localpart:*@elsewhere.org"]
ADDRESSES = [
    *(f"100.64.0.{last}" for last in (0, 1, 3, 4, 7, 9, 40)),
    *("10.1.2.3", "10.200.0.1", "192.168.0.9", "8.8.8.8", "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::5", "2001:db8::1"),
]
APPS = st.sampled_from([{}, {"example.com/cap/a": [{"role": "reader"}]}, {"example.com/cap/a": [1], "b.org/c": []}])


@st.composite
def ssh_rules(draw):
    rule = {
        "action": draw(st.sampled_from(["accept", "check"])),
        "src": draw(names(SOURCES)),
        "users": draw(names(LOGINS)),
    }
    rule["dst"] = draw(names([*TAGS, "autogroup:self", "autogroup:member", "autogroup:tagged", "ann@"], 2))
    return rule | draw(st.sampled_from([{}, {"acceptEnv": ["LANG", "GIT_*"]}]))


attributes = st.fixed_dictionaries(
    {"target": names(["*", *PEOPLE, *TAGS, *HOSTS, *PREFIXES])},
    optional={"attr": names(["funnel", "x:y", "z"]), "app": APPS},
)


@st.composite
def networks(draw):
    """Nodes with addresses of their own."""
    kept, seen = [], set()
    for number in range(draw(st.integers(0, 7))):
        node = draw(nodes(number * 3))
        if not seen & set(node.addresses):
            kept.append(node)
        seen |= set(node.addresses)
    return kept


def read(policy):
    try:
        return Policy.parse(json.dumps(policy))
    except ValidationError:
        return None


def as_login(rule):
    principals = [str(principal["nodeIP"]) for principal in rule["principals"]]
    return Login(principals, rule["sshUsers"], "accept" not in rule["action"], rule.get("acceptEnv", []))


def plain(login):
    """Addresses in one spelling."""
    return login._replace(principals=[one.replace("::0", "::") for one in login.principals])


@settings(max_examples=150, deadline=None)
@given(policies(), st.lists(ssh_rules(), max_size=3), networks())
def test_logins_are_the_twins(policy, rules, network):
    policy = policy | {"ssh": [rule for rule in rules if read(policy | {"ssh": [rule]})]}
    parsed = read(policy)
    assume(parsed is not None)
    engine, twin = Engine.build(parsed, USERS, network), Twin(policy, USERS, network)
    for node in in_order(twin):
        found = [as_login(rule) for rule in engine.ssh_rules(node.id)]
        assert found == [plain(login) for login in logins(twin, node)]


@settings(max_examples=150, deadline=None)
@given(policies(), st.lists(attributes, max_size=4), st.booleans(), networks())
def test_capabilities_are_the_twins(policy, given_to, randomize, network):
    policy = policy | {"nodeAttrs": given_to, "randomizeClientPort": randomize}
    engine, twin = Engine.build(Policy.parse(json.dumps(policy)), USERS, network), Twin(policy, USERS, network)
    for node in network:
        assert engine.capabilities(node.id) == capabilities(twin, node)


@settings(max_examples=200, deadline=None)
@given(policies(), networks(), st.lists(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES)), max_size=20))
def test_answers_about_addresses_are_the_twins(policy, network, pairs):
    engine, twin = Engine.build(Policy.parse(json.dumps(policy)), USERS, network), Twin(policy, USERS, network)
    for source, target in pairs:
        for kind in ((6, 22), (6, 85), (17, 53), (1, 0), (47, 0)):
            expected = twin.decide_address(source, target, *kind)
            assert engine.decide_address(source, target, *kind) == expected
            assert engine.explain_address(source, target, *kind).allowed == expected
