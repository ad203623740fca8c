"""A policy built aside: what lands while it is being built, who waits for it and who does not."""

import json
from typing import Any

import pytest

from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ConfirmPolicy,
    CreateUser,
    DeleteNode,
    DeleteUser,
    RenameNode,
    RollbackPolicy,
    TagNode,
)
from ghostwire.coordinator.effects import BuildPolicy, MapFrom, Send
from ghostwire.errors import ConflictError, InternalError, ValidationError
from ghostwire.model.policy import Connection
from ghostwire.policy import Engine
from ghostwire.testing.simnet import SimNet
from tests.reference.netmap_check import check_all

TAGS = '"tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}'
CLOSED = f'{{{TAGS}, "acls": []}}'
WEB = f'{{{TAGS}, "acls": [{{"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}}]}}'
GROUP = WEB.replace('alice@"], "dst', 'group:a"], "dst').replace("{", '{"groups": {"group:a": ["alice@"]}, ', 1)


@pytest.fixture
def net() -> SimNet:
    """A network in which a policy is being built from the second one on."""
    net = SimNet(seed=5)
    net.join("laptop", net.key("alice"))
    net.join("web", net.key(None, tags=("tag:web",)))
    net.ask(ApplyPolicy, text=CLOSED, author="test")
    net.hold_builds = True
    return net


def begin(net: SimNet, text: str, **options: Any) -> int:
    op = net.give(ApplyPolicy, text=text, author="test", **options)
    assert not net.is_answered(op)
    return op


def in_force(net: SimNet) -> str:
    found = net.coordinator.view.policy()
    assert found is not None
    return found.text


def test_nobody_else_waits_and_what_lands_meanwhile_counts(net: SimNet) -> None:
    op = begin(net, GROUP)
    nodes = net.nodes
    late = net.join("late", net.key(None, tags=("tag:web",)))
    gone = net.join("gone", net.key(None, tags=("tag:web",)))
    net.ask(TagNode, node=nodes["web"].id, tags=("tag:db",))
    net.ask(RenameNode, node=late.id, name="renamed")
    net.ask(DeleteNode, node=gone.id)
    assert in_force(net) == CLOSED
    assert not nodes["laptop"].netmap.peers
    check_all(net)
    net.finish_build()
    assert net.answer(op).text == in_force(net) == GROUP
    assert set(nodes["laptop"].netmap.peers) == {late.id}
    check_all(net)


def test_changes_that_land_before_the_commit_count_too(net: SimNet) -> None:
    op = begin(net, GROUP)
    net.hold = True
    net.finish_build()
    applying = net.held.pop()
    net.hold = False
    late = net.join("late", net.key(None, tags=("tag:web",)))
    assert in_force(net) == CLOSED
    net.held.append(applying)
    net.settle()
    assert net.answer(op).text == GROUP
    assert late.id in net.nodes["laptop"].netmap.peers
    check_all(net)


def test_it_is_exchanged_without_being_compiled_again(net: SimNet, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(net, GROUP)
    net.finish_build()
    built: list[None] = []
    original = Engine.build
    monkeypatch.setattr(Engine, "build", lambda *args, **kwargs: built.append(None) or original(*args, **kwargs))
    begin(net, WEB)
    net.hold = True
    net.finish_build()
    assert built
    built.clear()
    net.settle()
    assert in_force(net) == WEB
    assert not built


@pytest.mark.parametrize("late", [False, True])
def test_whose_maps_change_is_found_before_it_comes_into_force(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the exchange nobody is looked at but whom it concerns, however many there are, and who changed meanwhile."""
    looks: list[int] = []
    for name in ("standpoint", "filter_rows", "class_of", "visible"):
        original = getattr(Engine, name)

        def look(engine: Engine, slot: int, original: Any = original) -> Any:
            looks.append(slot)
            return original(engine, slot)

        monkeypatch.setattr(Engine, name, look)
    for others in (3, 30):
        net = SimNet(seed=others)
        net.ask(ApplyPolicy, text=CLOSED, author="test")
        bobs = [net.join(f"bobs-{number}", net.key("bob")) for number in range(others)]
        concerned = {net.join("laptop", net.key("alice")).slot, net.join("web", net.key(None, tags=("tag:web",))).slot}
        net.hold_builds = True
        begin(net, GROUP)
        if late:
            net.ask(RenameNode, node=bobs[0].id, name="renamed")
            net.ask(TagNode, node=bobs[1].id, tags=("tag:db",))
            concerned.add(bobs[1].slot)
        net.hold = True
        net.finish_build()
        looks.clear()
        net.pushes.clear()
        net.settle()
        assert set(looks) <= concerned
        told = {slot for push in net.pushes for slot in push.slots}
        assert told == concerned - ({bobs[1].slot} if late else set())
        net.hold = False
        check_all(net)


def test_replicas_are_told_of_nobody_else() -> None:
    """However many classes of others there are, each of which the new engine calls something else."""
    told: list[int] = []
    for others in (3, 30):
        net = SimNet(seed=others)
        tags = [f"tag:n{number}" for number in range(others)]
        owners = {tag: ["alice@"] for tag in ["tag:web", *tags]}
        among = [{"action": "accept", "src": [tag], "dst": [f"{tag}:80"]} for tag in tags]
        opened = {"action": "accept", "src": ["group:a"], "dst": ["tag:web:80"]}
        net.ask(ApplyPolicy, text=json.dumps({"tagOwners": owners, "acls": among}), author="test")
        for tag in tags:
            net.join(tag.removeprefix("tag:"), net.key(None, tags=(tag,)))
        net.join("laptop", net.key("alice"))
        net.join("web", net.key(None, tags=("tag:web",)))
        feed = net.coordinator.feed()
        groups = {"group:a": ["alice@"]}
        net.ask(
            ApplyPolicy,
            text=json.dumps({"groups": groups, "tagOwners": owners, "acls": [opened, *among]}),
            author="test",
        )
        batch = feed.take()
        assert batch is not None
        told.append(len(batch.events))
    assert told[0] == told[1]


@pytest.mark.parametrize(("most", "left"), [(1, 2), (2, 0)])
def test_more_than_can_be_told_one_by_one_are_left_to_replicas(
    net: SimNet, monkeypatch: pytest.MonkeyPatch, most: int, left: int
) -> None:
    monkeypatch.setattr("ghostwire.coordinator.policy_control.MOST_TOLD", most)
    net.coordinator.feed(defers=True)
    begin(net, GROUP)
    sent: list[MapFrom | None] = []
    net.watch = lambda effect: sent.append(effect.left) if isinstance(effect, Send) else None
    net.pushes.clear()
    net.finish_build()
    assert sent == [MapFrom(None)] * left
    assert bool(net.pushes) == (not left)


@pytest.mark.parametrize("rule", ["alice@", "tag:web", "autogroup:member", "*"])
def test_who_joins_leaves_and_changes_meanwhile_is_told_what_holds(net: SimNet, rule: str) -> None:
    """Whatever it was that was found out before, under whichever of the policies they differ."""
    for text in (WEB, GROUP.replace('["group:a"]', f'["{rule}"]'), GROUP.replace("web:80", "db:5432")):
        begin(net, text)
        node = net.join(f"n{len(net.nodes)}", net.key("alice"))
        net.ask(TagNode, node=node.id, tags=("tag:db",))
        gone = net.join(f"gone{len(net.nodes)}", net.key(None, tags=("tag:web",)))
        net.ask(DeleteNode, node=gone.id)
        reused = net.join(f"reused{len(net.nodes)}", net.key("alice"))
        net.finish_build()
        assert in_force(net) == text
        assert reused.netmap.position is not None
        check_all(net)


def test_numbers_of_classes_are_given_once(net: SimNet) -> None:
    """Those that are set aside for a policy which does not come about are given to others, and no number is lost."""
    numbers = net.coordinator._core.views.numbers
    before = numbers.next
    for text in ("{", WEB):
        begin(net, text)
        net.finish_build()
    assert net.coordinator._core.views.numbers.next - before <= len(net.nodes)


@pytest.mark.parametrize("early", [False, True])
def test_numbers_of_classes_mean_the_same_whatever_names_come_to_mean(net: SimNet, early: bool) -> None:
    """The e-mail address of two users means neither of them, until one goes: then nodes of the other are told apart."""
    net.hold_builds = False
    users = [net.ask(CreateUser, name=name, email="both@example.com") for name in ("bob", "carol")]
    net.ask(ApplyPolicy, text=GROUP.replace('["alice@"]}, "tag', '["both@example.com"]}, "tag'), author="test")
    bobs = [net.join(f"bobs-{number}", net.key("bob")) for number in range(2)]
    net.hold_builds = True
    op = begin(net, GROUP.replace("web:80", "db:5432"))
    if early:
        net.hold = True
        net.finish_build()
        applying = net.held.pop()
        net.hold = False
    begun = net.coordinator._core.views.numbers.all()
    net.ask(DeleteUser, user=users[1].id)
    assert all(node.netmap.peers.keys() == {net.nodes["web"].id} for node in bobs)
    check_all(net)
    known = net.coordinator._core.views.numbers.all()
    assert known != begun
    net.ask(TagNode, node=net.nodes["web"].id, tags=("tag:db",))
    if early:
        net.held.append(applying)
        net.settle()
    else:
        net.finish_build()
    assert net.answer(op).text == in_force(net)
    check_all(net)
    numbers = net.coordinator._core.views.numbers.all()
    fresh = {number for slot, number in numbers.items() if number not in (begun[slot], known[slot])}
    assert fresh
    assert fresh.isdisjoint(known.values())


def test_names_mean_users_of_the_moment_it_comes_into_force(net: SimNet) -> None:
    view = net.coordinator.view
    net.ask(DeleteNode, node=net.nodes["laptop"].id)
    op = begin(net, GROUP)
    net.ask(DeleteUser, user=view.user_by_name("alice").id)
    net.ask(CreateUser, name="alice")
    net.finish_build()
    assert net.answer(op).text == GROUP
    again = net.join("again", net.key("alice"))
    assert set(again.netmap.peers) == {net.nodes["web"].id}
    check_all(net)


def test_policies_come_one_after_the_other(net: SimNet) -> None:
    first, second = begin(net, GROUP), begin(net, WEB)
    back = net.give(RollbackPolicy, number=1)
    assert len(net.builds) == 1
    for op, text in ((first, GROUP), (second, WEB), (back, CLOSED)):
        net.finish_build()
        assert net.answer(op).text == in_force(net) == text
    check_all(net)


def test_a_faulty_text_is_refused_and_the_next_one_is_not(net: SimNet) -> None:
    faulty, fine = begin(net, "{"), begin(net, WEB)
    net.finish_build()
    assert isinstance(net.answer(faulty), ValidationError)
    assert in_force(net) == CLOSED
    net.finish_build()
    assert net.answer(fine).text == WEB
    check_all(net)


def test_a_panic_is_told_and_holds_up_none_behind_it(net: SimNet, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """As PyO3 raises it: no Exception."""

    def panic(*_: Any, **_options: Any) -> Engine:
        raise Panic("index out of bounds")

    struck, behind = begin(net, GROUP), begin(net, WEB)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "build", panic)
        net.finish_build()
    error = net.answer(struck)
    assert isinstance(error, InternalError)
    assert error.message == "the policy could not be built: Panic('index out of bounds')"
    net.finish_build()
    assert net.answer(behind).text == in_force(net) == WEB


def test_a_conflict_is_decided_again_on_what_was_built(net: SimNet) -> None:
    op = begin(net, GROUP)
    net.hold = True
    net.finish_build()
    net.settle(fail=True)
    assert not net.builds
    net.settle()
    assert net.answer(op).text == in_force(net) == GROUP


def test_a_wait_that_runs_out_meanwhile_goes_back_after_it(net: SimNet) -> None:
    net.hold_builds = False
    net.ask(ApplyPolicy, text=WEB, author="test", confirm_within_s=60)
    net.hold_builds = True
    op = begin(net, GROUP, replace=True)
    net.advance(61)
    net.ask(CreateUser, name="bob")
    net.finish_build()
    assert net.answer(op).text == in_force(net) == GROUP
    net.advance(60)
    assert in_force(net) == GROUP
    assert not net.builds


def test_a_version_can_be_confirmed_while_the_next_is_built(net: SimNet) -> None:
    net.hold_builds = False
    net.ask(ApplyPolicy, text=WEB, author="test", confirm_within_s=60)
    net.hold_builds = True
    begin(net, GROUP, replace=True)
    assert net.ask(ConfirmPolicy, connected_at=net.clock().utc + 1).text == WEB


def test_it_is_held_against_what_comes_back_when_it_is_decided(net: SimNet) -> None:
    """What was confirmed meanwhile would come back, not what came before it."""
    net.hold_builds = False
    wide = WEB.replace("web:80", "web:*")
    net.ask(ApplyPolicy, text=wide, author="test", confirm_within_s=60)
    net.hold_builds = True
    op = begin(net, WEB, replace=True, confirm_within_s=60)
    net.ask(ConfirmPolicy, connected_at=net.clock().utc + 1)
    while net.builds:
        net.finish_build()
    refused = net.answer(op)
    assert isinstance(refused, ConflictError)
    assert "only takes access away" in refused.message
    assert in_force(net) == wide


def test_who_joins_meanwhile_is_not_cut_off(net: SimNet) -> None:
    """A connection of a node that was not there yet when the policy was begun."""
    net.hold_builds = False
    net.ask(ApplyPolicy, text=WEB, author="test")
    net.hold_builds = True
    twin = SimNet(seed=5)
    for name in ("laptop", "web", "late"):
        late = twin.coordinator.view.node(twin.join(name, twin.key("alice")).id)
    web = net.coordinator.view.node(net.nodes["web"].id)
    op = begin(net, WEB.replace("80", "81"), connections=(Connection(late.ipv4, web.ipv4, 80),))
    assert net.coordinator.view.node(net.join("late", net.key("alice")).id).ipv4 == late.ipv4
    while net.builds:
        net.finish_build()
    refused = net.answer(op)
    assert isinstance(refused, ConflictError)
    assert "cut the connection" in refused.message


def test_a_restart_forgets_what_was_being_built(net: SimNet) -> None:
    begin(net, GROUP)
    net.restart()
    net.hold_builds = False
    assert in_force(net) == CLOSED
    assert net.ask(ApplyPolicy, text=GROUP, author="test").text == GROUP
    for node in net.nodes.values():
        net.connect(node)
    check_all(net)


def test_the_work_is_an_effect(net: SimNet) -> None:
    begin(net, GROUP)
    effect = net.builds[0]
    assert isinstance(effect, BuildPolicy)
    assert {node.id for node in effect.census.directory().nodes} == {node.slot for node in net.nodes.values()}
