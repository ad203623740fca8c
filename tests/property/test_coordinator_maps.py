"""Random histories: whatever happens, in whatever order it becomes durable, every node holds its fresh map."""

import json

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ghostwire.coordinator import Coordinator, Settings
from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ApproveAccess,
    ApproveRoutes,
    CreateUser,
    DeleteNode,
    DeleteUser,
    ExpireNode,
    LogoutNode,
    RegisterNode,
    RenameNode,
    RequestAccess,
    ResyncNode,
    RevokeAccess,
    RotateNodeKey,
    SetEndpoints,
    SetUserRole,
    TagNode,
)
from ghostwire.coordinator.map_pages import MapParts
from ghostwire.coordinator.state import State
from ghostwire.errors import GhostwireError
from ghostwire.model.access import AccessRequest
from ghostwire.testing.simnet import SimNet, SimNode
from tests.reference.netmap_check import check_all

USERS = ("alice", "bob", "carol")
TAGS = ("tag:web", "tag:db")
ROUTES = ("10.1.0.0/24", "10.2.0.0/24")


def policy(*rules: dict[str, object] | None) -> str:
    """A text with groups, tag owners and postures; with None for a rule, one that has no rules at all."""
    return json.dumps(
        {
            "groups": {"group:dev": ["alice@", "bob@"]},
            "tagOwners": {"tag:web": ["group:dev"], "tag:db": ["alice@"]},
            "postures": {"posture:linux": ["node:os == 'linux'"]},
        }
        | ({} if None in rules else {"acls": [{"action": "accept", **rule} for rule in rules if rule]})
    )


def additions(**own: object) -> str:
    """A text with windows that turn within the first minutes of virtual time, and access that may be asked for."""
    schedules = {"tea": {"days": ["sun"], "hours": ["15:08-15:12", "15:15-15:30"], "zone": "UTC"}}
    groups = {
        "group:oncall": [{"member": "bob@", "schedule": "tea"}, {"member": "carol@", "expires": "2025-06-15T15:14:00Z"}]
    }
    base = json.loads(policy())
    base["ghostwire"] = {"schedules": schedules, "groups": groups, **own}
    return json.dumps(base)


def asking(*approvers: str, ip: str = "*") -> dict[str, object]:
    return {
        "name": "ask", "src": ["autogroup:member"], "dst": ["tag:web", "alice@"], "ip": [ip],
        "approvers": list(approvers), "longest": "1h",
    }  # fmt: skip


POLICIES = (
    policy(None),
    policy(),
    policy({"src": ["group:dev"], "dst": ["tag:web:80,443"]}),
    policy(
        {"src": ["tag:web"], "dst": ["tag:db:5432"]}, {"src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
    ).replace(', "postures": {"posture:linux": ["node:os == \'linux\'"]}', ""),
    policy({"src": ["carol@"], "dst": ["10.1.0.0/16:*", "alice@:22"]}),
    policy({"src": ["autogroup:admin"], "dst": ["*:*"]}),
    policy({"src": ["*"], "dst": ["tag:web:*"]}),
    policy({"src": ["autogroup:member"], "srcPosture": ["posture:linux"], "dst": ["tag:web:80", "autogroup:self:*"]}),
    additions(grants=[{"src": ["alice@"], "dst": ["tag:web", "bob@"], "ip": ["tcp:80"], "schedule": "tea"}]),
    additions(
        grants=[{"src": ["group:oncall"], "dst": ["tag:db"], "ip": ["*"], "expires": "2025-06-15T15:20:00Z"}],
        deny=[{"src": ["carol@"], "dst": ["*"], "schedule": "tea"}],
    ),
    additions(
        conditions={"condition:linux": ["os == 'linux'"]},
        acls=[
            {"action": "accept", "src": ["group:dev"], "dst": ["autogroup:self:*", "tag:db:22"], "schedule": "tea"},
            {"action": "accept", "src": ["*"], "dst": ["tag:web:443"], "when": ["condition:linux"]},
        ],
    ),
    additions(requests=[asking("bob@", "carol@")]),
    additions(requests=[asking("group:oncall", ip="tcp:22")], deny=[{"src": ["bob@"], "dst": ["tag:web"]}]),
)
"""Between them they use owners, groups, roles, tags, prefixes, routes, postures, everyone, windows and requests."""

machines = Bundle("machines")
requests = Bundle("requests")
SECONDS = st.sampled_from([1, 60, 200, 3600])
owners = st.one_of(
    st.sampled_from(USERS).map(lambda user: {"user": user}),
    st.lists(st.sampled_from(TAGS), min_size=1, max_size=2, unique=True).map(
        lambda tags: {"user": None, "tags": tuple(tags)}
    ),
)


class Histories(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([4, 64]), coalesce_s=st.sampled_from([0.0, 0.2]))
    def begin(self, seed: int, window: int, coalesce_s: float) -> None:
        self.net = SimNet(Settings(window=window, ephemeral_idle_s=300.0, coalesce_s=coalesce_s), seed=seed)
        self.serial = 0
        self.maps: dict[tuple[Coordinator, int], tuple[MapParts, int]] = {}

    # Comings and goings.

    @rule(
        target=machines,
        owner=owners,
        ephemeral=st.booleans(),
        name=st.sampled_from(["laptop", "srv", "Ünï.x"]),
        os=st.sampled_from(["", "linux", "darwin"]),
        at_once=st.booleans(),
    )
    def join(self, owner: dict[str, object], ephemeral: bool, name: str, os: str, at_once: bool) -> SimNode:
        self.serial += 1
        node = self.net.node(f"{name}#{self.serial}")
        secret = self.net.key(ephemeral=ephemeral, **owner)
        facts = {"hostname": name, "os": os, "routable_routes": ROUTES}
        if at_once:
            return self.net.arrive(node, secret, **facts)
        return self.net.connect(self.net.register(node, secret, **facts))

    @rule(node=machines)
    def connect(self, node: SimNode) -> None:
        if node.connected:
            self.net.cut(node)
        node.deaf = False
        try:
            self.net.connect(node)
        except GhostwireError:
            node.session = 0

    @rule(node=machines, intent=st.booleans())
    def cut(self, node: SimNode, intent: bool) -> None:
        if node.connected:
            self.net.cut(node, intent=intent)

    @rule(node=machines)
    def go_deaf(self, node: SimNode) -> None:
        """The connection still stands for the coordinator, but nothing arrives: the next one must make up for it."""
        node.deaf = True

    @rule(node=machines, owner=owners, routes=st.sampled_from([(), ROUTES]), os=st.sampled_from(["", "linux"]))
    def register_again(self, node: SimNode, owner: dict[str, object], routes: tuple[str, ...], os: str) -> None:
        facts = {"os": os, "routable_routes": routes}
        self._try(RegisterNode, **self.net.registration(node, self.net.key(**owner), **facts))

    @rule(node=machines)
    def beat(self, node: SimNode) -> None:
        if node.connected and not node.deaf:
            self.net.beat(node)

    @rule(node=machines, port=st.integers(1, 3))
    def roam(self, node: SimNode, port: int) -> None:
        if node.connected:
            self._try(SetEndpoints, node=node.id, session=node.session, endpoints=(f"192.0.2.1:{port}",))

    @rule(node=machines)
    def resync_from_position(self, node: SimNode) -> None:
        """What the server does for a session whose frames it had to skip."""
        if node.connected and node.netmap.position is not None:
            node.deaf = False
            frames = self.net.ask(ResyncNode, node=node.id, session=node.session, resume=node.netmap.position)
            for frame in frames:
                self.net.deliver(node, frame)

    # What operators do.

    @rule(node=machines, name=st.sampled_from(["box", "laptop", "srv-2"]))
    def rename(self, node: SimNode, name: str) -> None:
        self._try(RenameNode, node=node.id, name=name)

    @rule(node=machines, tags=st.lists(st.sampled_from(TAGS), min_size=1, unique=True))
    def tag(self, node: SimNode, tags: list[str]) -> None:
        self._try(TagNode, node=node.id, tags=tuple(tags))

    @rule(node=machines, routes=st.lists(st.sampled_from(ROUTES), unique=True))
    def approve(self, node: SimNode, routes: list[str]) -> None:
        self._try(ApproveRoutes, node=node.id, routes=tuple(routes))

    @rule(node=machines)
    def expire(self, node: SimNode) -> None:
        self._try(ExpireNode, node=node.id)

    @rule(node=machines)
    def rotate(self, node: SimNode) -> None:
        new = self.net.node("spare").key
        del self.net.nodes["spare"]
        if self._try(RotateNodeKey, node=node.id, node_key=node.key, new_key=new):
            node.key = new

    @rule(node=consumes(machines), how=st.sampled_from([DeleteNode, LogoutNode]))
    def remove(self, node: SimNode, how: type[DeleteNode]) -> None:
        self._try(how, node=node.id)

    @rule(text=st.sampled_from(POLICIES))
    def begin_policy(self, text: str) -> None:
        """It is being built while other things happen."""
        if not self.net.builds:
            self.net.hold_builds = True
            self.net.give(ApplyPolicy, text=text, author="test", allow_all=True)
            self.net.hold_builds = False

    @rule()
    def finish_policy(self) -> None:
        if self.net.builds:
            self.net.finish_build()

    @rule(text=st.sampled_from(POLICIES))
    def apply_policy(self, text: str) -> None:
        self.finish_policy()
        self.net.ask(ApplyPolicy, text=text, author="test", allow_all=True)

    @rule(name=st.sampled_from(USERS), role=st.sampled_from(["admin", "member"]))
    def change_role(self, name: str, role: str) -> None:
        user = next((u for u in self.net.coordinator.view.users() if u.name == name), None)
        if user is None:
            self.net.ask(CreateUser, name=name, role=role)
        else:
            self.net.ask(SetUserRole, user=user.id, role=role)

    @rule(name=st.sampled_from(USERS))
    def delete_user(self, name: str) -> None:
        user = next((u for u in self.net.coordinator.view.users() if u.name == name), None)
        if user is not None:
            self._try(DeleteUser, user=user.id)

    # Access on request.

    @rule(target=requests, user=st.sampled_from(USERS), node=machines, source=st.none() | machines, seconds=SECONDS)
    def ask_for_access(self, user: str, node: SimNode, source: SimNode | None, seconds: int) -> AccessRequest | None:
        found = next((u.id for u in self.net.coordinator.view.users() if u.name == user), 0)
        asked = {"user": found, "target": node.id, "ports": ("tcp:22",), "duration_s": seconds}
        try:
            made: AccessRequest = self.net.ask(RequestAccess, **asked, source=None if source is None else source.id)
        except GhostwireError:
            return None
        return made

    @rule(request=requests, user=st.sampled_from(USERS))
    def approve_access(self, request: AccessRequest | None, user: str) -> None:
        found = next((u.id for u in self.net.coordinator.view.users() if u.name == user), 0)
        if request is not None:
            self._try(ApproveAccess, request=request.id, user=found, digest=request.digest)

    @rule(request=requests)
    def revoke_access(self, request: AccessRequest | None) -> None:
        if request is not None:
            self._try(RevokeAccess, request=request.id, user=request.user_id)

    # Time and failure.

    @rule(seconds=st.sampled_from([1.0, 7.0, 61.0, 130.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.net.advance(seconds)

    @rule(graceful=st.booleans(), away_s=st.sampled_from([0.0, 30.0, 500.0]), settle=st.booleans())
    def restart(self, graceful: bool, away_s: float, settle: bool) -> None:
        if settle:
            self.net.advance(6.0)
        self.net.restart(graceful=graceful, away_s=away_s)
        for node in self.net.nodes.values():
            node.deaf = False

    @invariant()
    def every_map_is_fresh(self) -> None:
        if hasattr(self, "net"):
            check_all(self.net)
            assert self.net.coordinator.view.counters.digest_mismatches == 0

    @invariant()
    def the_affected_are_all_whose_map_changed(self) -> None:
        if hasattr(self, "net"):
            core = self.net.coordinator._core
            now = {
                (self.net.coordinator, node.id): (core.mapper.parts(node), core.window.last_change(node.slot))
                for node in core.state.nodes.values()
                if not node.expired
            }
            for key, (parts, changed) in now.items():
                before = self.maps.get(key)
                assert before is None or before[0] == parts or before[1] != changed
            self.maps = now

    @invariant()
    def state_is_tables_and_log(self) -> None:
        if hasattr(self, "net"):
            live = self.net.coordinator._core.state
            assert live.tables == self.net.store.replayed().tables
            assert live.tables == State.load(self.net.store.tables(), live.seq).tables

    def _try(self, make: type, **fields: object) -> bool:
        try:
            self.net.ask(make, **fields)
        except GhostwireError:
            return False
        return True


Histories.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
