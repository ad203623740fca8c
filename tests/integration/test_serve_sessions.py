"""A server as operators and nodes meet it: admin socket, keys, sessions with proof, maps, deltas, restarts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import websockets

from ghostwire.coordinator.settings import Settings
from ghostwire.errors import ConflictError, UnavailableError, ValidationError
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.server import ServeOptions, Server
from ghostwire.server.listen import tls
from ghostwire.server.session.turnstile import Passage
from ghostwire.wire.client_session import MapChanged
from ghostwire.wire.messages import Answer, HeartbeatAck, Refusal, Rotated, RotateOrder, ServerBye
from tests.integration.node_client import NodeClient, credentials
from tests.integration.recorder import Recorder


@pytest.fixture
def options(tmp_path: Path) -> ServeOptions:
    return ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")


@pytest.fixture
async def server(options: ServeOptions) -> AsyncIterator[Server]:
    recorder = Recorder()
    async with Server(options, recorder) as server:
        yield server
    assert recorder.faults == []


async def call(server: Server, method: str, path: str, **options: Any) -> Any:
    transport = httpx.AsyncHTTPTransport(uds=str(server.options.data / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=10) as client:
        response = await client.request(method, path, **options)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None


async def make_key(server: Server, user: str = "alice", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await call(server, "POST", "/v1/preauth-keys", json={"user": user} | more)
    return made


async def join(server: Server, name: str, user: str = "alice", **more: Any) -> NodeClient:
    key = await make_key(server, user, **more)
    node = NodeClient(key["server"], credentials(name, key["key"]), pin=key["pin"])
    await node.__aenter__()
    await node.joined()
    return node


async def test_a_machine_joins_and_hears_of_the_next_one(server: Server) -> None:
    key = await make_key(server)
    assert key["command"] == f"ghostwire up --server {server.url} --pin {server.pin} --key {key['key']}"
    async with NodeClient(key["server"], credentials("laptop", key["key"]), pin=key["pin"]) as first:
        welcome = await first.joined()
        own = first.netmap.own()
        assert (own.id, own.name) == (welcome.node, "laptop")
        assert first.netmap.all_peers() == []
        second = await join(server, "phone")
        assert [peer.name for peer in second.netmap.all_peers()] == ["laptop"]
        assert await first.until(MapChanged) == MapChanged("delta")
        await first.until_peers("phone")
        assert first.netmap.all_peers()[0].ipv4 == second.netmap.own().ipv4
        listed = await call(server, "GET", "/v1/nodes")
        assert [(node["name"], node["online"]) for node in listed["nodes"]] == [("laptop", True), ("phone", True)]
        await call(server, "DELETE", f"/v1/nodes/{second.netmap.own().id}")
        await first.until_peers()
        with pytest.raises(websockets.ConnectionClosed):
            await second.until(ServerBye)
        status = await call(server, "GET", "/v1/status")
        assert (status["nodes"], status["pin"], status["url"]) == (1, server.pin, server.url)


async def test_another_users_machine_is_not_seen_nor_found(server: Server) -> None:
    mine, theirs = await join(server, "mine"), await join(server, "theirs", "bob")
    assert mine.netmap.all_peers() == theirs.netmap.all_peers() == []
    mine.session.query(name="theirs")
    mine.session.query(name="nothing-like-it")
    mine.session.query(node=theirs.netmap.own().id)
    mine.session.query(address=theirs.netmap.own().ipv4)
    await mine.flush()
    while len(mine.refusals()) < 4:
        await mine.step()
    assert {(event.code, event.message, event.final) for event in mine.refusals()} == {
        ("not_found", "there is no such peer", False)
    }
    assert [event.query for event in mine.refusals()] == [1, 2, 3, 4]


async def test_a_node_whose_turn_is_too_far_off_is_told_when_to_come(server: Server) -> None:
    key = await make_key(server)
    turnstile = server.public.sessions.turnstile
    pace, turnstile.per_s = turnstile.per_s, 0.1
    turnstile._queues[Passage.RETURN].append(lambda: None)  # it would be this one's turn in ten seconds
    async with NodeClient(key["server"], credentials("laptop", key["key"]), pin=key["pin"]) as node:
        refused = await node.until(Refusal)
        assert (refused.code, refused.final) == ("unavailable", True)
        assert refused.retry_after is not None
        assert 20.0 <= refused.retry_after <= 21.0
        with pytest.raises(websockets.ConnectionClosed):
            await node.step()
    assert (await call(server, "GET", "/v1/nodes"))["nodes"] == []
    turnstile.per_s = pace
    node = await join(server, "laptop")
    await node.__aexit__(None, None, None)
    assert turnstile.waiting == 0


async def test_queries_heartbeats_and_endpoints_are_answered(server: Server) -> None:
    first, second = await join(server, "first"), await join(server, "second")
    await first.until_peers("second")
    while not first.netmap.all_peers()[0].online:
        await first.step()  # told with the window in which the other one came
    first.session.endpoints(("192.0.2.7:51820",))
    number = first.session.query(name="second")
    first.session.heartbeat(None)
    await first.flush()
    answer = await first.until(Answer)
    await first.until(HeartbeatAck)
    assert answer.id == number
    assert answer.peers == (first.netmap.peers[second.netmap.own().id],)
    while not second.netmap.all_peers()[0].endpoints:
        await second.step()
    assert second.netmap.all_peers()[0].endpoints == ("192.0.2.7:51820",)
    shown = await call(server, "GET", "/v1/nodes/first")
    assert shown["endpoints"] == ["192.0.2.7:51820"]


async def test_health_is_told_over_rest(server: Server) -> None:
    node = await join(server, "laptop")
    metrics = NodeMetrics(
        load_factor=0.5, latency_ms=1.5, uptime_seconds=9, bandwidth_mbps=2.5, bytes_in=1 << 40, bytes_out=7
    )
    node.session.heartbeat(metrics)
    await node.flush()
    await node.until(HeartbeatAck)
    health = await call(server, "GET", "/v1/nodes/laptop/health")
    assert health["metrics"] == msgspec.structs.asdict(metrics)
    assert (health["is_online"], health["in_grace_period"], health["consecutive_misses"]) == (True, False, 0)
    assert 0 <= health["time_since_last_heartbeat"] < 30
    assert abs(datetime.fromisoformat(health["last_seen"]) - datetime.now(UTC)) < timedelta(seconds=30)
    await node.socket.close()
    while not (health := await call(server, "GET", "/v1/nodes/laptop/health"))["in_grace_period"]:  # noqa: ASYNC110 - REST tells no events
        await asyncio.sleep(0.01)
    assert health["is_online"]


async def test_a_nodes_status_and_facts_are_told_over_rest(server: Server) -> None:
    key = await make_key(server)
    facts = NodeFacts(
        hostname="gate", node_type="relay", region="eu-north", country="SE", os="linux", metadata=b"\x00seal"
    )
    async with NodeClient(server.url, credentials("gate", key["key"], facts=facts)) as node:
        await node.joined()
        shown = await call(server, "GET", "/v1/nodes/gate")
        assert base64.b64decode(shown["metadata"]) == facts.metadata
        assert [shown[name] for name in ("node_type", "region", "country", "os")] == [
            "relay",
            "eu-north",
            "SE",
            "linux",
        ]
        assert shown["status"] == "active"
        changed = await call(server, "PATCH", "/v1/nodes/gate", json={"maintenance": True})
        assert changed["status"] == "maintenance"
        await call(server, "PATCH", "/v1/nodes/gate", json={"maintenance": False})
        node.session.bye()
        await node.flush()
    while (shown := await call(server, "GET", "/v1/nodes/gate"))["online"]:  # noqa: ASYNC110 - REST tells no events
        await asyncio.sleep(0.01)
    assert shown["status"] == "offline"


async def test_resume_is_by_position(server: Server) -> None:
    node = await join(server, "laptop")
    assert node.session.welcome is not None
    token = node.session.welcome.token
    await node.socket.close()
    async with NodeClient(server.url, node.again(token=token), node.netmap) as again:
        assert await again.until(MapChanged) == MapChanged("unchanged")
        full = await call(server, "GET", "/v1/nodes/laptop/netmap")
        assert full["digest"] == again.netmap.digest.hex()


async def test_a_node_rotates_its_key_when_told_and_the_old_one_is_refused(server: Server) -> None:
    first, second = await join(server, "first"), await join(server, "second")
    old = first.again()
    await call(server, "POST", "/v1/nodes/first/rotate")
    await first.until(RotateOrder)
    first.session.rotate(credentials("x").node_private)
    await first.flush()
    await first.until(Rotated)
    key = bytes.fromhex((await call(server, "GET", "/v1/nodes/first"))["node_key"].removeprefix("nodekey:"))
    while second.netmap.all_peers()[0].key != key:
        await second.step()
    async with NodeClient(server.url, old) as refused:
        with pytest.raises(AssertionError, match="authentication"):
            await refused.joined()
    async with NodeClient(server.url, first.again()) as again:
        await again.joined()
        assert again.netmap.own().key == key


async def test_an_order_to_rotate_outlives_the_server_while_the_node_is_away(options: ServeOptions) -> None:
    async with Server(options) as server:
        node = await join(server, "laptop")
        token = node.session.welcome.token
        await node.socket.close()
        await call(server, "POST", "/v1/nodes/laptop/rotate")
    async with Server(replace(options, listen=f"127.0.0.1:{server.port}")) as server:
        assert (await call(server, "GET", "/v1/nodes/laptop"))["rotation_ordered"] is True
        async with NodeClient(server.url, node.again(token=token), node.netmap) as again:
            await again.until(RotateOrder)
            again.session.rotate(credentials("x").node_private)
            await again.flush()
            await again.until(Rotated)
            assert (await call(server, "GET", "/v1/nodes/laptop"))["rotation_ordered"] is False


async def test_a_restart_keeps_what_was_answered(options: ServeOptions) -> None:
    async with Server(options) as server:
        node = await join(server, "laptop")
        address, pin = node.netmap.own().ipv4, server.pin
    assert (await node.until(ServerBye)).retry_after > 0
    async with Server(options) as server:
        assert server.pin == pin
        async with NodeClient(server.url, node.again(), node.netmap) as again:
            await again.joined()
            assert again.netmap.own().ipv4 == address


async def test_a_second_server_on_the_same_directory_is_told(server: Server) -> None:
    with pytest.raises(ConflictError, match="already open"):
        await Server(server.options).start()


async def test_behind_a_proxy_that_ends_tls_the_origin_as_dialled_counts(tmp_path: Path) -> None:
    """The proxy shows a certificate of its own: nodes prove themselves to the origin, which must be the server's."""
    (tmp_path / "proxy").mkdir()
    identity = tls.self_signed(tmp_path / "proxy", ["localhost"], datetime.now(UTC))
    inner = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", inner[0].port)
        await asyncio.gather(pump(reader, downstream), pump(upstream, writer))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=identity.context)
    port = proxy.sockets[0].getsockname()[1]
    options = ServeOptions(
        data=tmp_path / "server",
        settings=Settings(),
        listen="127.0.0.1:0",
        tls_off=True,
        behind_proxy=True,
        public_urls=(f"https://localhost:{port}",),
    )
    async with proxy, Server(options) as server:
        inner.append(server)
        key = await make_key(server)
        assert (key["server"], key["pin"]) == (f"https://localhost:{port}", None)
        async with NodeClient(key["server"], credentials("laptop", key["key"])) as node:
            await node.joined()
        async with NodeClient(f"https://127.0.0.1:{port}", node.again()) as node:
            with pytest.raises(AssertionError, match="public_urls"):
                await node.joined()


async def test_a_start_that_fails_leaves_nothing_open(server: Server, tmp_path: Path) -> None:
    other = ServeOptions(data=tmp_path / "other", settings=Settings(), listen=f"127.0.0.1:{server.port}")
    with pytest.raises(UnavailableError, match="another port with --listen"):
        await Server(other).start()
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = {"tls_cert": tmp_path / "bad.pem", "tls_key": tmp_path / "bad.pem"}
    with pytest.raises(ValidationError):
        await Server(ServeOptions(data=tmp_path / "other", settings=Settings(), listen="127.0.0.1:0", **bad)).start()
    async with Server(ServeOptions(data=tmp_path / "other", settings=Settings(), listen="127.0.0.1:0")):
        pass


async def test_a_newer_connection_takes_over(server: Server) -> None:
    node = await join(server, "laptop")
    async with NodeClient(server.url, node.again()) as newer:
        await newer.joined()
        bye = await node.until(ServerBye)
        assert "newer" in bye.reason
        newer.session.heartbeat(None)
        await newer.flush()
        await newer.until(HeartbeatAck)
        assert len(server.driver.outlet) == 1


async def test_logout_removes_the_node(server: Server) -> None:
    node, other = await join(server, "node"), await join(server, "other")
    node.session.bye(logout=True)
    await node.flush()
    assert (await node.until(ServerBye)).reason == "logged out"
    await other.until_peers()
    assert (await call(server, "GET", "/v1/nodes"))["total"] == 1


async def test_a_resync_brings_the_whole_map(server: Server) -> None:
    node = await join(server, "node")
    node.session.resync()
    await node.flush()
    assert await node.until(MapChanged) == MapChanged("full")


async def test_a_used_key_is_refused_and_says_so(server: Server) -> None:
    key = await make_key(server)
    async with NodeClient(server.url, credentials("one", key["key"])) as one:
        await one.joined()
    async with NodeClient(server.url, credentials("two", key["key"])) as two:
        while not two.refusals():
            await two.step()
        assert two.refusals()[0].final
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await two.step()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (4401, 4403, 4429)


async def test_the_admin_socket_is_the_owners_alone(server: Server) -> None:
    socket = server.options.data / "admin.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    assert server.options.data.stat().st_mode & 0o777 == 0o700


async def test_a_long_path_still_has_an_admin_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "server"
    async with Server(ServeOptions(data=deep, settings=Settings(), listen="127.0.0.1:0")):
        assert (deep / "admin.sock").is_socket()


async def test_without_tls_and_proxy_only_loopback_may_listen(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="behind-proxy"):
        Server(ServeOptions(data=tmp_path, settings=Settings(), listen="0.0.0.0:0", tls_off=True))
    options = ServeOptions(data=tmp_path / "s", settings=Settings(), listen="127.0.0.1:0", tls_off=True)
    async with Server(options) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.pin is None
        node = await join(server, "laptop")
        assert node.netmap.own().name == "laptop"


async def test_whole_maps_after_another_policy_come_a_few_a_turn_and_before_the_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.coordinator.policy_control.LARGEST_DELTA", 0)
    nodes = [await join(server, name, user=name) for name in ("a", "b", "c")]
    opened = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
    for text, seen in ((opened, 2), ('{"acls": []}', 0), (opened, 2)):
        await call(server, "PUT", "/v1/policy", json={"text": text, "allow_all": True})
        assert not server.driver.outlet.depth
        for node in nodes:
            assert await node.until(MapChanged) == MapChanged("full")
            assert len(node.netmap.all_peers()) == seen
    await call(server, "PATCH", "/v1/nodes/a", json={"name": "renamed"})
    for node in nodes[1:]:
        await node.until_peers("renamed", *({"b", "c"} - {node.netmap.own().name}))
        node.session.heartbeat(None)
        await node.flush()
        await node.until(HeartbeatAck)
    assert server.driver.coordinator.view.counters.digest_mismatches == 0
    for node in nodes:
        await node.socket.close()


async def test_a_server_that_cannot_start_leaves_nothing_open(options: ServeOptions) -> None:
    (options.data / "admin.sock").mkdir(parents=True)
    options.data.chmod(0o700)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = replace(options, listen=f"127.0.0.1:{port}")
    before = asyncio.all_tasks()
    with pytest.raises(UnavailableError, match="cannot make the socket"):
        await Server(options).start()
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    (options.data / "admin.sock").rmdir()
    async with Server(options):
        assert (options.data / "admin.sock").is_socket()
