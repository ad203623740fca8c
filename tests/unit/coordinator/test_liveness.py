"""Exact deadlines, in virtual time."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.coordinator import Settings, conversations
from ghostwire.coordinator.commands import DeleteNode, HearNodes, HeartbeatNode, SessionClosed, SetEndpoints
from ghostwire.errors import NotFoundError, ValidationError
from ghostwire.model.beat import Beat
from ghostwire.model.node import NodeMetrics
from ghostwire.testing.simnet import SimNet, SimNode

MOMENT = 0.001


@pytest.fixture
def net() -> SimNet:
    return SimNet(seed=1)


def pair(net: SimNet) -> tuple[SimNode, SimNode]:
    secret = net.key("alice")
    return net.join("a", secret), net.join("b", secret)


def keep_alive(net: SimNet, node: SimNode, seconds: float) -> None:
    for _ in range(round(seconds / 30)):
        net.advance(30)
        net.beat(node)


def shown_online(viewer: SimNode, node: SimNode) -> bool:
    return viewer.netmap.peer(node.id).online


def test_silence_leads_over_grace_to_offline_at_120_s(net: SimNet) -> None:
    a, b = pair(net)
    view = net.coordinator.view
    b_heard = net.clock.mono
    net.advance(30)
    net.beat(a)
    net.run_to(b_heard + 60 - MOMENT)
    net.beat(a)
    assert not view.health(b.id).in_grace_period
    net.run_to(b_heard + 60)
    health = view.health(b.id)
    assert health.in_grace_period
    assert health.is_online
    assert health.consecutive_misses == 2
    assert health.time_since_last_heartbeat == pytest.approx(60)
    net.beat(a)
    heard = len(a.heard)
    net.run_to(b_heard + 120 - MOMENT)
    assert shown_online(a, b)
    assert len(a.heard) == heard
    net.run_to(b_heard + 120)
    assert not shown_online(a, b)
    assert not view.health(b.id).is_online
    assert b.closed is not None
    assert b.closed[0] == "unavailable"
    assert view.session(b.id) is None


def test_a_heartbeat_ends_grace_and_nobody_is_told(net: SimNet) -> None:
    a, b = pair(net)
    net.run_to(net.clock.mono + 55)
    net.beat(a)
    net.advance(10)
    assert net.coordinator.view.health(b.id).in_grace_period
    heard = len(a.heard)
    net.beat(b)
    health = net.coordinator.view.health(b.id)
    assert not health.in_grace_period
    assert health.consecutive_misses == 0
    for _ in range(10):
        keep_alive(net, a, 30)
        net.beat(b)
    assert net.coordinator.view.health(b.id).is_online
    assert "delta" not in a.heard[heard:]


def test_who_watches_is_told_who_comes_and_goes_and_of_nothing_else(
    net: SimNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    observer = net.coordinator.view.counters.observer
    monkeypatch.setattr(observer, "presence", lambda node, state: told.append((node.name, state)))
    a, b = pair(net)
    for port in (1, 2):
        net.ask(SetEndpoints, node=b.id, session=b.session, endpoints=(f"192.0.2.1:{port}",))
    keep_alive(net, a, 120)
    net.connect(b)
    net.cut(a, intent=True)
    assert told == [
        ("a", "online"),
        ("b", "online"),
        ("b", "grace"),
        ("b", "offline"),
        ("b", "online"),
        ("a", "offline"),
    ]


def test_a_closed_session_is_grace_at_once_and_offline_60_s_later(net: SimNet) -> None:
    a, b = pair(net)
    net.cut(b)
    closed = net.clock.mono
    assert net.coordinator.view.health(b.id).in_grace_period
    net.run_to(closed + 30)
    net.beat(a)
    net.run_to(closed + 60 - MOMENT)
    assert shown_online(a, b)
    net.run_to(closed + 60)
    assert not shown_online(a, b)


def test_coming_back_within_grace_is_no_change(net: SimNet) -> None:
    a, b = pair(net)
    net.cut(b)
    net.advance(50)
    heard = len(a.heard)
    net.connect(b)
    assert b.heard[-1] == "unchanged"
    net.advance(20)
    assert len(a.heard) == heard


def test_leaving_by_intent_is_offline_at_once(net: SimNet) -> None:
    a, b = pair(net)
    net.cut(b, intent=True)
    assert not shown_online(a, b)


def test_a_late_end_of_an_old_connection_says_nothing_of_the_new_one(net: SimNet) -> None:
    a, b = pair(net)
    old = b.session
    net.connect(b)
    net.ask(SessionClosed, node=b.id, session=old, intent=True)
    assert shown_online(a, b)
    assert net.coordinator.view.session(b.id) == b.session
    with pytest.raises(NotFoundError):
        net.ask(HeartbeatNode, node=b.id, session=old)


def test_signs_of_life_that_were_answered_elsewhere_count_for_live_sessions_only(net: SimNet) -> None:
    a, b = pair(net)
    old = b.session
    net.connect(b)
    net.advance(50)
    before = dict(net.coordinator.view.counters.heartbeats)
    metrics = NodeMetrics(load_factor=0.5)
    beats = [Beat(a.id, a.session, metrics), Beat(b.id, old, metrics), Beat(99, 1, metrics)]
    assert net.ask(HearNodes, beats=beats) is None
    view = net.coordinator.view
    assert {how: count - before[how] for how, count in view.counters.heartbeats.items() if count != before[how]} == {
        "ok": 1,
        "stale": 2,
    }
    assert view.metrics(a.id) == metrics
    assert view.metrics(b.id) is None
    net.advance(55)
    assert not view.health(a.id).in_grace_period
    assert view.health(b.id).in_grace_period


def test_after_a_start_nodes_have_two_minutes_to_come_back_unnoticed(net: SimNet) -> None:
    a, b = pair(net)
    net.advance(6)
    net.restart(away_s=3600)
    started = net.clock.mono
    net.connect(a)
    assert a.heard[-1] == "unchanged"
    assert net.coordinator.view.health(b.id).in_grace_period
    keep_alive(net, a, 90)
    net.run_to(started + 120 - MOMENT)
    assert shown_online(a, b)
    net.run_to(started + 120)
    assert not shown_online(a, b)


def test_a_node_that_never_had_a_session_is_offline_and_unseen(net: SimNet) -> None:
    node = net.register(net.node("a"), net.key())
    health = net.coordinator.view.health(node.id)
    assert not health.is_online
    assert health.last_seen == 0
    assert health.time_since_last_heartbeat is None


def test_heartbeats_carry_metrics_and_endpoints_reach_peers(net: SimNet) -> None:
    a, b = pair(net)
    metrics = NodeMetrics(
        load_factor=0.5, latency_ms=3.0, uptime_seconds=9, bandwidth_mbps=1.5, bytes_in=1, bytes_out=2
    )
    net.beat(b, metrics)
    assert net.coordinator.view.metrics(b.id) == metrics
    net.ask(
        SetEndpoints, node=b.id, session=b.session, endpoints=("192.0.2.1:51820", "[2001:DB8::1]:1", "192.0.2.1:51820")
    )
    assert a.netmap.peer(b.id).endpoints == ("192.0.2.1:51820", "[2001:db8::1]:1")
    heard = len(a.heard)
    net.ask(SetEndpoints, node=b.id, session=b.session, endpoints=("192.0.2.1:51820", "[2001:db8::1]:1"))
    assert len(a.heard) == heard


@pytest.mark.parametrize(("seconds", "kept"), [(4.9, ()), (5.1, ("192.0.2.1:51820",))])
def test_what_may_be_lost_is_on_disk_within_5_s(net: SimNet, seconds: float, kept: tuple[str, ...]) -> None:
    node = net.join("a", net.key())
    net.advance(30)
    net.ask(SetEndpoints, node=node.id, session=node.session, endpoints=("192.0.2.1:51820",))
    net.advance(seconds)
    net.restart(graceful=False)
    assert net.coordinator.view.endpoints(node.id) == kept
    assert net.coordinator.view.node(node.id).name == "a"


octets = st.integers(0, 299).map(str) | st.sampled_from(["0", "00", "01", "223", "224", "239", "240", "255", "256", ""])
ports = st.integers(0, 70_000).map(str) | st.sampled_from(["0", "080", "65535", "65536", "123456", "", "-1", "\u0661"])


@given(st.lists(octets, min_size=3, max_size=5).map(".".join), ports)
def test_plain_endpoints_are_taken_as_others_are(host: str, port: str) -> None:
    def answer(read: Callable[[str], str]) -> str:
        try:
            return read(f"{host}:{port}")
        except ValidationError as error:
            return f"refused: {error}"

    assert answer(conversations._endpoint) == answer(conversations._read_endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "192.0.2.1",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "2001:db8::1:1",
        "[192.0.2.1]:1",
        "0.0.0.0:1",
        "[fe80::1%eth0]:1",
        "x:1",
        "",
    ],
)
def test_bad_endpoints_are_refused(net: SimNet, endpoint: str) -> None:
    a, _ = pair(net)
    with pytest.raises(ValidationError):
        net.ask(SetEndpoints, node=a.id, session=a.session, endpoints=(endpoint,))


def test_ephemeral_nodes_go_after_their_idle_time_and_not_before_a_first_session() -> None:
    net = SimNet(Settings(ephemeral_idle_s=600.0), seed=3)
    secret = net.key(ephemeral=True, life_s=200_000)
    unborn = net.register(net.node("unborn"), secret)
    gone = net.join("gone", secret)
    net.cut(gone)
    closed = net.clock.mono
    net.run_to(closed + 300)
    net.connect(gone)
    net.cut(gone)
    closed = net.clock.mono
    net.run_to(closed + 600 - MOMENT)
    assert net.coordinator.view.node(gone.id).ephemeral
    net.run_to(closed + 600)
    with pytest.raises(NotFoundError):
        net.coordinator.view.node(gone.id)
    net.advance(86_400)
    assert net.coordinator.view.node(unborn.id).ephemeral
    again = net.connect(net.register(gone, secret))
    assert again.connected


def test_an_ephemeral_node_that_falls_silent_counts_from_its_last_sign_of_life() -> None:
    net = SimNet(Settings(ephemeral_idle_s=600.0), seed=3)
    node = net.join("n", net.key(ephemeral=True))
    last = net.clock.mono
    node.deaf = True
    net.run_to(last + 600 - MOMENT)
    assert net.coordinator.view.node(node.id)
    net.run_to(last + 600)
    with pytest.raises(NotFoundError):
        net.coordinator.view.node(node.id)


def test_an_ephemeral_node_keeps_its_idle_time_across_a_restart() -> None:
    net = SimNet(Settings(ephemeral_idle_s=600.0), seed=3)
    node = net.join("n", net.key(ephemeral=True))
    net.cut(node)
    net.restart(away_s=86_400)
    started = net.clock.mono
    net.run_to(started + 600 - MOMENT)
    assert net.coordinator.view.node(node.id)
    net.run_to(started + 600)
    with pytest.raises(NotFoundError):
        net.coordinator.view.node(node.id)


def test_a_deleted_node_leaves_no_deadline_behind(net: SimNet) -> None:
    a, b = pair(net)
    net.ask(DeleteNode, node=b.id)
    assert b.closed is not None
    net.advance(600)
    with pytest.raises(NotFoundError):
        net.coordinator.view.health(b.id)
    assert a.id
