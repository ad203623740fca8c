"""What nodes report of the policy's rules: added up, kept across restarts and versions."""

import json

from pyroaring import BitMap

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import ApplyPolicy
from ghostwire.coordinator.rule_hits import NO_RULE, RuleCount
from ghostwire.policy import Policy
from ghostwire.testing.simnet import SimNet

WEB = {"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}
SSH = {"action": "accept", "src": ["alice@"], "dst": ["tag:web:22"]}


def text(*acls: object) -> str:
    return json.dumps({"tagOwners": {"tag:web": []}, "acls": acls})


def ids(policy: str) -> list[int]:
    return [rule.id for rule in Policy.parse(policy).rules()]


def mesh(policy: str) -> SimNet:
    net = SimNet(Settings(), seed=4)
    for name, key in (("laptop", net.key("alice")), ("web", net.key(None, tags=("tag:web",)))):
        net.join(name, key)
    net.ask(ApplyPolicy, text=policy, author="test")
    return net


def test_filters_name_the_rules_that_they_come_from() -> None:
    policy = text(WEB, SSH)
    net = mesh(policy)
    assert [rule.rule for rule in net.nodes["web"].netmap.filter().rules] == ids(policy)


def test_reports_add_up() -> None:
    policy = text(WEB, SSH)
    web, ssh = ids(policy)
    net = mesh(policy)
    net.beat(net.nodes["web"], hits={web: 3, NO_RULE: 1})
    net.advance(60)
    net.beat(net.nodes["web"], hits={web: 2})
    net.beat(net.nodes["laptop"], hits={web: 1, ssh: 0})
    counts = net.coordinator.view.rule_counts()
    assert counts == {web: RuleCount(6, net.clock().utc, 2), NO_RULE: RuleCount(1, counts[NO_RULE].last, 1)}
    assert counts[NO_RULE].last < counts[web].last


def test_what_is_no_rule_of_the_policy_is_not_kept() -> None:
    net = mesh(text(WEB))
    net.beat(net.nodes["web"], hits={ids(text(SSH))[0]: 3, 12: 1})
    assert net.coordinator.view.rule_counts() == {}


def test_counts_outlive_a_restart() -> None:
    policy = text(WEB)
    net = mesh(policy)
    net.beat(net.nodes["web"], hits={ids(policy)[0]: 3})
    net.advance(10)
    before = net.coordinator.view.rule_counts()
    net.restart()
    assert net.coordinator.view.rule_counts() == before != {}
    (kept,) = net.store.hits.values()
    assert BitMap.deserialize(kept.nodes) == BitMap([net.nodes["web"].id])


def test_a_rule_keeps_its_count_in_another_version_that_has_it() -> None:
    net = mesh(text(WEB))
    (web,) = ids(text(WEB))
    net.beat(net.nodes["web"], hits={web: 3})
    edited = text(SSH, WEB)
    net.ask(ApplyPolicy, text=edited, author="test")
    assert ids(edited)[1] == web
    net.beat(net.nodes["web"], hits={web: 1})
    assert net.coordinator.view.rule_counts()[web].hits == 4
