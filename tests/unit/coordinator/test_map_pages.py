"""Whole maps while they are on their way: pages as msgspec encodes them, changes that come in between."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from ghostwire._native import netmap
from ghostwire.coordinator.commands import DeleteNode, RenameNode, ResyncNode, SetEndpoints
from ghostwire.coordinator.map_pages import PAGE_BYTES, PAGE_PEERS, MapPlan, full_frames
from ghostwire.model.position import Position
from ghostwire.testing.simnet import SimNet, SimNode
from ghostwire.wire import codec
from ghostwire.wire.messages import MapFull
from ghostwire.wire.netmap import SINGLE_PARTS, NetMap, part_hash
from tests.reference.netmap_arena import Arena as SlowArena
from tests.reference.netmap_check import check_all

POSITION = Position(log=b"log", seq=1, boot=b"boot", vseq=2)


@pytest.mark.parametrize(("peers", "profiles", "size"), [(0, 0, 10), (3, 1, 300), (1_300, 600, 40), (30, 40, 70_000)])
def test_pages_are_what_the_messages_encode_to(peers: int, profiles: int, size: int) -> None:
    source = random.Random(size)
    arena, twin = netmap.Arena(), SlowArena()
    for slot in range(peers):
        part = source.randbytes(size)
        for each in (arena, twin):
            each.put(slot, slot + 1, 0, part, part_hash(f"peer/{slot + 1}", part).to_bytes(16, "big"))
    single = {name: name.encode() for name in SINGLE_PARTS}
    owners = {user: source.randbytes(size) for user in range(1, profiles + 1)}
    digest = sum(part_hash(name, part) for name, part in single.items())
    digest += sum(part_hash(f"profile/{user}", part) for user, part in owners.items())
    plan = MapPlan(
        single=single,
        profiles=owners,
        peers=np.arange(peers, dtype=np.uint32),
        stamp=arena.stamp,
        digest=digest,
        position=POSITION,
    )
    held = NetMap()
    for frame in full_frames(plan, arena):
        page = codec.decode_from_server(frame)
        assert isinstance(page, MapFull)
        assert codec.encode(page) == frame or not page.parts.peers
        assert len(page.parts.peers) <= PAGE_PEERS
        assert len(page.parts.profiles) <= PAGE_PEERS
        assert len(frame) < PAGE_BYTES + 2 * size + 20_000
        stands = held.apply_page(page)
    assert stands
    assert held.peers == twin.parts(range(peers))
    assert (held.parts, held.profiles, held.position) == (single, owners, POSITION)


@pytest.fixture
def net() -> SimNet:
    found = SimNet(seed=3)
    secret = found.key()
    for number in range(1_100):
        found.register(found.node(f"n{number}"), secret)
    return found


def ask_for_map(net: SimNet, node: SimNode) -> Any:
    return iter(net.ask(ResyncNode, node=node.id, session=node.session))


def test_what_changes_while_a_map_is_on_its_way_follows_behind(net: SimNet) -> None:
    viewer, last = net.join("viewer", net.key()), net.nodes["n1099"]
    net.connect(last)
    pages = ask_for_map(net, viewer)
    first = next(pages)
    behind = len(net.pushes)
    net.ask(DeleteNode, node=net.nodes["n0"].id)
    net.ask(DeleteNode, node=net.nodes["n1098"].id)
    net.ask(RenameNode, node=net.nodes["n1097"].id, name="renamed")
    net.ask(SetEndpoints, node=last.id, session=last.session, endpoints=("192.0.2.1:1",))
    taken = net.join("stranger", net.key("bob"))
    assert taken.slot in {net.nodes["n0"].slot, net.nodes["n1098"].slot}

    viewer.netmap = NetMap()
    for frame in (first, *pages):
        net.deliver(viewer, frame)
    assert viewer.netmap.position is not None
    assert taken.id not in viewer.netmap.peers
    for node in (net.nodes["n1097"], net.nodes["n1098"], last):
        assert node.id not in viewer.netmap.peers, "pages that were made later hold nothing that has changed"
    for push in net.pushes[behind:]:
        if viewer.slot in push.slots:
            net.deliver(viewer, push.frame)
    check_all(net)


def test_a_page_is_made_when_it_is_asked_for(net: SimNet) -> None:
    viewer = net.join("viewer", net.key())
    pages = ask_for_map(net, viewer)
    sizes = [len(next(pages)) for _ in range(3)]
    with pytest.raises(StopIteration):
        next(pages)
    assert max(sizes) < PAGE_PEERS * 300
