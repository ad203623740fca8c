"""Versions of the policy: waiting for a confirmation, going back, what speaks against one, whom names mean."""

from typing import Any

import msgspec
import pytest

from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ConfirmPolicy,
    CreateUser,
    DeleteNode,
    DeleteUser,
    ExpireNode,
    RevokePreauthKey,
    RollbackPolicy,
)
from ghostwire.errors import ConflictError, DatabaseError, NotFoundError, ValidationError
from ghostwire.model.change import Delete, Put
from ghostwire.model.policy import Connection, PolicyVersion
from ghostwire.testing.simnet import SimNet, SimNode
from tests.reference.netmap_check import check_all

TAGS = '"tagOwners": {"tag:web": ["alice@"]}'
CLOSED = f'{{{TAGS}, // nothing goes\n"acls": []}}'
WEB = f'{{{TAGS}, "acls": [{{"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}}]}}'
WIDE = WEB.replace("web:80", "web:*")


@pytest.fixture
def net() -> SimNet:
    return SimNet(seed=3)


@pytest.fixture
def alice(net: SimNet) -> SimNode:
    return net.join("laptop", net.key("alice"))


@pytest.fixture
def web(net: SimNet, alice: SimNode) -> SimNode:
    return net.join("web", net.key(None, tags=("tag:web",)))


def apply(net: SimNet, text: str, **options: Any) -> PolicyVersion:
    applied: PolicyVersion = net.ask(ApplyPolicy, text=text, author="test", **options)
    return applied


def confirm(net: SimNet, number: int | None = None, later: int = 1) -> PolicyVersion:
    """On a connection made that many nanoseconds after now."""
    kept: PolicyVersion = net.ask(ConfirmPolicy, number=number, connected_at=net.clock().utc + later)
    return kept


def in_force(net: SimNet) -> PolicyVersion:
    found = net.coordinator.view.policy()
    assert found is not None
    return found


def kinds(net: SimNet) -> list[str]:
    """What was done to the policy; noting whom its names mean is the coordinator's own."""
    return [row.kind for row in net.store.log if row.kind.startswith("policy.") and row.kind != "policy.bind"]


def test_unless_confirmed_it_goes_back_at_its_deadline_and_not_before(net: SimNet, web: SimNode) -> None:
    apply(net, CLOSED)
    apply(net, WEB, confirm_within_s=60)
    assert web.netmap.peers
    net.advance(59.999)
    assert in_force(net).text == WEB
    net.advance(0.001)
    back = in_force(net)
    assert (back.number, back.text, back.origin, back.restores) == (3, CLOSED, "revert", 1)
    assert net.store.log[-1].ts == net.clock().utc
    assert not web.netmap.peers
    assert net.coordinator.view.policy_trial() is None
    check_all(net)


def test_confirmed_it_stays(net: SimNet, web: SimNode) -> None:
    apply(net, WEB, confirm_within_s=300)
    net.advance(299)
    assert confirm(net, 1).number == 1
    net.advance(10_000)
    assert (in_force(net).number, in_force(net).text) == (1, WEB)
    with pytest.raises(ConflictError, match="no policy version waits"):
        confirm(net)


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("away_s", [10.0, 1000.0])
def test_it_goes_back_across_a_restart(net: SimNet, web: SimNode, graceful: bool, away_s: float) -> None:
    apply(net, CLOSED)
    apply(net, WEB, confirm_within_s=300)
    net.advance(100)
    net.restart(graceful=graceful, away_s=away_s)
    if away_s < 200:
        assert in_force(net).text == WEB
        net.advance(300 - 100 - away_s - 0.001)
        assert in_force(net).text == WEB
    net.advance(0.001)
    assert in_force(net).text == CLOSED
    net.connect(web)
    assert not web.netmap.peers


def test_a_wait_of_days_is_exact(net: SimNet) -> None:
    apply(net, WEB, confirm_within_s=3 * 86_400)
    net.advance(3 * 86_400 - 0.001)
    assert in_force(net).text == WEB
    net.advance(0.001)
    assert (in_force(net).text, in_force(net).restores) == ("", 0)
    check_all(net)


def test_back_to_the_default_policy(net: SimNet, web: SimNode, alice: SimNode) -> None:
    other = net.join("phone", net.key("alice"))
    apply(net, WEB, confirm_within_s=60)
    assert sorted(other.netmap.peers) == [web.id]
    net.advance(60)
    assert sorted(other.netmap.peers) == [alice.id]
    check_all(net)


def test_while_one_waits_another_needs_replace(net: SimNet) -> None:
    apply(net, CLOSED)
    apply(net, WEB, confirm_within_s=300)
    for options in ({}, {"confirm_within_s": 60}, {"force": True}):
        with pytest.raises(ConflictError, match=r"version 2 waits.*--replace"):
            apply(net, WIDE, **options)
    apply(net, WIDE, replace=True)
    assert net.coordinator.view.policy_trial() is None
    net.advance(1000)
    assert (in_force(net).number, in_force(net).text) == (3, WIDE)


def test_a_wait_that_replaces_a_wait_goes_back_to_what_was_confirmed(net: SimNet, web: SimNode) -> None:
    apply(net, CLOSED)
    apply(net, WEB, confirm_within_s=300)
    net.advance(100)
    apply(net, WIDE, confirm_within_s=300, replace=True)
    net.advance(299)
    assert in_force(net).text == WIDE
    net.advance(1)
    assert (in_force(net).text, in_force(net).restores) == (CLOSED, 1)


def test_confirming_takes_a_connection_made_after_the_version(net: SimNet) -> None:
    apply(net, WEB, confirm_within_s=300)
    for later in (0, -1, -(10**9)):
        with pytest.raises(ConflictError, match="older than the version"):
            confirm(net, later=later)
    with pytest.raises(ConflictError, match="not policy version 7"):
        confirm(net, 7)
    confirm(net)
    apply(net, WIDE, confirm_within_s=300)
    net.restart()
    confirm(net, later=-1)  # whoever is connected now has connected since


def test_at_the_deadline_it_is_too_late(net: SimNet) -> None:
    apply(net, WEB, confirm_within_s=300)
    net.hold = True
    net.advance(300)
    with pytest.raises(KeyError):
        net.answer(net.give(ConfirmPolicy, connected_at=net.clock().utc + 1))
    net.settle()
    assert in_force(net).origin == "revert"


def test_what_was_confirmed_meanwhile_stays(net: SimNet) -> None:
    apply(net, WEB, confirm_within_s=300)
    net.advance(299)
    net.hold = True
    op = net.give(ConfirmPolicy, connected_at=net.clock().utc + 1)
    net.advance(10)
    assert len(net.held) == 1
    net.settle()
    assert net.answer(op).number == 1
    net.advance(1000)
    assert (in_force(net).number, net.held) == (1, [])


def test_what_replaced_it_meanwhile_stays(net: SimNet, web: SimNode) -> None:
    """The deadline comes while another version is on its way to the disk: it was set for the one before only."""
    apply(net, CLOSED)
    apply(net, WEB, confirm_within_s=300)
    net.hold = True
    op = net.give(ApplyPolicy, text=WIDE, author="test", replace=True)
    net.advance(300)
    assert [persist.kind for persist in net.held] == ["policy.apply"]
    net.hold = False
    net.settle()
    assert net.answer(op).number == 3
    net.advance(1000)
    assert (in_force(net).text, net.held) == (WIDE, [])
    assert "policy.revert" not in kinds(net)


@pytest.mark.parametrize("retried", [False, True])
def test_going_back_is_a_commit_on_the_condition_that_nothing_moved(net: SimNet, web: SimNode, retried: bool) -> None:
    """The store refuses what was decided on a head that is none any more, and the decision is made again."""
    apply(net, CLOSED)
    apply(net, WEB, confirm_within_s=300)
    net.hold = True
    net.advance(300)
    (revert,) = net.held
    written = {write.table: write for write in revert.writes}
    trial, version = written["policy_trials"], written["policies"]
    assert isinstance(trial, Delete)
    assert isinstance(version, Put)
    assert (trial.key, trial.expect, version.expect) == (2, 1, 0)
    if retried:
        net.settle(fail=True)
    net.settle()
    assert (in_force(net).origin, in_force(net).number) == ("revert", 3)


def test_a_store_that_fails_is_asked_again(net: SimNet) -> None:
    apply(net, WEB, confirm_within_s=300)
    net.hold = True
    net.advance(300)
    net.settle(fail=True, error=DatabaseError("the disk is full"))
    assert in_force(net).text == WEB
    net.advance(1)
    net.settle()
    assert in_force(net).origin == "revert"


def test_going_back_undoes_nothing_else(net: SimNet, web: SimNode, alice: SimNode) -> None:
    apply(net, CLOSED)
    key = net.coordinator.view.preauth_keys()[0].id
    apply(net, WEB, confirm_within_s=60)
    net.ask(RevokePreauthKey, key=key)
    net.ask(DeleteNode, node=alice.id)
    net.ask(ExpireNode, node=web.id)
    net.advance(60)
    assert in_force(net).text == CLOSED
    assert [found.revoked for found in net.coordinator.view.preauth_keys() if found.id == key] == [True]
    assert alice.id not in [node.id for node in net.coordinator.view.nodes()]
    assert net.coordinator.view.node(web.id).expired
    revert = next(row for row in net.store.log if row.kind == "policy.revert")
    assert {write.table for write in revert.writes} == {"policies", "policy_trials", "settings"}


def rejoin(net: SimNet, node: SimNode, name: str) -> SimNode:
    """The node's owner goes; somebody else takes the name, and joins."""
    net.ask(DeleteNode, node=node.id)
    net.ask(DeleteUser, user=net.coordinator.view.user_by_name(name).id)
    net.ask(CreateUser, name=name)
    return net.join(f"other-{len(net.nodes)}", net.key(name))


def test_a_name_means_another_user_only_once_applied_again(net: SimNet, web: SimNode, alice: SimNode) -> None:
    apply(net, WEB)
    other = rejoin(net, alice, "alice")
    assert not other.netmap.peers
    net.restart(graceful=False)
    net.connect(other)
    assert not other.netmap.peers
    apply(net, WEB)
    assert list(other.netmap.peers) == [web.id]
    check_all(net)


def test_going_back_by_itself_gives_a_name_to_nobody_else(net: SimNet, web: SimNode, alice: SimNode) -> None:
    apply(net, WEB)
    other = rejoin(net, alice, "alice")
    apply(net, WIDE, confirm_within_s=60)
    assert list(other.netmap.peers) == [web.id]
    net.advance(60)
    assert in_force(net).text == WEB
    assert not other.netmap.peers
    net.restart(graceful=False)
    net.connect(other)
    assert not other.netmap.peers
    check_all(net)


def test_any_version_can_be_brought_back(net: SimNet, web: SimNode) -> None:
    for text in (CLOSED, WEB, WIDE):
        apply(net, text)
    back = net.ask(RollbackPolicy)
    assert (back.number, back.text, back.origin, back.restores) == (4, WEB, "rollback", 2)
    assert net.ask(RollbackPolicy, number=1, note="calm down").note == "calm down"
    assert not web.netmap.peers
    assert net.ask(RollbackPolicy, number=0).text == ""
    assert [version.number for version in net.coordinator.view.policy_versions()] == [1, 2, 3, 4, 5, 6]
    assert net.coordinator.view.policy_version(2).text == WEB
    for number, error in ((99, NotFoundError), (6, ConflictError)):
        with pytest.raises(error):
            net.ask(RollbackPolicy, number=number)
    check_all(net)


def test_without_a_version_there_is_no_way_back(net: SimNet) -> None:
    with pytest.raises(ConflictError):
        net.ask(RollbackPolicy)


def test_going_back_by_hand_ends_the_wait(net: SimNet) -> None:
    apply(net, CLOSED)
    apply(net, WEB)
    apply(net, WIDE, confirm_within_s=300)
    assert net.ask(RollbackPolicy).restores == 2
    assert net.coordinator.view.policy_trial() is None
    net.advance(1000)
    assert in_force(net).number == 4


def test_a_wait_for_what_only_takes_away_must_be_forced(net: SimNet, web: SimNode) -> None:
    apply(net, WEB)
    with pytest.raises(ConflictError, match=r"only takes access away.*--force"):
        apply(net, CLOSED, confirm_within_s=60)
    assert apply(net, CLOSED, confirm_within_s=60, force=True).forced[0].startswith("this version only takes")
    assert kinds(net)[-1] == "policy.apply.forced"
    net.advance(60)
    assert in_force(net).text == WEB


def test_it_is_held_against_what_would_come_back(net: SimNet, web: SimNode) -> None:
    """What replaces a version that waits is unconfirmed if that one was: the access before both would be given back."""
    apply(net, WIDE)
    apply(net, CLOSED, confirm_within_s=60, force=True)
    with pytest.raises(ConflictError, match="only takes access away"):
        apply(net, WEB, confirm_within_s=60, replace=True)
    assert apply(net, WEB, replace=True).text == WEB
    apply(net, WIDE, confirm_within_s=60)
    net.advance(60)
    assert in_force(net).text == WEB


@pytest.mark.parametrize("wait", [0, 0.5, -1, 8 * 86_400, float("nan"), float("inf")])
def test_waits_are_bounded(net: SimNet, wait: float) -> None:
    with pytest.raises(ValidationError):
        apply(net, WEB, confirm_within_s=wait)
    assert net.coordinator.view.policy() is None


TESTED = WEB[:-1] + ', "tests": [{"src": "alice@", "accept": ["tag:web:443"]}]}'


def test_a_policy_whose_own_tests_fail_is_refused_unless_forced(net: SimNet, web: SimNode) -> None:
    apply(net, CLOSED)
    with pytest.raises(ValidationError, match=r"own tests.*line 1.*tag:web:443.*--force"):
        apply(net, TESTED)
    assert in_force(net).text == CLOSED
    forced = apply(net, TESTED, force=True)
    assert "tag:web:443" in forced.forced[0]
    assert kinds(net)[-1] == "policy.apply.forced"
    apply(net, WEB, force=True)
    assert kinds(net)[-1] == "policy.apply"  # there was nothing to force
    with pytest.raises(ValidationError, match="own tests"):
        net.ask(RollbackPolicy)
    net.ask(RollbackPolicy, force=True)
    assert kinds(net)[-1] == "policy.rollback.forced"


def test_a_policy_that_cuts_its_author_off_is_refused_unless_forced(net: SimNet, web: SimNode, alice: SimNode) -> None:
    apply(net, WEB)
    source, target = (net.coordinator.view.node(node.id).ipv4 for node in (alice, web))
    used = Connection(source, target, 80)
    with pytest.raises(ConflictError, match=f"laptop .{source}. to web .{target}. on tcp port 80"):
        apply(net, CLOSED, connections=(used,))
    apply(net, WIDE, connections=(used,))
    assert apply(net, CLOSED, connections=(used,), force=True).forced
    # What the policy never let through, or what goes around the mesh, it cannot cut.
    apply(net, WEB)
    apply(net, CLOSED, connections=(Connection(source, target, 81), Connection("192.0.2.1", target, 80)))
    net.ask(RollbackPolicy, number=2, connections=(used,))
    with pytest.raises(ConflictError, match="cut the connection"):
        net.ask(RollbackPolicy, number=3, connections=(used,))


def test_the_log_alone_tells_the_whole_story(net: SimNet, web: SimNode) -> None:
    apply(net, CLOSED, note="first")
    apply(net, WEB, confirm_within_s=60)
    net.advance(60)
    apply(net, WIDE, confirm_within_s=60)
    confirm(net)
    net.ask(RollbackPolicy, number=1)
    assert kinds(net) == [
        "policy.apply", "policy.apply", "policy.revert", "policy.apply", "policy.confirm", "policy.rollback",
    ]  # fmt: skip
    replayed = net.store.replayed()
    assert replayed.policies == {version.number: version for version in net.coordinator.view.policy_versions()}
    assert not replayed.trials
    assert [row.actor for row in net.store.log if row.kind == "policy.revert"] == ["coordinator"]
    assert msgspec.structs.asdict(replayed.policies[1])["note"] == "first"
