from collections import Counter
from typing import Any

import msgspec
import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ApproveRoutes,
    CreatePreauthKey,
    CreateUser,
    DeleteNode,
    DeleteUser,
    LogoutNode,
    OrderRotation,
    PurgeCredentials,
    RenameNode,
    ResyncNode,
    RotateNodeKey,
    SetEndpoints,
    SetNodeStatus,
)
from ghostwire.coordinator.effects import Push
from ghostwire.errors import NotFoundError, ResourceExhaustedError, ValidationError
from ghostwire.testing.simnet import SimNet, SimNode
from ghostwire.wire import codec
from ghostwire.wire.messages import MapFull
from ghostwire.wire.netmap import Peer
from tests.reference.netmap_check import check_all, reference

OPEN = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
WEB = '{"tagOwners": {"tag:web": ["alice@"]}, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["tag:web:80"]}]}'


@pytest.fixture
def net() -> SimNet:
    return SimNet(seed=1)


def roam(net: SimNet, node: SimNode, port: int) -> None:
    net.ask(SetEndpoints, node=node.id, session=node.session, endpoints=(f"192.0.2.1:{port}",))


def test_without_a_policy_each_user_sees_their_own(net: SimNet) -> None:
    alice, bob = net.key("alice"), net.key("bob")
    a, b, c, d = (
        net.join("a", alice),
        net.join("b", alice),
        net.join("c", bob),
        net.join("d", net.key(None, tags=("tag:x",))),
    )
    assert [sorted(node.netmap.peers) for node in (a, b, c, d)] == [[b.id], [a.id], [], []]
    assert a.netmap.owners() == {1: "alice"}
    assert d.netmap.owners() == {}
    check_all(net)


def test_a_peer_part_shows_nothing_else(net: SimNet) -> None:
    net.ask(CreateUser, name="alice", email="alice@example.org")
    secret = net.key("alice")
    a = net.join("a", secret)
    net.join(
        "b", secret, os="secret-os", region="secret-region", agent_version="secret-version", metadata=b"secret-meta"
    )
    part = next(iter(a.netmap.peers.values()))
    shown = "id name key ipv4 ipv6 class owner tags online endpoints routes node_type until"
    assert set(msgspec.msgpack.decode(part)) <= set(shown.split())
    assert b"secret" not in part
    assert b"example" not in b"".join(a.netmap.profiles.values())


def test_one_frame_serves_all_viewers_of_a_change(net: SimNet) -> None:
    secret = net.key()
    nodes = [net.join(str(i), secret) for i in range(5)]
    net.pushes.clear()
    roam(net, nodes[0], 7)
    assert [sorted(push.slots) for push in net.pushes] == [[1, 2, 3, 4]]
    assert all(node.netmap.peer(nodes[0].id).endpoints == ("192.0.2.1:7",) for node in nodes[1:])


def test_maps_come_in_pages_of_512_peers_and_until_the_last_the_old_one_stands(net: SimNet) -> None:
    secret = net.key()
    for number in range(1030):
        net.register(net.node(f"n{number}"), secret)
    node = net.join("viewer", secret)
    assert len(node.netmap.peers) == 1030
    pages = [codec.decode_from_server(frame) for frame in net.ask(ResyncNode, node=node.id, session=node.session)]
    assert [len(page.parts.peers) for page in pages if isinstance(page, MapFull)] == [512, 512, 6]
    assert [page.last for page in pages if isinstance(page, MapFull)] == [False, False, True]
    assert [page.position is None for page in pages if isinstance(page, MapFull)] == [True, True, False]
    for _ in range(5):
        net.ask(ResyncNode, node=node.id, session=node.session)
    with pytest.raises(ResourceExhaustedError):
        net.ask(ResyncNode, node=node.id, session=node.session)


def test_resume_is_unchanged_a_delta_or_whole(net: SimNet) -> None:
    alice = net.key("alice")
    a, b, c = net.join("a", alice), net.join("b", alice), net.join("c", net.key("bob"))
    net.cut(a)
    roam(net, c, 1)
    net.connect(a)
    assert a.heard[-1] == "unchanged"
    net.cut(a)
    roam(net, b, 1)
    net.ask(RenameNode, node=b.id, name="renamed")
    net.ask(LogoutNode, node=c.id)
    net.connect(a)
    assert a.heard[-1] == "delta"
    check_all(net)
    assert a.netmap.position is not None
    a.netmap.position = msgspec.structs.replace(a.netmap.position, log=b"another log 0123")
    net.connect(a)
    assert a.heard[-1] == "full"
    a.netmap.position = msgspec.structs.replace(a.netmap.position, boot=b"unknown boot 012")
    net.connect(a)
    assert a.heard[-1] == "full"


def test_a_window_that_is_gone_means_a_whole_map() -> None:
    net = SimNet(Settings(window=4), seed=1)
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret)
    net.cut(a)
    for port in range(1, 20):
        roam(net, b, port)
    net.connect(a)
    assert a.heard[-1] == "full"


def test_a_quiet_nodes_position_is_kept_young_by_its_heartbeats() -> None:
    net = SimNet(Settings(window=8), seed=1)
    a, b = net.join("a", net.key("alice")), net.join("b", net.key("bob"))
    positions = set()
    for port in range(1, 40):
        roam(net, b, port)
        net.beat(a)
        positions.add(a.netmap.position)
    assert len(positions) > 3
    assert a.heard == ["full"]
    net.restart()
    net.connect(a)
    assert a.heard == ["full", "unchanged"]


def test_a_quiet_nodes_map_is_unchanged_however_much_happened_to_others() -> None:
    net = SimNet(Settings(window=4, coalesce_s=0.0), seed=1)
    alice = net.key("alice")
    a, other, b = net.join("a", alice), net.join("other", alice), net.join("b", net.key("bob"))
    for port in range(1, 40):
        roam(net, b, port)
    net.cut(a)
    net.connect(a)
    assert a.heard[-1] == "unchanged"
    net.cut(a)
    roam(net, other, 7)
    for port in range(1, 40):
        roam(net, b, port)
    net.connect(a)
    assert a.heard[-1] == "full"
    check_all(net)


def test_changes_without_end_are_one_message_a_node_and_window() -> None:
    net = SimNet(Settings(coalesce_s=0.2), seed=1)
    secret = net.key()
    nodes = [net.join(f"n{number}", secret) for number in range(12)]
    net.advance(5.0)
    began, told = net.coordinator.view.pacer.windows, Counter[int]()
    net.pushes.clear()
    for change in range(1000):
        roam(net, nodes[change % 12], 1 + change)
        if change % 50 == 0:
            net.beat(nodes[change % 11])
        net.advance(0.01)
    told.update(slot for push in net.pushes for slot in push.slots)
    windows = net.coordinator.view.pacer.windows - began
    assert windows == 50
    assert set(told.values()) <= {windows - 1, windows}
    net.advance(1.0)
    assert not net.coordinator.view.pacer.waiting
    check_all(net)


def test_a_graceful_restart_moves_no_maps(net: SimNet) -> None:
    alice, bob = net.key("alice"), net.key("bob")
    nodes = [net.join(f"a{i}", alice) for i in range(4)] + [net.join(f"b{i}", bob) for i in range(4)]
    away = nodes[0]
    net.cut(away)
    roam(net, nodes[1], 5)
    net.restart()
    for node in nodes:
        net.connect(node)
    assert away.heard[-1] == "delta"
    assert [node.heard[-1] for node in nodes[1:]] == ["unchanged"] * 7
    net.restart(graceful=False)
    for node in nodes:
        net.connect(node)
    check_all(net)


def test_classes_keep_their_numbers_across_a_restart_so_no_map_moves_then_either(net: SimNet) -> None:
    net.ask(ApplyPolicy, text=WEB, author="op")
    first = net.join("gone", net.key("bob"))
    nodes = [net.join("web", net.key(None, tags=("tag:web",))), net.join("a", net.key("alice"))]
    net.ask(LogoutNode, node=first.id)
    nodes.append(net.join("a2", net.key("alice")))
    rules = nodes[0].netmap.filter().rules
    net.restart()
    for node in nodes:
        net.connect(node)
    assert [node.heard[-1] for node in nodes] == ["unchanged"] * 3
    assert net.coordinator.view.netmap(nodes[0].id).filter().rules == rules
    net.join("b", net.key("bob"))
    check_all(net)


def test_a_crash_after_the_flush_moves_no_maps_either(net: SimNet) -> None:
    secret = net.key()
    nodes = [net.join(f"n{i}", secret) for i in range(4)]
    net.advance(5)
    net.restart(graceful=False)
    for node in nodes:
        net.connect(node)
    assert [node.heard[-1] for node in nodes] == ["unchanged"] * 4


def test_a_wrong_digest_is_counted_and_repaired_twice_an_hour(net: SimNet) -> None:
    node = net.join("a", net.key())
    for _ in range(3):
        node.netmap._digest ^= 1
        net.beat(node)
    assert net.coordinator.view.counters.digest_mismatches == 3
    assert node.heard.count("full") == 1 + 2
    for _ in range(140):
        net.advance(30)
        net.beat(node)
    assert node.heard.count("full") == 1 + 3
    assert node.netmap.digest == net.coordinator.view.netmap(node.id).digest


def test_frames_that_were_lost_are_made_up_for_at_the_second_heartbeat(net: SimNet) -> None:
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret)
    a.deaf = True
    roam(net, b, 7)
    a.deaf = False
    net.beat(a)
    assert a.netmap.peer(b.id).endpoints == ()
    net.advance(30)
    net.beat(a)
    assert a.netmap.peer(b.id).endpoints == ("192.0.2.1:7",)
    assert a.heard[-1] == "delta"
    check_all(net)


def test_a_policy_that_loses_a_peer_reaches_both_ends_at_once(net: SimNet) -> None:
    secret = net.key("alice")
    a, b = net.join("a", secret), net.join("b", secret)
    web = net.join("web", net.key(None, tags=("tag:web",)))
    net.ask(ApplyPolicy, text=WEB, author="op", note="first")
    assert [sorted(node.netmap.peers) for node in (a, b, web)] == [[web.id], [web.id], [a.id, b.id]]
    check_all(net)
    net.pushes.clear()
    policy = net.ask(ApplyPolicy, text='{"acls": []}', author="op")
    assert (policy.number, net.coordinator.view.policy()) == (2, policy)
    assert all(not node.netmap.peers for node in (a, b, web))
    assert all(push.urgent for push in net.pushes)
    check_all(net)


def test_a_text_that_allows_everything_must_say_so(net: SimNet) -> None:
    with pytest.raises(ValidationError, match="--allow-all"):
        net.ask(ApplyPolicy, text="{}", author="op")
    with pytest.raises(ValidationError):
        net.ask(ApplyPolicy, text='{"acls": [', author="op")
    assert net.ask(ApplyPolicy, text="{}", author="op", allow_all=True).number == 1


def test_a_name_in_a_policy_means_the_same_user_for_ever(net: SimNet) -> None:
    web = net.join("web", net.key(None, tags=("tag:web",)))
    first = net.join("a", net.key("alice"))
    net.ask(ApplyPolicy, text=WEB, author="op")
    assert list(first.netmap.peers) == [web.id]
    net.ask(LogoutNode, node=first.id)
    net.ask(DeleteUser, user=net.coordinator.view.user_by_name("alice").id)
    for _ in range(2):
        second = net.join(f"b{len(net.nodes)}", net.key("alice"))
        assert second.netmap.peers.keys() & {web.id} == set()
        net.restart(graceful=False)
        net.connect(web)


def test_a_join_tells_filters_again_only_for_a_first_of_its_class(net: SimNet) -> None:
    net.ask(ApplyPolicy, text=WEB, author="op")
    secret = net.key("alice")
    web = net.join("web", net.key(None, tags=("tag:web",)))
    before = web.netmap.filter().rules
    net.join("a", secret)
    first = web.netmap.filter().rules
    assert first != before
    frames: list[Push] = net.pushes
    frames.clear()
    net.join("b", secret)
    assert web.netmap.filter().rules == first
    assert all(b"filter" not in push.frame for push in frames)
    check_all(net)


def test_a_filter_is_encoded_once_for_all_nodes_with_the_same_rules(net: SimNet) -> None:
    net.ask(ApplyPolicy, text=WEB, author="op")
    alice, web = net.key("alice"), net.key(None, tags=("tag:web",))
    servers = [net.join("web", web) for _ in range(3)]
    net.join("a", alice)
    mapper = net.coordinator._core.mapper

    def filters() -> set[int]:
        nodes = [net.coordinator.view.node(server.id) for server in servers]
        return {id(mapper.filter_part(node)) for node in nodes}

    assert len(filters()) == 1
    net.ask(ApplyPolicy, text=WEB.replace(":80", ":443"), author="op")
    assert len(filters()) == 1
    assert servers[0].netmap.filter().rules[0].ports == ((443, 443),)
    check_all(net)


def test_routes_show_once_offered_and_approved(net: SimNet) -> None:
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret, routable_routes=("10.0.0.0/8", "192.168.0.0/24"))
    with pytest.raises(ValidationError):
        net.ask(ApproveRoutes, node=b.id, routes=("172.16.0.0/12",))
    net.ask(ApproveRoutes, node=b.id, routes=("10.0.0.0/8",))
    assert a.netmap.peer(b.id).routes == b.netmap.own().routes == ("10.0.0.0/8",)
    net.ask(SetNodeStatus, node=b.id, status="maintenance")
    check_all(net)


def test_queries_answer_from_the_askers_own_view(net: SimNet) -> None:
    alice = net.key("alice")
    a, b, c = net.join("a", alice), net.join("b", alice), net.join("c", net.key("bob"))
    view = net.coordinator.view
    own = view.netmap(a.id).peers[b.id]
    record = view.node(b.id)
    for found in (
        view.peers(a.id, node=b.id),
        view.peers(a.id, name="b"),
        view.peers(a.id, name="b.mesh.ghost"),
        view.peers(a.id, address=record.ipv4),
        view.peers(a.id, address=record.ipv6),
        view.peers(a.id),
    ):
        assert found == (own,)
    stranger = view.node(c.id)
    texts = set()
    outside: list[dict[str, Any]] = [{"node": c.id}, {"name": "c"}, {"address": stranger.ipv4}]
    for query in (*outside, {"node": 99}, {"name": "nobody"}, {"address": "x"}, {"node": a.id}):
        with pytest.raises(NotFoundError) as refused:
            view.peers(a.id, **query)
        texts.add(str(refused.value))
    assert len(texts) == 1
    assert msgspec.msgpack.decode(own, type=Peer).name == "b"


def test_an_order_to_rotate_waits_for_the_session(net: SimNet) -> None:
    node = net.join("a", net.key())
    for _ in range(2):
        net.ask(OrderRotation, node=node.id)
        assert node.heard[-1] == "RotateOrder"
    net.cut(node)
    net.connect(node)
    assert node.heard[-2:] == ["unchanged", "RotateOrder"]


@pytest.mark.parametrize("graceful", [True, False])
def test_an_order_to_rotate_stands_until_the_new_key_has_come_also_over_a_restart(net: SimNet, graceful: bool) -> None:
    node, other = net.join("a", net.key()), net.join("b", net.key())
    net.cut(node)
    net.ask(OrderRotation, node=node.id)
    net.restart(graceful=graceful)
    for _ in range(2):
        assert net.coordinator.view.node(node.id).rotation_ordered
        net.connect(node)
        assert node.heard[-1] == "RotateOrder"
        net.cut(node)
    net.connect(node)
    new = net.node("new").key
    rotated = net.ask(RotateNodeKey, node=node.id, node_key=node.key, new_key=new)
    node.key, node.token = new, rotated.token
    assert not net.coordinator.view.node(node.id).rotation_ordered
    net.cut(node)
    net.restart(graceful=graceful)
    net.connect(node)
    net.connect(other)
    assert "RotateOrder" not in (node.heard[-1], *other.heard)


def test_an_order_to_rotate_is_told_to_a_session_that_outlived_a_crash(net: SimNet) -> None:
    secret = net.key()
    node, other = net.join("a", secret), net.join("b", secret)
    net.advance(10.0)
    sessions = [(node, node.session), (other, other.session)]
    net.ask(OrderRotation, node=node.id)
    heard = (len(node.heard), len(other.heard))
    net.restart(graceful=False)
    for each, session in sessions:
        net.adopt(each, session)
    assert (node.heard[heard[0] :], other.heard[heard[1] :]) == (["RotateOrder"], [])


def test_an_order_to_rotate_moves_no_maps_over_a_crash(net: SimNet) -> None:
    secret = net.key()
    node, other = net.join("a", secret), net.join("b", secret)
    net.advance(10.0)
    net.ask(OrderRotation, node=node.id)
    net.restart(graceful=False)
    net.connect(node)
    net.connect(other)
    assert node.heard[-2:] == ["unchanged", "RotateOrder"]
    assert other.heard[-1] == "unchanged"


def test_a_purge_moves_no_maps_over_a_crash(net: SimNet) -> None:
    node = net.join("a", net.key())
    ended = net.ask(CreatePreauthKey, user="alice", life_s=60.0)
    net.advance(30 * 86_400.0 + 90.0)
    net.connect(node)
    net.advance(10.0)
    assert ended.id in [key.id for key in net.coordinator.view.preauth_keys()]
    net.ask(PurgeCredentials)
    assert net.store.log[-1].kind == "credential.purge"
    net.restart(graceful=False)
    net.connect(node)
    assert node.heard[-1] == "unchanged"


def test_the_affected_are_told_and_nobody_else(net: SimNet) -> None:
    """Whoever's fresh map differs after a change is in the slots of its frames; others are not woken."""
    alice, bob = net.key("alice"), net.key("bob")
    nodes = [net.join(f"a{i}", alice) for i in range(3)] + [net.join(f"b{i}", bob) for i in range(3)]
    digests = {node.id: net.coordinator.view.netmap(node.id).digest for node in nodes}
    net.pushes.clear()
    net.ask(RenameNode, node=nodes[0].id, name="other")
    changed = {n.slot for n in nodes if net.coordinator.view.netmap(n.id).digest != digests[n.id]}
    assert set().union(*(push.slots for push in net.pushes)) == changed == {0, 1, 2}
    reference(net)


def test_a_whole_map_that_waited_is_as_of_when_it_is_sent(net: SimNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostwire.coordinator.policy_control.LARGEST_DELTA", 0)
    secrets = [net.key(user) for user in ("alice", "bob", "carol")]
    nodes = [net.join(f"n{number}", secrets[number % 3]) for number in range(9)]
    net.hold_maps = True
    net.ask(ApplyPolicy, text=OPEN, author="op", allow_all=True)
    roam(net, nodes[1], 9)
    net.ask(DeleteNode, node=nodes[0].id)
    net.cut(nodes[2])
    net.connect(nodes[2])
    late = net.join("late", secrets[1])
    net.ask(ApplyPolicy, text=WEB, author="op")
    net.ask(RenameNode, node=nodes[4].id, name="renamed")
    assert nodes[3].netmap.position.seq < late.netmap.position.seq
    assert len(late.netmap.peers) == 8
    net.bring_maps()
    assert late.netmap.peers == {}
    check_all(net)
    net.hold_maps = False
    net.ask(ApplyPolicy, text=OPEN, author="op", allow_all=True)
    check_all(net)
