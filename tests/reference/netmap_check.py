"""Holds the maps of a simulated network against the slow twin."""

import msgspec

from ghostwire.agent.plan import Ends
from ghostwire.model.node import Node
from ghostwire.policy import AccessGrant
from ghostwire.testing.simnet import SimNet, SimNode
from ghostwire.wire.netmap import NetMap, Profile
from tests.reference.netmap import ReferenceMaps, Shown

_profile = msgspec.msgpack.Decoder(Profile)


def reference(net: SimNet) -> ReferenceMaps:
    view = net.coordinator.view
    nodes = {node.id: node for node in view.nodes()}
    policy = view.policy()
    maps = ReferenceMaps(
        nodes,
        {user.id: user for user in view.users()},
        None if policy is None else policy.text,
        {n: Shown(online=view.health(n).is_online, endpoints=view.endpoints(n)) for n in nodes},
        (net.settings.ipv4_pool, net.settings.ipv6_pool),
        bindings(net),
        at := policy_time(net),
        access(net, nodes, at),
    )
    maps.learn_numbers({n: view.netmap(n).own().class_id for n in maps.nodes})
    return maps


def bindings(net: SimNet) -> dict[str, int]:
    """Which users the names of the policy mean, as the store has it."""
    policy = net.coordinator.view.policy()
    for setting in net.store.tables()["settings"]:
        if setting.name == "policy_bindings" and policy is not None:
            number, found = msgspec.msgpack.decode(setting.value, type=tuple[int, dict[str, int]])
            return found if number == policy.number else {}
    return {}


def policy_time(net: SimNet) -> int:
    """The time as of which the policy holds, as the store has it."""
    tables = net.store.tables()
    turned = [int.from_bytes(found.value, "big") for found in tables["settings"] if found.name == "policy_time"]
    return max([*turned, *(version.at for version in tables["policies"])], default=0)


def access(net: SimNet, nodes: dict[int, Node], at: int) -> list[AccessGrant]:
    """The access that stands, as the store has it: what has fallen is ended there."""
    return [
        AccessGrant(
            id=request.id,
            user=request.user_id,
            source=None if request.source is None else nodes[request.source].slot,
            destinations=(nodes[request.target].slot,),
            ip=request.ports,
            until=request.ends_at,
        )
        for request in net.store.tables()["access_requests"]
        if request.state == "approved" and request.ends_at > at
    ]


def check_node(net: SimNet, maps: ReferenceMaps, node: SimNode) -> None:
    """The map that a node holds is its fresh map, and the digest says so."""
    held = node.netmap
    assert {peer.id: peer for peer in held.all_peers()} == maps.peers(node.id), node.name
    assert held.own() == maps.own(node.id), node.name
    assert held.filter().rules == maps.rules(node.id), node.name
    assert ends(held) == maps.ends(node.id), node.name
    assert {user: _profile.decode(part) for user, part in held.profiles.items()} == maps.profiles(node.id), node.name
    assert held.digest == net.coordinator.view.netmap(node.id).digest, node.name


def ends(held: NetMap) -> dict[int, int]:
    """Until when a map shows each of its peers."""
    sight = Ends(held.filter().ends)
    return {peer.id: sight.of(peer.id, peer.class_id) for peer in held.all_peers()}


def check_waiting_node(net: SimNet, maps: ReferenceMaps, node: SimNode) -> None:
    """The map that a node holds lacks nothing but what may wait: nodes that came, endpoints, who is online."""
    fresh, held = maps.peers(node.id), {peer.id: peer for peer in node.netmap.all_peers()}
    assert held.keys() <= fresh.keys(), node.name
    for number, peer in held.items():
        assert msgspec.structs.replace(peer, endpoints=(), online=False) == msgspec.structs.replace(
            fresh[number], endpoints=(), online=False
        ), node.name
    assert node.netmap.own() == maps.own(node.id), node.name
    assert node.netmap.filter().rules == maps.rules(node.id), node.name
    profiles = {user: _profile.decode(part) for user, part in node.netmap.profiles.items()}
    assert profiles.items() <= maps.profiles(node.id).items(), node.name


def check_all(net: SimNet) -> None:
    """Every connected node that hears what it is sent holds its fresh map, or all of it that may not wait."""
    maps = reference(net)
    check = check_waiting_node if net.coordinator.view.pacer.waiting else check_node
    for node in net.nodes.values():
        if node.connected and not node.deaf:
            check(net, maps, node)
