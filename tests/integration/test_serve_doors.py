"""What strangers meet at the public port: bounds, hosts, origins, tokens, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ghostwire.coordinator.settings import Settings
from ghostwire.policy import Policy
from ghostwire.server import Limits, ServeOptions, Server
from ghostwire.server.rest import desk, front
from tests.api.node import Node
from tests.api.operators import call, local, remote
from tests.integration.recorder import Recorder

LIMITS = Limits(head_s=0.3, head_bytes=2000, handshakes=3, body_bytes=5000, body_s=0.5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(
        data=tmp_path / "s",
        settings=Settings(),
        listen="127.0.0.1:0",
        tls_off=True,
        public_urls=("https://mesh.example.com",),
        trusted_proxies=("127.0.0.1",),
        behind_proxy=True,
        limits=LIMITS,
    )
    recorder = Recorder()
    async with Server(options, recorder) as server:
        yield server
    assert recorder.faults == []


async def exchange(server: Server, request: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """Send a request as it is written; the status, the headers and the document of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request.replace("\n", "\r\n").encode() + body)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    headers = {}
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    data = await reader.readexactly(int(headers.get("content-length", 0)))
    writer.close()
    return int(head.split(" ")[1]), headers, json.loads(data) if data else None


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def get(path: str, host: str = "127.0.0.1", **headers: str) -> str:
    more = "".join(f"{name}: {value}\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\nHost: {host}\n{more}\n"


@pytest.mark.parametrize("path", ["/v1/health/live", "/v1/health/ready", "/v1/version"])
async def test_live_ready_and_version_need_no_token(server: Server, path: str) -> None:
    status, _, document = await exchange(server, get(path))
    assert status == 200
    assert document


@pytest.mark.parametrize("path", ["/", "/v1/nodes", "/v1/status", "/metrics", "/v1/openapi/openapi.json", "/v1/none"])
async def test_everything_else_does(server: Server, path: str) -> None:
    status, headers, document = await exchange(server, get(path))
    assert (status, document["code"]) == (401, "authentication")
    assert headers["www-authenticate"] == "Bearer"
    assert headers["content-type"] == "application/problem+json"
    for wrong in ("Bearer nonsense", "Bearer " + "A" * 43, "Basic Zm9v"):
        status, _, document = await exchange(server, get(path, Authorization=wrong))
        assert status == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:1234", 200),
        ("[::1]:99", 200),
        ("192.0.2.1", 200),
        ("localhost", 200),
        ("mesh.example.com", 200),
        ("MESH.example.com:8443", 200),
        ("evil.example.com", 403),
        ("127.0.0.1.evil.example.com", 403),
        ("mesh.example.com.evil", 403),
        ("", 403),
    ],
)
async def test_only_known_hosts_are_answered(server: Server, host: str, expected: int) -> None:
    status, _, _ = await exchange(server, get("/v1/health/live", host))
    assert status == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://mesh.example.com", 200),
        ("http://127.0.0.1", 200),
        ("https://evil.example.com", 403),
        ("null", 403),
        ("http://localhost", 403),
    ],
)
async def test_a_foreign_origin_is_refused(server: Server, origin: str, expected: int) -> None:
    status, _, _ = await exchange(server, get("/v1/health/live", Origin=origin))
    assert status == expected


async def test_no_header_makes_an_admin(server: Server) -> None:
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Ghostwire-Scope", "ghostwire.caller"):
        status, _, _ = await exchange(server, get("/v1/nodes", **{name: "admin"}))
        assert status == 401


def upgrade(**changes: str | None) -> str:
    headers: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "ghostwire.v1",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = "".join(f"{name}: {value}\n" for name, value in headers.items() if value is not None)
    return f"GET /v1/session HTTP/1.1\n{lines}\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Host": "evil.example.com"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Connection": "close"}, 400),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Protocol": "other"}, 400),
        ({"Sec_WebSocket_Protocol": None}, 400),
    ],
)
async def test_an_upgrade_that_cannot_be_is_refused(
    server: Server, changes: dict[str, str | None], expected: int
) -> None:
    status, _, _ = await exchange(server, upgrade(**changes))
    assert status == expected


async def test_an_upgrade_as_it_should_be_is_answered(server: Server) -> None:
    status, headers, _ = await exchange(server, upgrade())
    assert status == 101
    assert headers["sec-websocket-accept"] == "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
    assert headers["sec-websocket-protocol"] == "ghostwire.v1"


async def test_slow_strangers_are_cut_off(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /v1/health/live HTTP/1.1\r\n")
    late = await asyncio.wait_for(reader.read(), 10)
    assert b" 408 " in late
    assert b'"code":"unavailable"' in late
    writer.close()


async def test_a_slow_body_is_cut_off(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /v1/version HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx")
    assert await asyncio.wait_for(reader.read(), 10)
    writer.close()


@pytest.mark.parametrize("first", [True, False], ids=["first-request", "later-request"])
async def test_a_long_head_is_refused(server: Server, first: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    if not first:
        writer.write(get("/v1/health/live").replace("\n", "\r\n").encode())
        await reader.readuntil(b"live")
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    writer.write(b"".join(b"X-%d: %s\r\n" % (at, b"x" * 100) for at in range(100)))
    assert b" 431 " in await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def test_one_endless_header_is_refused(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(get("/v1/health/live").replace("\n", "\r\n").encode())
    await reader.readuntil(b"live")
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 1500)
    await asyncio.sleep(0.05)
    writer.write(b"x" * 2500)
    assert b" 431 " in await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def test_http_leaves_nodes_their_places(tmp_path: Path) -> None:
    async with Server(tls(tmp_path, http_connections=3, http_connections_per_address=2)) as server:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        clients = [remote(server, None) for _ in range(3)]
        answers = [await client.get("/v1/health/live") for client in clients]
        assert [answer.status_code for answer in answers] == [200, 200, 503]
        assert answers[2].headers["retry-after"] == "5"
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"])
        for client in clients:
            await client.aclose()
        await until(lambda: server.public.admission.open == 0)
        assert server.public.admission.http == 0
        async with remote(server, None) as client:
            assert (await client.get("/v1/health/live")).status_code == 200


async def test_handshakes_are_bounded_and_counted(server: Server) -> None:
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(6)]
    await until(lambda: server.public.admission.refused >= 3)
    for reader, _ in held[3:]:
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert re.search(rb"\r\nRetry-After: \d+\r\n", head)
        assert json.loads(body)["code"] == "unavailable"
    for _, writer in held:
        writer.close()
    await until(lambda: server.public.admission.open == 0)
    assert server.public.admission.unknown == 0
    status, _, _ = await exchange(server, get("/v1/health/live"))
    assert status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v1/session HTTP/1.1\r\nUpgrade: websocket\r\nHost\r\n\r\n",
        b"POST /v1/nodes HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_request_ends_with_an_answer_or_a_close(server: Server, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert b" 500 " not in answer[:20]
    writer.close()
    status, _, _ = await exchange(server, get("/v1/health/live"))
    assert status == 200


def tls(tmp_path: Path, **limits: float) -> ServeOptions:
    bounds = Limits(**limits)  # type: ignore[arg-type]
    return ServeOptions(data=tmp_path / "tls", settings=Settings(), listen="127.0.0.1:0", limits=bounds)


async def test_a_tls_handshake_that_stalls_or_fails_frees_its_place(tmp_path: Path) -> None:
    async with Server(tls(tmp_path, head_s=0.3)) as server:
        stalled = await asyncio.open_connection("127.0.0.1", server.port)
        broken = await asyncio.open_connection("127.0.0.1", server.port)
        broken[1].write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: server.public.admission.open == 2)
        await until(lambda: server.public.admission.open == 0)
        assert server.public.admission.unknown == 0
        for _, writer in (stalled, broken):
            writer.close()


async def test_a_node_that_proves_nothing_is_cut_off(tmp_path: Path) -> None:
    async with Server(tls(tmp_path, unproved_s=0.3)) as server, Node(server.url, server.pin) as node:
        refused = await node.receive()
        assert (refused["code"], refused["final"]) == ("wire", True)
        assert server.public.admission.unknown == 1
    assert server.public.admission.unknown == 0


async def test_too_many_messages_wait_and_all_are_answered(tmp_path: Path) -> None:
    options = tls(tmp_path, messages_per_s=100.0, messages_burst=5)
    async with Server(options) as server:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"])
            await node.mapped()
            (session,) = server.public.sessions.standing
            for number in range(1, 41):
                await node.send("query.peers", id=number)
            await until(lambda: session.transport.held)
            heard = []
            while len(heard) < 40:
                message = await node.receive()
                heard += [(message["type"], message["id"])] if message["type"] != "head" else []
            assert heard == [("answer", number) for number in range(1, 41)]
            assert not server.public.sessions.counters.refused


async def test_no_more_messages_are_read_than_may_be_sent(tmp_path: Path) -> None:
    options = tls(tmp_path, messages_per_s=0.01, messages_burst=5)
    async with Server(options) as server:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"])
            await node.mapped()
            (session,) = server.public.sessions.standing
            for number in range(40):
                await node.send("query.peers", id=number)
            await until(lambda: session.transport.held)
            async with Node(server.url, server.pin) as other:  # by when the loop has read whatever it reads
                await other.receive()
            assert server.public.sessions.counters.queries == 4


async def test_pings_count_as_messages_do(tmp_path: Path) -> None:
    options = tls(tmp_path, messages_per_s=0.01, messages_burst=5)
    async with Server(options) as server, Node(server.url, server.pin) as node:
        for _ in range(5):
            await (await node.socket.ping())
        (session,) = server.public.sessions.standing
        assert session.transport.held
        unread = await node.socket.ping()
        async with Node(server.url, server.pin) as other:
            await other.receive()
        assert not unread.done()


async def test_who_fails_too_often_is_turned_away_unread(tmp_path: Path) -> None:
    bounds = Limits(failures_per_s=0.01, failures_burst=3)
    options = ServeOptions(
        data=tmp_path / "plain", settings=Settings(), listen="127.0.0.1:0", limits=bounds, tls_off=True
    )
    async with Server(options) as server:

        async def answer(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request)
            try:
                return await asyncio.wait_for(reader.read(), 10)
            finally:
                writer.close()

        assert [(await answer(b"no request\r\n\r\n"))[:13] for _ in range(3)] == [b"HTTP/1.1 400 "] * 3
        said = await answer(b"")
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in said
        assert server.public.admission.refused == 1
        assert server.public.admission.open == 0


async def test_who_asks_and_never_reads_is_cut_off(tmp_path: Path) -> None:
    options = tls(tmp_path, messages_per_s=1e6, messages_burst=10**6, unread_bytes=4096)
    async with Server(options) as server:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"])
            await node.mapped()
            (session,) = server.public.sessions.standing
            session.transport.pause_writing()  # as when the kernel takes no more
            for number in range(200):
                await node.send("query.peers", id=number, name="nobody")
            await until(lambda: session.transport.closing)
            assert session.transport.waiting == 0


async def test_only_so_many_large_bodies_are_read_at_a_time_and_one_of_each_caller(server: Server) -> None:
    def head(token: str) -> str:
        return f"POST /v1/policy/check HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer {token}\n"

    async def minted(name: str, scope: str) -> str:
        token: str = (await call(server, "POST", "/v1/tokens", json={"name": name, "scope": scope}))["token"]
        return token

    sized, chunked = "Content-Length: 9999999\n\n", "Transfer-Encoding: chunked\n\n"
    holding, other = [await minted(f"r{number}", "read") for number in range(front.LARGE)], await minted("w", "write")
    application = server._http.config.loaded_app
    coming = []
    for number, token in enumerate(holding):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write((head(token) + (sized, chunked)[number % 2]).replace("\n", "\r\n").encode())
        coming.append(writer)
        await until(lambda number=number: len(application._large) == number + 1)  # type: ignore[misc]
        for text in (sized, chunked):
            status, headers, document = await exchange(server, head(token) + text)
            assert (status, document["code"], headers["retry-after"]) == (503, "unavailable", "1")
    for text in (sized, chunked):
        assert (await exchange(server, head(other) + text))[0] == 503
    assert (await exchange(server, head(other) + "Content-Length: 2\n\n", b"{}"))[0] == 400
    body = json.dumps({"text": "{}" + " " * 6000}).encode()
    sent = head(await minted("a", "admin")) + f"Content-Type: application/json\nContent-Length: {len(body)}\n\n"
    assert (await exchange(server, sent, body))[0] == 200
    for writer in coming:
        writer.close()
    await until(lambda: not application._large)


async def test_who_leaves_answers_unread_is_cut_off_and_nothing_is_written_to_who_is_gone(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    token = (await call(server, "POST", "/v1/tokens", json={"name": "r", "scope": "read"}))["token"]
    large = f"GET /v1/openapi/openapi.json HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer {token}\n\n"
    loop, admission = asyncio.get_running_loop(), server.public.admission

    async def ask(times: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        await loop.sock_sendall(client, large.replace("\n", "\r\n").encode() * times)
        return client

    def backed_up() -> bool:
        return any(connection.flow.write_paused for connection in server._http.state.connections)

    with await ask(60):
        await until(backed_up)
        await until(lambda: not admission.http)
    with await ask(60):
        await until(backed_up)
    await until(lambda: not admission.http and not server._http.state.tasks)
    assert not caplog.records
    with await ask(3) as slow:
        read = 0
        while read < 3 * 90_000:
            got = len(await asyncio.wait_for(loop.sock_recv(slow, 20_000), 10))
            assert got, f"cut off after {read} bytes"
            read += got
            await asyncio.sleep(0.015)


async def test_only_so_many_wait_for_what_takes_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, parse = threading.Event(), Policy.parse

    def held_up(text: str) -> Policy:
        go_on.wait(10)
        return parse(text)

    monkeypatch.setattr(Policy, "parse", held_up)
    async with local(server) as client:
        asked = [
            asyncio.create_task(client.post("/v1/policy/check", json={"text": '{"acls": []}'}))
            for _ in range(desk.TURNS + 1)
        ]
        done, waiting = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [(task.result().status_code, task.result().headers["retry-after"]) for task in done] == [(503, "5")]
        go_on.set()
        assert {(await task).status_code for task in waiting} == {200}


@pytest.mark.parametrize("body", ["[" * 50_000, '{"name": ' + "[" * 50_000, '{"unknown": ' + '{"a": ' * 50_000])
async def test_a_body_that_is_nested_without_end_is_refused(tmp_path: Path, body: str) -> None:
    recorder = Recorder()
    async with Server(tls(tmp_path), recorder) as server, local(server) as client:
        refused = await client.post("/v1/users", content=body, headers={"content-type": "application/json"})
        assert (refused.status_code, refused.json()["code"]) == (400, "validation")
    assert recorder.faults == []


async def test_a_policy_may_be_far_longer_than_other_bodies(tmp_path: Path) -> None:
    async with Server(tls(tmp_path, body_bytes=1000)) as server, local(server) as client:
        text = '{"acls": [/*' + "x" * 300_000 + "*/]}"
        assert (await client.post("/v1/policy/check", json={"text": text})).status_code == 200
        refused = await client.post("/v1/users", json={"name": "x" * 5000})
        assert (refused.status_code, refused.json()["code"]) == (413, "resource_exhausted")


async def test_few_descriptors_bound_connections_and_the_log_says_so(tmp_path: Path) -> None:
    recorder = Recorder()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        async with Server(tls(tmp_path, connections=600), recorder):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    bounds = {"files": 1024, "connections": 512, "http_connections": 256}
    assert ("warning", "listen.few_files", bounds) in recorder.events
