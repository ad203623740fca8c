"""Why an address behind a router is reached or not."""

import json

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import ApplyPolicy, ApproveRoutes
from ghostwire.coordinator.policy_explain import Answer
from ghostwire.coordinator.view import Question
from ghostwire.testing.simnet import SimNet

TEXT = """{
  "groups": {"group:dev": ["alice@"]},
  "hosts": {"office": "192.168.7.0/24"},
  "acls": [
    {"action": "accept", // over the router
     "src": ["group:dev"],
     "dst": ["office:443"]},
  ],
  "ghostwire": {"deny": [{"src": ["group:dev"], "dst": ["192.168.7.9/32"]}]},
}"""


def mesh() -> SimNet:
    net = SimNet(Settings(), seed=11)
    net.join("laptop", net.key("alice"))
    net.join("phone", net.key("bob"))
    router = net.join("router", net.key("carol"), routable_routes=("192.168.7.0/24",))
    net.ask(ApproveRoutes, node=router.id, routes=("192.168.7.0/24",))
    net.ask(ApplyPolicy, text=TEXT, author="test")
    return net


def explain(net: SimNet, name: str, address: str, port: int | None) -> Answer:
    router, behind = net.coordinator.view.node_at(address)
    source = net.coordinator.view.node_by_name(name)
    return net.coordinator.view.explain_policy(Question(source, router, 6, port, behind))


def test_the_rule_that_lets_through_is_named_with_its_line() -> None:
    found = explain(mesh(), "laptop", "192.168.7.20", 443)
    assert (found.address, found.via, found.target.name) == ("192.168.7.20", "192.168.7.0/24", "router.mesh.ghost")
    (rule,) = found.there.rules
    assert found.there.allowed
    assert (rule.section, rule.index, rule.line) == ("acls", 0, 5)
    assert json.loads(rule.text) == {"action": "accept", "src": ["group:dev"], "dst": ["office:443"]}
    assert not found.back.allowed


def test_a_denial_says_what_is_missing_or_what_denies() -> None:
    net = mesh()
    (near,) = explain(net, "phone", "192.168.7.20", 443).there.rules
    assert near.missing == ("phone is none of its sources (group:dev)",)
    (near,) = explain(net, "laptop", "192.168.7.20", 22).there.rules
    assert near.missing == ("tcp 22 is not among its ports (office:443)",)
    denied = explain(net, "laptop", "192.168.7.9", 443).there
    assert not denied.allowed
    assert [(rule.section, rule.denies) for rule in denied.rules] == [("ghostwire.deny", True), ("acls", False)]


def test_without_a_port_the_first_that_is_allowed_is_explained() -> None:
    there = explain(mesh(), "laptop", "192.168.7.20", None).there
    assert (there.allowed, there.port) == (True, 443)
    assert len(there.rules) == 1
