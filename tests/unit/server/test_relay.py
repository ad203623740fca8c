"""A request that a worker hands on: what the leader knows of the connection that it came on."""

import asyncio
import socket
from functools import partial
from pathlib import Path
from typing import Any

from ghostwire.server.listen import local, public
from ghostwire.server.listen.acceptor import Acceptor
from ghostwire.server.listen.admission import Admission
from ghostwire.server.listen.hosts import Doors
from ghostwire.server.listen.http import HttpShell
from ghostwire.server.listen.router import Router, Routes
from ghostwire.server.observer import Silent
from ghostwire.server.options import Limits
from ghostwire.server.rest.access import CONNECTED
from ghostwire.server.workers import relay

SINCE = 1_750_000_000_000_000_000


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
    admission = Admission(limits)
    routes = Routes(limits, admission, Doors((), ()), partial(relay.Outward, tmp_path), lambda *_: asyncio.Protocol())

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
