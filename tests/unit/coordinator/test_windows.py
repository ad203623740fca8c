"""Windows of the policy in virtual time: each turns at its moment, as a logged change, for the nodes it concerns."""

import json
from typing import Any

import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import ApplyPolicy, LogoutNode
from ghostwire.errors import DatabaseError
from ghostwire.model.time import SECOND
from ghostwire.testing.clock import START_UTC
from ghostwire.testing.simnet import SimNet, SimNode
from tests.reference.netmap_check import check_all, ends

BEGIN = "2025-06-15T15:06:40Z"
"""When virtual time begins, a Sunday."""
MINUTE = 60
TO_OPENING = 3 * MINUTE + 20
"""From there to 15:10, when the window of `SCHEDULES` opens; ten minutes later it closes."""
SCHEDULES = {"tea": {"days": ["sun"], "hours": ["15:10-15:20"], "zone": "UTC"}}
GRANT: dict[str, Any] = {"src": ["alice@"], "dst": ["tag:web"], "ip": ["tcp:80"]}
DENY: dict[str, Any] = {"src": ["alice@"], "dst": ["tag:web"]}
OPEN = {"action": "accept", "src": ["alice@"], "dst": ["tag:web:*"]}


def policy(*acls: dict[str, Any], **own: Any) -> str:
    return json.dumps({"tagOwners": {"tag:web": []}, "acls": list(acls), "ghostwire": own})


class Mesh:
    """Alice's laptop, a web server, and Bob's desk, whom none of it concerns."""

    def __init__(self) -> None:
        self.net = SimNet(Settings(silence_s=1e9), seed=9)
        self.laptop = self.net.join("laptop", self.net.key("alice"))
        self.web = self.net.join("web", self.net.key(None, tags=("tag:web",)))
        self.desk = self.net.join("desk", self.net.key("bob"))

    def apply(self, text: str) -> None:
        self.net.ask(ApplyPolicy, text=text, author="test")

    @property
    def is_open(self) -> bool:
        """Whether the two know each other, as both of their maps say."""
        check_all(self.net)
        known = self.laptop.id in self.web.netmap.peers
        assert known == (self.web.id in self.laptop.netmap.peers)
        return known

    def turns(self) -> list[float]:
        """When windows turned by the log, in seconds since the beginning."""
        return [(row.ts - START_UTC) / SECOND for row in self.net.store.log if row.kind == "policy.window"]

    def restart(self, **how: Any) -> None:
        self.net.restart(**how)
        self.net.advance(0)
        for node in (self.laptop, self.web, self.desk):
            self.net.connect(node)


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


def test_a_schedule_opens_and_closes_at_its_moments(mesh: Mesh) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    assert not mesh.is_open
    mesh.net.advance(TO_OPENING - 0.001)
    assert not mesh.is_open
    mesh.net.advance(0.001)
    assert mesh.is_open
    closes = START_UTC + (TO_OPENING + 600) * SECOND
    assert [rule.until for rule in mesh.web.netmap.filter().rules] == [closes]
    assert ends(mesh.web.netmap) == {mesh.laptop.id: closes}
    assert ends(mesh.laptop.netmap) == {mesh.web.id: closes}
    mesh.net.advance(600 - 0.001)
    assert mesh.is_open
    mesh.net.advance(0.001)
    assert not mesh.is_open
    mesh.net.advance(7 * 86_400)
    assert mesh.turns() == [TO_OPENING, TO_OPENING + 600, 604_800 + TO_OPENING, 604_800 + TO_OPENING + 600]
    assert {row.actor for row in mesh.net.store.log if row.kind == "policy.window"} == {"coordinator"}


def test_a_peer_that_is_seen_for_good_as_well_does_not_end(mesh: Mesh) -> None:
    mesh.apply(policy(OPEN, schedules=SCHEDULES, grants=[{**GRANT, "ip": ["udp:53"], "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    assert mesh.is_open
    assert [rule.until > 0 for rule in mesh.web.netmap.filter().rules] == [False, True]
    assert ends(mesh.web.netmap) == {mesh.laptop.id: 0}


def test_a_join_tells_nobody_of_ends_anew(mesh: Mesh) -> None:
    """Ends name classes: who joins one that ends is known to end with it."""
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    before = mesh.web.netmap.parts["filter"]
    tablet = mesh.net.join("tablet", mesh.net.key("alice"))
    mesh.net.advance(2)
    assert mesh.web.netmap.parts["filter"] == before
    assert ends(mesh.web.netmap).keys() == {mesh.laptop.id, tablet.id}
    assert len(set(ends(mesh.web.netmap).values())) == 1


def test_it_reaches_exactly_those_whom_it_concerns(mesh: Mesh) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    for seconds in (TO_OPENING, 600):
        before = {node.name: list(node.heard) for node in mesh.net.nodes.values()}
        mesh.net.advance(seconds)
        assert {n.name for n in mesh.net.nodes.values() if n.heard != before[n.name]} == {"laptop", "web"}


@pytest.mark.parametrize(
    "own",
    [
        {"grants": [{**GRANT, "expires": "2025-06-15T15:16:40Z"}]},
        {"acls": [{**OPEN, "expires": "2025-06-15T15:16:40Z"}]},
        {
            "groups": {"group:oncall": [{"member": "alice@", "expires": "2025-06-15T15:16:40Z"}]},
            "grants": [{**GRANT, "src": ["group:oncall"]}],
        },
    ],
)
def test_rules_and_memberships_expire(mesh: Mesh, own: dict[str, Any]) -> None:
    mesh.apply(policy(**own))
    assert mesh.is_open
    assert [rule.until for rule in mesh.web.netmap.filter().rules] == [START_UTC + 600 * SECOND]
    assert ends(mesh.laptop.netmap) == {mesh.web.id: START_UTC + 600 * SECOND}
    mesh.net.advance(600 - 0.001)
    assert mesh.is_open
    mesh.net.advance(0.001)
    assert not mesh.is_open
    assert mesh.turns() == [600]
    mesh.net.advance(86_400)
    assert mesh.turns() == [600]


def test_a_deny_rule_has_a_window_too(mesh: Mesh) -> None:
    mesh.apply(policy(OPEN, schedules=SCHEDULES, deny=[{**DENY, "schedule": "tea"}]))
    assert mesh.is_open
    mesh.net.advance(TO_OPENING)
    assert not mesh.is_open
    mesh.net.advance(600)
    assert mesh.is_open


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize(("away_s", "left_s"), [(60.0, 540.0), (900.0, 0.0)])
def test_across_a_restart(mesh: Mesh, graceful: bool, away_s: float, left_s: float) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    assert mesh.is_open
    mesh.restart(graceful=graceful, away_s=away_s)
    if left_s:
        mesh.net.advance(left_s - 0.001)
        assert mesh.is_open
        mesh.net.advance(0.001)
    assert not mesh.is_open


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_set_back_opens_nothing_again(mesh: Mesh, restart: bool) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING + 600)
    assert not mesh.is_open
    mesh.net.clock.set_back(300)
    if restart:
        mesh.restart(graceful=False)
    for _ in range(5):
        mesh.net.advance(60)
        assert not mesh.is_open


def test_a_clock_that_jumps_ahead_is_noticed_within_a_minute(mesh: Mesh) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    assert mesh.is_open
    mesh.net.clock.set_back(-3600)
    mesh.net.advance(60)
    assert not mesh.is_open


def test_a_node_that_was_away_is_told_what_turned(mesh: Mesh) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    assert mesh.is_open
    mesh.net.cut(mesh.laptop)
    mesh.net.advance(600)
    mesh.net.connect(mesh.laptop)
    assert not mesh.is_open


def test_one_who_joins_in_a_window_has_what_it_opens(mesh: Mesh) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    phone: SimNode = mesh.net.join("phone", mesh.net.key("alice"))
    assert mesh.web.id in phone.netmap.peers
    mesh.net.advance(600)
    assert not phone.netmap.peers.keys() & {mesh.web.id}
    assert not mesh.is_open


def test_another_policy_has_its_own_windows(mesh: Mesh) -> None:
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(MINUTE)
    mesh.apply(policy(grants=[{**GRANT, "expires": "2025-06-15T15:09:00Z"}]))
    assert mesh.is_open
    mesh.net.advance(140 - MINUTE)
    assert not mesh.is_open
    mesh.apply(policy(OPEN))
    mesh.net.advance(86_400)
    assert mesh.turns() == [140]


def test_a_window_that_is_over_stays_shut_whatever_comes_back(mesh: Mesh) -> None:
    text = policy(grants=[{**GRANT, "expires": "2025-06-15T15:16:40Z"}])
    mesh.apply(text)
    mesh.net.advance(600)
    mesh.apply(policy())
    mesh.apply(text)
    assert not mesh.is_open


def test_a_store_that_fails_is_asked_again(mesh: Mesh) -> None:
    mesh.apply(policy(grants=[{**GRANT, "expires": "2025-06-15T15:16:40Z"}]))
    mesh.net.hold = True
    mesh.net.advance(600)
    mesh.net.settle(fail=True, error=DatabaseError("the disk is full"))
    assert mesh.is_open
    mesh.net.advance(1)
    mesh.net.settle()
    assert not mesh.is_open


def test_the_log_alone_says_what_time_it_is_for_the_policy(mesh: Mesh) -> None:
    """No clock is read: another coordinator over the same log has the same maps, whatever its own clock says."""
    mesh.apply(policy(schedules=SCHEDULES, grants=[{**GRANT, "schedule": "tea"}]))
    mesh.net.advance(TO_OPENING)
    tables = mesh.net.store.replayed().tables
    assert tables == mesh.net.coordinator._core.state.tables
    assert int.from_bytes(tables["settings"]["policy_time"].value, "big") == START_UTC + TO_OPENING * SECOND


def test_whom_a_denial_hides_comes_and_goes_without_a_word() -> None:
    """Until when somebody will be seen is told of those who are seen: the others' going reaches no map."""
    mesh = Mesh()
    grant = {**GRANT, "expires": "2025-06-15T15:30:00Z"}
    mesh.apply(policy(grants=[grant], deny=[{**DENY, "schedule": "tea"}], schedules=SCHEDULES))
    assert mesh.is_open
    mesh.net.advance(TO_OPENING)
    assert not mesh.is_open
    mesh.net.ask(LogoutNode, node=mesh.web.id)
    check_all(mesh.net)
    mesh.net.join("another", mesh.net.key(None, tags=("tag:web",)))
    check_all(mesh.net)
    mesh.net.advance(10 * MINUTE)
    assert len(mesh.laptop.netmap.peers) == 1
    check_all(mesh.net)
