"""A request that a worker hands on: what the leader knows of the connection that it came on."""

import asyncio
import contextlib
import socket
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ghostwire.server.listen import local, public
from ghostwire.server.listen.acceptor import Acceptor
from ghostwire.server.listen.admission import Admission
from ghostwire.server.listen.hosts import Doors
from ghostwire.server.listen.http import HttpShell
from ghostwire.server.listen.router import Met, Router, Routes
from ghostwire.server.observer import Silent
from ghostwire.server.options import Limits
from ghostwire.server.rest.access import CONNECTED
from ghostwire.server.workers import relay

SINCE = 1_750_000_000_000_000_000
MET = Met("127.0.0.1", secure=False, since=SINCE, reached=("127.0.0.1", 1))


async def test_the_leader_knows_both_ends_and_since_when(tmp_path: Path) -> None:
    """Policies are judged by the connection that their author uses, and confirmed on one that was made after them."""
    scopes: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body"})

    loop, limits = asyncio.get_running_loop(), Limits()
    shell = HttpShell(application, limits)
    leader = Acceptor(local.bind(tmp_path, relay.SOCKET), lambda _: relay.Preface(shell), Silent())
    admission = Admission(limits, lambda: 0.0)
    routes = Routes(
        limits, admission, Doors((), ()), partial(relay.Outward, tmp_path, 30.0), lambda *_: asyncio.Protocol()
    )

    def router(connection: socket.socket) -> Router:
        address = public.peer_address(connection)
        assert admission.admit(address)
        return Router(routes, address, False, loop, SINCE)

    listening = socket.create_server(("127.0.0.1", 0))
    worker = Acceptor(listening, router, Silent())
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
    (scope,) = scopes
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == listening.getsockname()
    assert scope["state"][CONNECTED] == SINCE
    writer.close()
    await worker.close()
    await leader.close()


async def test_who_reads_steadily_is_not_cut_off(tmp_path: Path) -> None:
    """Between one look and the next what waits goes up and down, and is often more at the end."""
    loop, size = asyncio.get_running_loop(), 2_500_000
    listening = local.bind(tmp_path, relay.SOCKET)
    listening.setblocking(False)
    client, end = socket.socketpair()
    client.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with client, listening:
        await loop.connect_accepted_socket(lambda: relay.Outward(tmp_path, 0.3, MET, _nothing), end)
        leader, _ = await loop.sock_accept(listening)
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.sock_sendall(leader, bytes(size)))
            read = 0
            while read < size:
                got = len(await asyncio.wait_for(loop.sock_recv(client, 20_000), 10))
                assert got, f"cut off after {read} bytes"
                read += got
                await asyncio.sleep(0.005)
        leader.close()


async def test_the_leader_leaves_it_to_the_worker_who_reads_too_little(tmp_path: Path) -> None:
    """A worker that waits for a slow client takes nothing from the leader for longer than a client may."""
    loop, size = asyncio.get_running_loop(), 2_000_000

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": bytes(size)})

    shell = HttpShell(application, Limits(body_s=0.1))
    leader = Acceptor(local.bind(tmp_path, relay.SOCKET), lambda _: relay.Preface(shell), Silent())
    with socket.socket(socket.AF_UNIX) as worker:
        worker.setblocking(False)
        await loop.sock_connect(worker, str(tmp_path / relay.SOCKET))
        preface = msgspec.msgpack.encode(MET)
        asked = len(preface).to_bytes(2, "big") + preface + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await loop.sock_sendall(worker, asked)
        await asyncio.sleep(0.4)
        read = 0
        while got := len(await asyncio.wait_for(loop.sock_recv(worker, 1 << 20), 10)):
            read += got
    assert read > size
    await leader.close()


async def test_who_leaves_the_end_of_an_answer_unread_is_cut_off(tmp_path: Path) -> None:
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    listening = local.bind(tmp_path, relay.SOCKET)
    listening.setblocking(False)
    client, end = socket.socketpair()
    with client, listening:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.connect_accepted_socket(lambda: relay.Outward(tmp_path, 0.1, MET, gone.set), end)
        leader, _ = await loop.sock_accept(listening)
        with leader, contextlib.suppress(BlockingIOError):
            while True:
                leader.send(bytes(65_536))
                await asyncio.sleep(0.01)
        await asyncio.wait_for(gone.wait(), 10)


def _nothing() -> None:
    return
