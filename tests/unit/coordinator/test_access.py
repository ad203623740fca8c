"""Access on request: who may ask, who approves exactly what was asked, and every way in which it ends."""

import json
from typing import Any

import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.access import MOST_PENDING
from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ApproveAccess,
    CreateUser,
    DeleteNode,
    DeleteUser,
    DenyAccess,
    ExpireNode,
    RenameNode,
    RequestAccess,
    RevokeAccess,
    RollbackPolicy,
    SetUserRole,
    TagNode,
)
from ghostwire.errors import (
    ConflictError,
    DatabaseError,
    GhostwireError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ValidationError,
)
from ghostwire.model.access import AccessRequest
from ghostwire.model.time import SECOND
from ghostwire.testing.simnet import SimNet, SimNode
from tests.reference.netmap_check import check_all

SSH = 22
TCP = 6
RULE: dict[str, Any] = {
    "name": "prod-ssh",
    "src": ["group:dev"],
    "dst": ["tag:prod"],
    "ip": ["tcp:22"],
    "approvers": ["group:leads"],
    "longest": "4h",
}


def policy(
    *rules: dict[str, Any], leads: tuple[str, ...] = ("bob@", "carol@"), acls: tuple[Any, ...] = (), **more: Any
) -> str:
    return json.dumps(
        {
            "groups": {"group:dev": ["alice@", "carol@"], "group:leads": list(leads)},
            "tagOwners": {"tag:prod": [], "tag:spare": []},
            "acls": list(acls),
            "ghostwire": {"requests": list(rules), **more},
        }
    )


class Mesh:
    """Alice's laptop and phone, Bob's desk, Carol's tablet, and the server that Alice may ask for."""

    def __init__(self) -> None:
        self.net = SimNet(Settings(silence_s=1e9), seed=5)
        self.laptop, self.phone = (self.net.join(name, self.net.key("alice")) for name in ("laptop", "phone"))
        self.desk = self.net.join("desk", self.net.key("bob"))
        self.tablet = self.net.join("tablet", self.net.key("carol"))
        self.db = self.net.join("db", self.net.key(None, tags=("tag:prod",)))
        names = ("alice", "bob", "carol")
        self.alice, self.bob, self.carol = (self.net.coordinator.view.user_by_name(name).id for name in names)
        self.apply(policy(RULE))

    def apply(self, text: str) -> None:
        self.net.ask(ApplyPolicy, text=text, author="test")

    def request(self, **changes: Any) -> AccessRequest:
        asked = {"user": self.alice, "target": self.db.id, "ports": ("tcp:22",), "duration_s": 3600, **changes}
        made: AccessRequest = self.net.ask(RequestAccess, **asked)
        return made

    def approve(self, request: AccessRequest, by: int | None = None, **changes: Any) -> AccessRequest:
        asked = {"request": request.id, "user": by or self.bob, "digest": request.digest, **changes}
        made: AccessRequest = self.net.ask(ApproveAccess, **asked)
        return made

    def state(self, request: AccessRequest) -> str:
        return self.net.coordinator.view.access_request(request.id).state_at(self.net.clock().utc)

    def is_open(self, source: SimNode, port: int = SSH) -> bool:
        """Whether the policy lets the source in, and the maps of both say so."""
        check_all(self.net)
        seen = self.db.id in source.netmap.peers
        assert seen == (source.id in self.db.netmap.peers)
        views = self.net.coordinator._core.views
        allowed = views.engine.decide(source.slot, self.db.slot, TCP, port)
        assert seen or not allowed
        return allowed

    def kinds(self) -> list[str]:
        return [row.kind for row in self.net.store.log if row.kind.startswith("access.")]


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


def test_approved_it_opens_exactly_that_and_ends_by_itself(mesh: Mesh) -> None:
    assert not mesh.is_open(mesh.laptop)
    request = mesh.request(reason="INC-7")
    assert (request.rule, request.reason, mesh.state(request)) == ("prod-ssh", "INC-7", "pending")
    assert not mesh.is_open(mesh.laptop)
    mesh.net.advance(600)
    approved = mesh.approve(request)
    assert (approved.approver, approved.ends_at) == (mesh.bob, mesh.net.clock().utc + 3600 * SECOND)
    assert mesh.is_open(mesh.laptop)
    assert mesh.is_open(mesh.phone)
    assert not mesh.is_open(mesh.laptop, port=23)
    assert not mesh.is_open(mesh.tablet)
    assert [rule.until for rule in mesh.db.netmap.filter().rules] == [approved.ends_at]
    mesh.net.advance(3599.999)
    assert mesh.is_open(mesh.laptop)
    mesh.net.advance(0.001)
    assert not mesh.is_open(mesh.laptop)
    assert not mesh.is_open(mesh.phone)
    row = mesh.net.store.log[-1]
    assert (row.kind, row.actor, row.ts) == ("policy.window", "coordinator", approved.ends_at)
    ended = mesh.net.coordinator.view.access_request(request.id)
    assert (ended.state, ended.ends_at, ended.outcome) == ("ended", approved.ends_at, "its time was over")


def test_only_those_hear_of_it_whom_it_concerns(mesh: Mesh) -> None:
    request = mesh.request()
    heard = {node.name: list(node.heard) for node in mesh.net.nodes.values()}
    mesh.approve(request)
    mesh.net.advance(3600)
    moved = {node.name for node in mesh.net.nodes.values() if node.heard != heard[node.name]}
    assert moved == {"laptop", "phone", "db"}


def test_one_node_may_be_asked_for_alone(mesh: Mesh) -> None:
    mesh.approve(mesh.request(source=mesh.laptop.id))
    assert mesh.is_open(mesh.laptop)
    assert not mesh.is_open(mesh.phone)
    with pytest.raises(PermissionDeniedError, match="not the requester's"):
        mesh.request(source=mesh.desk.id)


def test_nobody_approves_his_own(mesh: Mesh) -> None:
    """Carol may ask, and Carol may approve; but not both."""
    own = mesh.request(user=mesh.carol)
    with pytest.raises(PermissionDeniedError, match="nobody approves his own"):
        mesh.approve(own, by=mesh.carol)
    with pytest.raises(PermissionDeniedError, match="nobody approves his own"):
        mesh.approve(own, by=mesh.bob, holder=mesh.carol)
    assert mesh.state(own) == "pending"
    assert mesh.net.coordinator.view.access_approvers(own) == (mesh.bob,)
    mesh.approve(own)
    assert mesh.is_open(mesh.tablet)


def test_an_approval_binds_the_very_request(mesh: Mesh) -> None:
    asked = mesh.request()
    others = [mesh.request(duration_s=3601), mesh.request(source=mesh.laptop.id), mesh.request(user=mesh.carol)]
    assert len({request.digest for request in (asked, *others)}) == 4
    for other in (*others, None):
        with pytest.raises(ConflictError, match="digest"):
            mesh.approve(asked, digest=bytes(32) if other is None else other.digest)
    mesh.approve(asked)
    with pytest.raises(ConflictError, match="is approved already"):
        mesh.approve(asked)


def test_a_request_lapses_after_an_hour(mesh: Mesh) -> None:
    first, second = mesh.request(), mesh.request(duration_s=60)
    mesh.net.advance(3599.999)
    mesh.approve(first)
    mesh.net.advance(0.001)
    assert mesh.state(second) == "lapsed"
    with pytest.raises(ConflictError, match="has lapsed"):
        mesh.approve(second)
    with pytest.raises(ConflictError, match="has lapsed"):
        mesh.net.ask(DenyAccess, request=second.id, user=mesh.bob)
    mesh.request(duration_s=60)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"user": "bob"}, PermissionDeniedError),
        ({"user": 999}, NotFoundError),
        ({"target": 999}, NotFoundError),
        ({"target": "desk"}, PermissionDeniedError),
        ({"ports": ("tcp:23",)}, PermissionDeniedError),
        ({"ports": ("tcp:22", "tcp:23")}, PermissionDeniedError),
        ({"ports": ("*",)}, PermissionDeniedError),
        ({"ports": ()}, ValidationError),
        ({"ports": ("",)}, ValidationError),
        ({"ports": ("nonsense",)}, ValidationError),
        ({"duration_s": 4 * 3600 + 1}, ValidationError),
        ({"duration_s": 0}, ValidationError),
        ({"duration_s": -1}, ValidationError),
    ],
)
def test_only_what_a_rule_names_can_be_asked_for(
    mesh: Mesh, changes: dict[str, Any], error: type[GhostwireError]
) -> None:
    named = {"bob": mesh.bob, "desk": mesh.desk.id}
    with pytest.raises(error):
        mesh.request(**{field: named.get(str(value), value) for field, value in changes.items()})
    assert mesh.net.coordinator.view.access_requests() == ()


def test_only_approvers_approve(mesh: Mesh) -> None:
    request = mesh.request()
    dave = mesh.net.ask(CreateUser, name="dave", role="admin").id
    for user in (dave, 999):
        with pytest.raises(PermissionDeniedError, match="other approvers"):
            mesh.approve(request, by=user)
    assert mesh.state(request) == "pending"


def test_the_same_is_asked_for_once_and_not_without_bound(mesh: Mesh) -> None:
    mesh.request()
    with pytest.raises(ConflictError, match="asks for the same"):
        mesh.request()
    for second in range(1, MOST_PENDING):
        mesh.request(duration_s=second)
    with pytest.raises(ResourceExhaustedError):
        mesh.request(duration_s=7000)
    mesh.request(user=mesh.carol)
    mesh.net.advance(3600)
    mesh.request()


def test_it_never_overrides_deny(mesh: Mesh) -> None:
    mesh.approve(mesh.request())
    assert mesh.is_open(mesh.laptop)
    mesh.apply(policy(RULE, deny=[{"src": ["alice@"], "dst": ["tag:prod"]}]))
    assert not mesh.is_open(mesh.laptop)
    mesh.approve(mesh.request(duration_s=60))
    assert not mesh.is_open(mesh.laptop)


def test_denied_it_stays_denied(mesh: Mesh) -> None:
    request = mesh.request()
    with pytest.raises(PermissionDeniedError):
        mesh.net.ask(DenyAccess, request=request.id, user=999)
    denied = mesh.net.ask(DenyAccess, request=request.id, user=mesh.bob, reason="use the replica")
    assert (denied.state, denied.outcome) == ("denied", "use the replica")
    with pytest.raises(ConflictError, match="is denied already"):
        mesh.approve(request)
    withdrawn = mesh.request()
    assert mesh.net.ask(DenyAccess, request=withdrawn.id, user=mesh.alice).state == "denied"


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "dave"])
def test_revoked_it_ends_at_once(mesh: Mesh, who: str) -> None:
    """By who asked, who approved, who might have; and by an administrator."""
    mesh.net.ask(CreateUser, name="dave", role="admin")
    stranger = mesh.net.ask(CreateUser, name="erin").id
    request = mesh.approve(mesh.request())
    with pytest.raises(PermissionDeniedError):
        mesh.net.ask(RevokeAccess, request=request.id, user=stranger)
    assert mesh.is_open(mesh.laptop)
    revoked = mesh.net.ask(
        RevokeAccess, request=request.id, user=mesh.net.coordinator.view.user_by_name(who).id, reason="done"
    )
    assert (revoked.state, revoked.outcome, revoked.ends_at) == ("revoked", "done", mesh.net.clock().utc)
    assert not mesh.is_open(mesh.laptop)
    with pytest.raises(ConflictError, match="nothing to revoke"):
        mesh.net.ask(RevokeAccess, request=request.id, user=mesh.bob)


EXTRA: dict[str, Any] = {"action": "accept", "src": ["bob@"], "dst": ["tag:prod:443"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (policy(), "its rule is gone"),
        (policy({**RULE, "name": "other"}), "its rule is gone"),
        (policy({**RULE, "ip": ["tcp:23"]}), "its rule is gone"),
        (policy({**RULE, "src": ["carol@"]}), "its rule is gone"),
        (policy({**RULE, "dst": ["tag:spare"]}), "its rule is gone"),
        (policy(RULE, leads=("carol@",)), "its approver may no longer approve it"),
        (policy({**RULE, "longest": "30m"}), "its rule no longer allows it for so long"),
        (policy(RULE, acls=(EXTRA,)), ""),
        (policy({**RULE, "longest": "2h"}, acls=(EXTRA,)), ""),
    ],
)
def test_it_ends_with_its_rule_and_nothing_brings_it_back(mesh: Mesh, text: str, why: str) -> None:
    request = mesh.approve(mesh.request())
    mesh.apply(text)
    assert (mesh.state(request), mesh.is_open(mesh.laptop)) == (("ended", False) if why else ("approved", True))
    mesh.net.ask(RollbackPolicy)
    found = mesh.net.coordinator.view.access_request(request.id)
    assert (found.outcome, mesh.is_open(mesh.laptop)) == (why, not why)
    mesh.net.restart(graceful=False)
    mesh.net.connect(mesh.laptop)
    mesh.net.connect(mesh.db)
    assert mesh.is_open(mesh.laptop) == (not why)


def test_it_ends_with_its_people_and_its_nodes(mesh: Mesh) -> None:
    view = mesh.net.coordinator.view

    def outcome(make: type, request: AccessRequest, **fields: Any) -> str:
        assert mesh.state(request) == "approved"
        mesh.net.ask(make, **fields)
        check_all(mesh.net)
        found = view.access_request(request.id)
        assert found.state == "ended"
        return found.outcome

    only = mesh.approve(mesh.request(source=mesh.laptop.id))
    assert outcome(DeleteNode, only, node=mesh.laptop.id) == "its source is gone"
    by_bob = mesh.approve(mesh.request())
    mesh.net.ask(RenameNode, node=mesh.db.id, name="database")
    assert mesh.is_open(mesh.phone)
    mesh.net.ask(DeleteNode, node=mesh.desk.id)
    assert outcome(DeleteUser, by_bob, user=mesh.bob) == "its approver is gone"
    by_carol = mesh.approve(mesh.request(), by=mesh.carol)
    mesh.net.ask(DeleteNode, node=mesh.phone.id)
    assert outcome(DeleteUser, by_carol, user=mesh.alice) == "its requester is gone"


@pytest.mark.parametrize(
    ("make", "fields", "why"),
    [
        (DeleteNode, {}, "its target is gone"),
        (ExpireNode, {}, "its target is gone"),
        (TagNode, {"tags": ("tag:spare",)}, "its rule is gone"),
    ],
)
def test_it_ends_with_its_target(mesh: Mesh, make: type, fields: dict[str, Any], why: str) -> None:
    request = mesh.approve(mesh.request())
    mesh.net.ask(make, node=mesh.db.id, **fields)
    found = mesh.net.coordinator.view.access_request(request.id)
    assert (found.state, found.outcome) == ("ended", why)
    assert not mesh.laptop.netmap.peers.keys() & {mesh.db.id}
    check_all(mesh.net)


def test_going_back_waits_for_the_end_of_what_fell(mesh: Mesh) -> None:
    """However fast the version that ended it is rolled back: that it ended comes first."""
    request = mesh.approve(mesh.request())
    mesh.net.hold = True
    applied = mesh.net.give(ApplyPolicy, text=policy(), author="test")
    back = mesh.net.give(RollbackPolicy)
    mesh.net.settle()
    assert mesh.net.answer(applied).number == 2
    assert [persist.kind for persist in mesh.net.held] == ["access.end"]
    assert not mesh.net.is_answered(back)
    mesh.net.hold = False
    while mesh.net.held:
        mesh.net.settle()
    assert mesh.net.answer(back).restores == 1
    assert mesh.state(request) == "ended"
    assert not mesh.is_open(mesh.laptop)


def test_what_fell_before_a_crash_ends_after_it(mesh: Mesh) -> None:
    request = mesh.approve(mesh.request())
    mesh.net.hold = True
    mesh.net.give(ApplyPolicy, text=policy(), author="test")
    mesh.net.settle()
    assert [persist.kind for persist in mesh.net.held] == ["access.end"]
    mesh.net.hold = False
    mesh.net.restart(graceful=False)
    mesh.net.ask(RollbackPolicy)
    assert mesh.state(request) == "ended"
    mesh.net.connect(mesh.laptop)
    mesh.net.connect(mesh.db)
    assert not mesh.is_open(mesh.laptop)


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("away_s", [10.0, 4000.0])
def test_it_ends_in_time_across_a_restart(mesh: Mesh, graceful: bool, away_s: float) -> None:
    mesh.approve(mesh.request())
    mesh.net.advance(600)
    mesh.net.restart(graceful=graceful, away_s=away_s)
    mesh.net.advance(0)
    for node in (mesh.laptop, mesh.db):
        mesh.net.connect(node)
    if away_s < 3000:
        mesh.net.advance(3600 - 600 - away_s - 0.001)
        assert mesh.is_open(mesh.laptop)
        mesh.net.advance(0.001)
    assert not mesh.is_open(mesh.laptop)


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_set_back_brings_nothing_back_and_keeps_nothing_open(mesh: Mesh, restart: bool) -> None:
    ended = mesh.approve(mesh.request(duration_s=60))
    mesh.net.advance(60)
    mesh.approve(mesh.request(duration_s=120))
    mesh.net.clock.set_back(3000)
    if restart:
        mesh.net.restart(graceful=False)
        for node in (mesh.laptop, mesh.db):
            mesh.net.connect(node)
    mesh.net.advance(1)
    assert mesh.net.coordinator.view.access_request(ended.id).state == "ended"
    assert mesh.is_open(mesh.laptop)
    mesh.net.advance(119.01)
    assert not mesh.is_open(mesh.laptop)


def test_a_store_that_fails_is_asked_again(mesh: Mesh) -> None:
    request = mesh.approve(mesh.request(duration_s=60))
    mesh.net.hold = True
    mesh.net.advance(60)
    assert [persist.kind for persist in mesh.net.held] == ["policy.window"]
    mesh.net.settle(fail=True, error=DatabaseError("the disk is full"))
    mesh.net.advance(1)
    mesh.net.settle()
    assert mesh.net.coordinator.view.access_request(request.id).state == "ended"
    assert not mesh.is_open(mesh.laptop)


def test_a_role_that_was_the_reason_ends_it(mesh: Mesh) -> None:
    mesh.net.ask(SetUserRole, user=mesh.bob, role="admin")
    mesh.apply(policy({**RULE, "approvers": ["autogroup:admin"]}))
    request = mesh.approve(mesh.request())
    mesh.net.ask(SetUserRole, user=mesh.bob, role="member")
    assert mesh.state(request) == "ended"
    assert not mesh.is_open(mesh.laptop)


def test_the_log_alone_tells_the_whole_story(mesh: Mesh) -> None:
    mesh.net.ask(RevokeAccess, request=mesh.approve(mesh.request()).id, user=mesh.alice)
    mesh.net.ask(DenyAccess, request=mesh.request(duration_s=5).id, user=mesh.bob)
    mesh.approve(mesh.request(duration_s=6))
    mesh.apply(policy())
    assert mesh.kinds() == [
        "access.request", "access.approve", "access.revoke",
        "access.request", "access.deny",
        "access.request", "access.approve", "access.end",
    ]  # fmt: skip
    replayed = mesh.net.store.replayed()
    assert replayed.access == {request.id: request for request in mesh.net.coordinator.view.access_requests()}
    assert replayed.approved == {}
    assert {row.actor for row in mesh.net.store.log if row.kind == "access.end"} == {"coordinator"}
