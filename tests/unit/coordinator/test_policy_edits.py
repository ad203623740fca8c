"""Edited rules: what comes into force without an engine of its own, and what is looked at before all the same."""

import re

import pytest

from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ApproveAccess,
    CreateUser,
    DeleteNode,
    DeleteUser,
    RequestAccess,
    RollbackPolicy,
    TagNode,
)
from ghostwire.errors import ConflictError, ValidationError
from ghostwire.model.policy import Connection
from ghostwire.policy import Engine
from ghostwire.testing.simnet import SimNet
from tests.reference.netmap_check import check_all

TAGS = '"tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}'
WEB = f'{{{TAGS}, "acls": [{{"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}}]}}'
DB = WEB.replace("tag:web:80", "tag:db:5432")
BOBS = WEB.replace('"src": ["alice@"]', '"src": ["alice@", "bob@"]')
OWN = WEB.replace('"tag:web:80"', '"tag:web:80", "autogroup:self:*"').replace('"src": ["alice@"]', '"src": ["*"]')
GROUP = WEB.replace("{", '{"groups": {"group:a": ["alice@"]}, ', 1)
TEST = ', "tests": [{"src": "alice@", "accept": ["tag:web:443"]}]}'


@pytest.fixture
def net() -> SimNet:
    """Two users' machines and two servers, under a policy that opens one of them to one of the users."""
    net = SimNet(seed=8)
    for name in ("alice", "bob"):
        net.join(f"{name}s", net.key(name))
    net.join("alices-too", net.key("alice"))
    for tag in ("web", "db"):
        net.join(tag, net.key(None, tags=(f"tag:{tag}",)))
    net.ask(ApplyPolicy, text=WEB, author="test")
    return net


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, net: SimNet) -> list[int]:
    """How many nodes each engine has that is built from here on."""
    sizes: list[int] = []
    original = Engine.build.__func__  # type: ignore[attr-defined]

    def build(cls: type[Engine], policy: object, users: object, nodes: object, *rest: object, **more: object) -> Engine:
        known = list(nodes)  # type: ignore[call-overload]
        sizes.append(len(known))
        engine: Engine = original(cls, policy, users, known, *rest, **more)
        return engine

    monkeypatch.setattr(Engine, "build", classmethod(build))
    return sizes


@pytest.mark.parametrize("text", [DB, BOBS, OWN, WEB.replace("80", "443")])
def test_few_rules_that_differ_take_no_engine(net: SimNet, built: list[int], text: str) -> None:
    for applied in (text, WEB, text):
        assert net.ask(ApplyPolicy, text=applied, author="test").text == applied
        assert not built
        check_all(net)
        built.clear()


def test_who_is_told_are_those_whom_the_rules_concern(net: SimNet) -> None:
    net.pushes.clear()
    net.ask(ApplyPolicy, text=BOBS, author="test")
    told = {slot for push in net.pushes for slot in push.slots}
    assert told == {net.nodes["bobs"].slot, net.nodes["web"].slot}


def test_what_names_stand_for_takes_one(net: SimNet, built: list[int]) -> None:
    net.ask(ApplyPolicy, text=GROUP, author="test")
    assert set(built) == {len(net.nodes)}
    check_all(net)


def test_a_name_that_would_mean_another_user_takes_one(net: SimNet, built: list[int]) -> None:
    net.ask(DeleteNode, node=net.nodes["bobs"].id)
    net.ask(ApplyPolicy, text=BOBS, author="test")
    net.ask(DeleteUser, user=net.coordinator.view.user_by_name("bob").id)
    net.ask(CreateUser, name="bob")
    bobs = net.join("bobs-own", net.key("bob"))
    assert not bobs.netmap.peers
    net.ask(ApplyPolicy, text=BOBS.replace("80", "443"), author="test")
    assert set(bobs.netmap.peers) == {net.nodes["web"].id}
    assert set(built) == {len(net.nodes) - 1}
    check_all(net)


def test_a_name_that_loses_its_user_meanwhile_means_nobody(net: SimNet) -> None:
    net.ask(DeleteNode, node=net.nodes["bobs"].id)
    net.hold_builds = True
    op = net.give(ApplyPolicy, text=BOBS, author="test")
    net.ask(DeleteUser, user=net.coordinator.view.user_by_name("bob").id)
    net.finish_build()
    assert net.answer(op).text == BOBS
    net.ask(CreateUser, name="bob")
    check_all(net)


def test_its_own_tests_are_run(net: SimNet, built: list[int]) -> None:
    with pytest.raises(ValidationError, match=r"own tests.*line 1.*tag:web:443.*--force"):
        net.ask(ApplyPolicy, text=WEB[:-1] + TEST, author="test")
    assert net.ask(ApplyPolicy, text=WEB.replace("80", "443")[:-1] + TEST, author="test").number == 2
    with pytest.raises(ValidationError, match="own tests"):
        net.ask(ApplyPolicy, text=DB[:-1] + TEST, author="test")
    assert net.ask(ApplyPolicy, text=DB[:-1] + TEST, author="test", force=True).forced
    assert not built


def test_connections_are_judged_by_the_nodes_at_their_ends(net: SimNet, built: list[int]) -> None:
    used = connection(net, "alices", "web")
    with pytest.raises(ConflictError, match="cut the connection"):
        net.ask(ApplyPolicy, text=DB, author="test", connections=(used,))
    assert built == [2]
    net.ask(ApplyPolicy, text=BOBS, author="test", connections=(used,))
    net.ask(ApplyPolicy, text=DB, author="test", connections=(used,), force=True)
    with pytest.raises(ConflictError, match="cut the connection"):
        net.ask(RollbackPolicy, number=2, connections=(connection(net, "alices-too", "db", 5432),))


def test_they_are_judged_as_nodes_are_when_it_comes_into_force(net: SimNet) -> None:
    used = connection(net, "alices", "web")
    for tag, refused in (("tag:db", False), ("tag:web", True)):
        net.hold_builds = True
        op = net.give(ApplyPolicy, text=DB.replace("5432", "80"), author="test", connections=(used,))
        net.ask(TagNode, node=net.nodes["web"].id, tags=("tag:web", tag))
        net.finish_build()
        assert isinstance(net.answer(op), ConflictError) == refused
        net.hold_builds = False
        net.ask(ApplyPolicy, text=WEB, author="test")


def test_access_that_stands_outlasts_an_edit(net: SimNet, built: list[int]) -> None:
    asking = (
        '{"name": "ask", "src": ["bob@"], "dst": ["tag:db"], "ip": ["*"], "approvers": ["alice@"], "longest": "1h"}'
    )
    texts = [re.sub(r"}$", f', "ghostwire": {{"requests": [{asking}]}}}}', text) for text in (WEB, BOBS)]
    net.ask(ApplyPolicy, text=texts[0], author="test")
    users = {user.name: user.id for user in net.coordinator.view.users()}
    target = net.nodes["db"].id
    request = net.ask(RequestAccess, user=users["bob"], target=target, source=None, ports=("tcp:22",), duration_s=600)
    net.ask(ApproveAccess, request=request.id, user=users["alice"], digest=request.digest)
    assert set(net.nodes["bobs"].netmap.peers) == {target}
    built.clear()
    net.ask(ApplyPolicy, text=texts[1], author="test")
    assert set(net.nodes["bobs"].netmap.peers) == {target, net.nodes["web"].id}
    assert not built
    net.advance(601)
    net.connect(net.nodes["bobs"])
    assert set(net.nodes["bobs"].netmap.peers) == {net.nodes["web"].id}
    check_all(net)


def connection(net: SimNet, source: str, target: str, port: int = 80) -> Connection:
    addresses = [net.coordinator.view.node(net.nodes[name].id).ipv4 for name in (source, target)]
    return Connection(*addresses, port)
