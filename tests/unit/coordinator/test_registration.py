import pytest

from ghostwire.coordinator import Settings
from ghostwire.coordinator.commands import (
    CreateUser,
    DeleteNode,
    ExpireNode,
    LogoutNode,
    OpenSession,
    RegisterNode,
    RenameNode,
    RevokePreauthKey,
    RotateNodeKey,
    TagNode,
)
from ghostwire.coordinator.effects import KeyRotated, Registered
from ghostwire.errors import AuthenticationError, ConflictError, ResourceExhaustedError, ValidationError
from ghostwire.model.node import Node
from ghostwire.testing.simnet import SimNet, SimNode


@pytest.fixture
def net() -> SimNet:
    return SimNet(seed=1)


def again(net: SimNet, node: SimNode, secret: str | None, **facts: object) -> Registered:
    registered: Registered = net.ask(RegisterNode, **net.registration(node, secret, **facts))
    return registered


def record(net: SimNet, node: SimNode) -> Node:
    return net.coordinator.view.node(node.id)


def test_a_new_machine_gets_a_name_a_slot_and_both_addresses(net: SimNet) -> None:
    node = record(net, net.register(net.node("Anna's MacBook.local"), net.key(), os="linux", region="eu"))
    assert node.name == "anna-s-macbook"
    assert (node.ipv4, node.ipv6) == ("100.64.0.1", "fd7a:115c:a1e0::1")
    assert (node.slot, node.os, node.region, node.user_id, node.tags) == (0, "linux", "eu", 1, ())


def test_the_same_node_key_is_the_same_node_with_the_same_address(net: SimNet) -> None:
    node = net.register(net.node("a"), net.key())
    before = record(net, node)
    assert again(net, node, None, hostname="other", os="linux") == Registered(node=node.id, created=False)
    after = record(net, node)
    assert (after.id, after.ipv4, after.ipv6, after.slot, after.name) == (
        before.id,
        before.ipv4,
        before.ipv6,
        before.slot,
        before.name,
    )
    assert after.os == "linux"


def test_asking_again_with_the_same_one_use_key_counts_once(net: SimNet) -> None:
    secret = net.key(uses=1)
    node = net.register(net.node("a"), secret)
    rows = len(net.store.log)
    assert again(net, node, secret).node == node.id
    assert len(net.store.log) == rows
    with pytest.raises(AuthenticationError, match="used up"):
        net.register(net.node("b"), secret)


def test_under_another_owner_it_is_a_conflict(net: SimNet) -> None:
    node = net.register(net.node("a"), net.key("alice"))
    for other in (net.key("bob"), net.key(None, tags=("tag:web",))):
        with pytest.raises(ConflictError, match="another owner"):
            again(net, node, other)


def test_an_unknown_machine_needs_a_key_that_holds(net: SimNet) -> None:
    revoked = net.key(uses=5)
    net.ask(RevokePreauthKey, key=1)
    short = net.key(life_s=60.0)
    two = net.key(uses=2)
    for secret in (None, "", "gwk_", "gwk_" + "A" * 43, short.replace("gwk_", "gwt_"), revoked):
        with pytest.raises(AuthenticationError):
            net.register(net.node("x"), secret)
    net.register(net.node("a"), two)
    net.register(net.node("b"), two)
    with pytest.raises(AuthenticationError):
        net.register(net.node("c"), two)
    net.advance(59.999)
    net.register(net.node("d"), short)
    net.advance(0.001)
    with pytest.raises(AuthenticationError, match="expired"):
        net.register(net.node("e"), short)


def test_a_clock_set_back_opens_nothing_again(net: SimNet) -> None:
    short = net.key(life_s=60.0)
    net.advance(70)
    with pytest.raises(AuthenticationError, match="expired"):
        net.register(net.node("a"), short)
    net.clock.set_back(3600)
    with pytest.raises(AuthenticationError, match="expired"):
        net.register(net.node("a"), short)
    net.restart()
    with pytest.raises(AuthenticationError, match="expired"):
        net.register(net.node("a"), short)


def test_the_highest_time_seen_outlives_a_kill_where_nothing_else_was_written(net: SimNet) -> None:
    short = net.key(life_s=60.0)
    net.advance(125)
    rows = len(net.store.log)
    net.clock.set_back(3600)
    net.restart(graceful=False)
    with pytest.raises(AuthenticationError, match="expired"):
        net.register(net.node("a"), short)
    net.advance(2 * 3600)
    assert len(net.store.log) == rows + 1
    assert net.store.log[-1].kind == "clock.note"


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, bytes(31), b""])
def test_unusable_node_keys_are_refused(net: SimNet, key: bytes) -> None:
    node = net.node("a")
    node.key = key
    with pytest.raises(ValidationError):
        net.register(node, net.key())


def test_reported_names_are_cleaned_and_collisions_numbered(net: SimNet) -> None:
    secret = net.key()
    reported = [
        "laptop",
        "Laptop.lan",
        "LAPTOP",
        "localhost",
        "wpad",
        "_dmarc",
        "Ünïcode",
        "---",
        "",
        "a" * 80,
        "a" * 80,
    ]
    names = [record(net, net.register(net.node(str(i)), secret, hostname=h)).name for i, h in enumerate(reported)]
    assert names == [
        "laptop",
        "laptop-2",
        "laptop-3",
        "node",
        "node-2",
        "dmarc",
        "unicode",
        "node-3",
        "node-4",
        "a" * 63,
        "a" * 61 + "-2",
    ]


@pytest.mark.parametrize(
    "name", ["localhost", "wpad", "isatap", "_x", "ghost", "-a", "a-", "a.b", "a b", "ü", "a" * 64]
)
def test_bad_requested_names_are_refused(name: str) -> None:
    net = SimNet(Settings(reserved_names=("ghost",)), seed=1)
    with pytest.raises(ValidationError):
        net.register(net.node("a"), net.key(), requested_name=name)
    node = net.register(net.node("b"), net.key())
    with pytest.raises(ValidationError):
        net.ask(RenameNode, node=node.id, name=name)


def test_requested_names_win_and_change_when_another_is_asked_for(net: SimNet) -> None:
    secret = net.key()
    a = net.register(net.node("a"), secret, hostname="x", requested_name="Web")
    b = net.register(net.node("b"), secret, requested_name="web")
    assert (record(net, a).name, record(net, b).name) == ("web", "web-2")
    again(net, b, None, requested_name="web")
    assert record(net, b).name == "web-2"
    again(net, b, None, requested_name="db")
    assert record(net, b).name == "db"


def test_strings_from_machines_are_capped_and_stripped(net: SimNet) -> None:
    node = record(net, net.register(net.node("a"), net.key(), os="li\x00nux\x1b[31m\u202e" + "x" * 500, region="\n"))
    assert node.os.startswith("linux[31m")
    assert len(node.os) == 64
    assert node.region == ""
    with pytest.raises(ValidationError):
        net.register(net.node("b"), net.key(), metadata=bytes(5000))
    with pytest.raises(ValidationError):
        net.register(net.node("b"), net.key(), routable_routes=("10.0.0.1/8",))


def test_an_expired_node_is_invisible_refused_and_revived_by_a_key(net: SimNet) -> None:
    one = net.key(uses=1)
    a, b = net.join("a", net.key()), net.join("b", one)
    address = record(net, b).ipv4
    net.ask(ExpireNode, node=b.id)
    assert a.netmap.peers == {}
    assert not b.connected
    for ask in (lambda: net.connect(b), lambda: again(net, b, None)):
        with pytest.raises(AuthenticationError, match="ghostwire up --key"):
            ask()
    with pytest.raises(AuthenticationError, match="used up"):
        again(net, b, one)
    assert not again(net, b, net.key()).created
    net.connect(b)
    assert a.netmap.peer(b.id).online
    assert record(net, b).ipv4 == address


def test_node_keys_expire_at_their_moment_through_the_log() -> None:
    net = SimNet(Settings(node_expiry_s=7200.0), seed=1)
    user, tagged = net.join("a", net.key()), net.join("b", net.key(None, tags=("tag:x",)))
    registered = net.clock.mono
    net.run_to(registered + 7200 - 0.001)
    assert not record(net, user).expired
    net.run_to(registered + 7200)
    assert record(net, user).expired
    assert net.store.log[-1].kind == "node.expire"
    assert user.closed is not None
    assert not record(net, tagged).expired


def test_deleted_keys_are_refused_for_ever_and_logged_out_ones_are_not(net: SimNet) -> None:
    secret = net.key()
    a, b, c = (net.join(name, secret) for name in "abc")
    net.ask(DeleteNode, node=b.id)
    assert (b.closed is not None, b.connected) == (True, False)
    assert b.id not in a.netmap.peers
    net.ask(LogoutNode, node=c.id)
    net.restart()
    for ask in (lambda: net.register(b, secret), lambda: net.connect(b)):
        with pytest.raises(AuthenticationError, match="refused for ever"):
            ask()
    with pytest.raises(AuthenticationError):
        net.connect(c)
    assert net.register(c, secret).id > c.slot


def test_revocation_reaches_peers_at_once(net: SimNet) -> None:
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret)
    net.pushes.clear()
    net.ask(DeleteNode, node=b.id)
    assert [(push.urgent, list(push.slots)) for push in net.pushes] == [(True, [a.slot])]


def test_rotation_swaps_the_key_voids_the_token_and_refuses_the_old_key(net: SimNet) -> None:
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret)
    old, new, token = b.key, net.node("spare").key, b.token
    rotated: KeyRotated = net.ask(RotateNodeKey, node=b.id, node_key=old, new_key=new)
    assert a.netmap.peer(b.id).key == new
    assert rotated.token != token
    for key in (old, a.key):
        with pytest.raises(ConflictError):
            net.ask(RotateNodeKey, node=b.id, node_key=new, new_key=key)
    with pytest.raises(AuthenticationError):
        net.ask(RotateNodeKey, node=b.id, node_key=old, new_key=net.node("other").key)
    with pytest.raises(AuthenticationError, match="rotated away"):
        net.ask(OpenSession, node_key=old)
    b.key, b.token = new, rotated.token
    del net.nodes["spare"]
    assert net.connect(b).token == rotated.token


def test_ids_are_never_given_again(net: SimNet) -> None:
    secret = net.key()
    ids = [net.register(net.node(str(i)), secret).id for i in range(3)]
    net.ask(DeleteNode, node=ids[2])
    net.ask(DeleteNode, node=ids[1])
    net.restart()
    assert net.register(net.node("new"), secret).id > ids[2]


def test_tagging_replaces_the_owner(net: SimNet) -> None:
    secret = net.key()
    a, b = net.join("a", secret), net.join("b", secret)
    net.ask(TagNode, node=b.id, tags=("tag:web", "tag:db", "tag:web"))
    assert (record(net, b).user_id, record(net, b).tags) == (None, ("tag:db", "tag:web"))
    assert a.netmap.peers == {}
    for tags in ((), ("web",), ("tag:",), ("tag:A",)):
        with pytest.raises(ValidationError):
            net.ask(TagNode, node=b.id, tags=tags)


def test_pools_run_out_by_name_and_size_and_take_nothing_then() -> None:
    net = SimNet(Settings(ipv4_pool="10.1.0.0/29"), seed=1)
    secret = net.key()
    first = [record(net, net.register(net.node(str(i)), secret)) for i in range(6)]
    assert [node.ipv4 for node in first] == [f"10.1.0.{i}" for i in range(1, 7)]
    with pytest.raises(ResourceExhaustedError, match=r"10\.1\.0\.0/29 .* 6 addresses"):
        net.register(net.node("x"), secret)
    assert [pool.free for pool in net.coordinator.view.addresses()] == [0, 2**24 - 1 - 1 - 6]


def test_released_addresses_rest() -> None:
    net = SimNet(Settings(ipv4_pool="10.1.0.0/30"), seed=1)
    kept = net.register(net.node("a"), net.key(life_s=10 * 86_400))
    secret = net.key(life_s=10 * 86_400)
    gone = net.register(net.node("b"), secret)
    net.ask(DeleteNode, node=gone.id)
    assert net.coordinator.view.addresses()[0].resting == 1
    net.advance(86_400 - 120)
    net.restart()
    with pytest.raises(ResourceExhaustedError):
        net.register(net.node("c"), secret)
    net.advance(240)
    fresh = record(net, net.register(net.node("c"), secret))
    assert fresh.ipv4 == "10.1.0.2"
    assert fresh.ipv4 != record(net, kept).ipv4
    assert net.store.tables()["resting_addresses"] == ()


def test_who_reports_a_name_of_a_user_that_exists_is_no_user(net: SimNet) -> None:
    net.ask(CreateUser, name="Alice", display_name="Alice\x00 A.")
    users = net.coordinator.view.users()
    assert [(user.name, user.display_name) for user in users] == [("alice", "Alice A.")]
    with pytest.raises(ConflictError):
        net.ask(CreateUser, name="ALICE")
    net.key("alice")
    assert len(net.coordinator.view.users()) == 1
