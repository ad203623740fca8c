"""The load client's own parts: what it simulates, how it measures, how it reads a server's bytes."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.model.position import Position
from ghostwire.policy import Engine, NodeFacts, Policy
from ghostwire.server.session.frames import Opcode, Reader
from ghostwire.testing.load.counting import FAULTS
from ghostwire.testing.load.kinds import DELTA, is_answer
from ghostwire.testing.load.latencies import Latencies
from ghostwire.testing.load.link import masked, retry_after
from ghostwire.testing.load.process import Process
from ghostwire.testing.load.scenarios import query_rounds
from ghostwire.testing.load.simulation import enough_workers, steady_seconds
from ghostwire.testing.load.stamp import moment_of, stamped
from ghostwire.testing.load.topology import HUB, Topology
from ghostwire.wire import codec
from ghostwire.wire.messages import Answer, MapDelta, Parts, ServerBye


def engine(topology: Topology, opened: tuple[str, ...] = ()) -> Engine:
    nodes = [
        NodeFacts(
            id=number, user=None, tags=(topology.tag(number),), addresses=(f"100.64.{number >> 8}.{number & 255}",)
        )
        for number in range(topology.nodes)
    ]
    return Engine.build(Policy.parse(topology.policy(opened)), [], nodes)


@pytest.mark.parametrize(("nodes", "visible"), [(20, 3), (23, 20), (300, 20), (403, 200)])
def test_the_policy_shows_each_node_its_cell_and_the_hub(nodes: int, visible: int) -> None:
    topology = Topology(nodes, visible)
    built = engine(topology)
    for number in range(1, nodes):
        own = topology.tag(number).partition("-")[0]
        cell = {other for other in range(1, nodes) if topology.tag(other).partition("-")[0] == own}
        assert 2 <= len(cell) <= topology.cell_size + 1
        assert set(built.visible(number)) == cell - {number} | {HUB}
    assert len(built.visible(HUB)) == topology.audience == nodes - 1
    rules = json.loads(topology.policy())["acls"]
    assert len(rules) >= nodes


def test_an_opened_port_changes_the_filters_of_its_class_only() -> None:
    topology = Topology(100, 20)
    opened = topology.tags()[1]
    before, after = engine(topology), engine(topology, (opened,))
    changed = {number for number in range(100) if before.native_filter(number) != after.native_filter(number)}
    assert changed == {number for number in range(100) if topology.tag(number) == opened}
    assert all(before.visible(number) == after.visible(number) for number in range(100))


def test_a_neighbour_is_of_the_same_cell() -> None:
    for nodes in (23, 100, 107):
        topology = Topology(nodes, 20)
        for number in range(1, nodes):
            neighbour = topology.neighbour(number)
            assert neighbour != number
            assert 1 <= neighbour < nodes
            assert topology.tag(neighbour).partition("-")[0] == topology.tag(number).partition("-")[0]


@given(st.floats(0, 1e7))
def test_a_moment_survives_being_an_endpoint(moment: float) -> None:
    assert moment_of((stamped(moment),)) == pytest.approx(moment, abs=1e-8)
    assert moment_of(("192.0.2.1:1",)) is None
    assert moment_of(()) is None


@given(st.lists(st.floats(1e-6, 500), min_size=1), st.lists(st.floats(1e-6, 500)))
def test_merged_latencies_are_those_of_both(some: list[float], others: list[float]) -> None:
    one, two, both = Latencies(), Latencies(), Latencies()
    for seconds in some:
        one.add(seconds)
        both.add(seconds)
    for seconds in others:
        two.add(seconds)
        both.add(seconds)
    one.merge(two.encode())
    assert len(one) == len(both) == len(some) + len(others)
    assert one.percentile(99) == both.percentile(99)
    assert both.percentile(100) == pytest.approx(max(some + others) * 1000, rel=2e-3, abs=1e-3)


@given(st.binary(max_size=65_535))
def test_the_server_reads_what_a_client_sends(payload: bytes) -> None:
    reader = Reader(65_536)
    reader.feed(masked(payload))
    assert reader.poll() == (Opcode.BINARY, payload)


def test_messages_are_told_by_their_first_bytes() -> None:
    position = Position(log=bytes(16), seq=1, boot=bytes(16), vseq=1)
    delta, answer = MapDelta(position=position, parts=Parts(), gone=(7,)), Answer(id=1)
    encoded = codec.encode(delta), codec.encode(answer), codec.encode(ServerBye(reason="netmap.delta"))
    assert [payload.startswith(DELTA, 1) for payload in encoded] == [True, False, False]
    assert [is_answer(payload) for payload in encoded] == [False, True, False]


def test_a_refusal_says_when_to_come_back() -> None:
    assert retry_after(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nConnection: close") == 7.0
    assert retry_after(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Mon, 23 Nov 2026") is None
    assert retry_after(b"HTTP/1.1 404 Not Found") is None


async def test_what_a_client_process_did_not_expect_is_a_fault_of_the_run() -> None:
    process = Process()
    loop = asyncio.get_running_loop()
    for _ in range(2 * FAULTS):
        loop.call_soon(lambda: {}["missing"])
        await asyncio.sleep(0)
    faults = process.counting.take(0.0, {}).faults
    assert len(faults) == FAULTS
    assert "KeyError('missing')" in faults[0]


def test_workers_and_duration_follow_the_nodes() -> None:
    assert [enough_workers(nodes) for nodes in (20, 12_500, 12_501, 40_000, 50_000)] == [0, 0, 2, 4, 4]
    assert [steady_seconds(nodes) for nodes in (20, 2_500, 25_000, 50_000)] == [30.0, 30.0, 300.0, 600.0]


def test_questions_fit_into_the_time_that_was_asked_for() -> None:
    assert [query_rounds(seconds) for seconds in (21.0, 600.0, 15.0, 7.0, 5.0, 1.0)] == [
        (3, 3.0),
        (3, 3.0),
        (2, 3.0),
        (1, 3.0),
        (1, 2.0),
        (1, 0.25),
    ]


def test_a_smaller_share_of_rules_keeps_the_peers() -> None:
    wide, narrow = Topology(2_000, 100), Topology(2_000, 100, rules_a_node=0.2)
    assert len(json.loads(narrow.policy())["acls"]) < len(json.loads(wide.policy())["acls"]) / 5
    for number in (1, 150, 1_999):
        assert wide.tag(number).partition("-")[0] == narrow.tag(number).partition("-")[0]
