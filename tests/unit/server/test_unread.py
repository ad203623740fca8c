"""Clients that read answers steadily, beside those who read none."""

import asyncio
import socket
from typing import Any

import pytest

from ghostwire.server.listen.http import HttpConnection, HttpShell
from ghostwire.server.options import Limits

BODY = 150_000
ANSWERS = 20


async def _application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    headers = [(b"content-length", str(BODY).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(BODY)})


@pytest.mark.parametrize("reads", [True, False])
async def test_who_reads_one_answer_behind_the_other_gets_all_of_them(reads: bool) -> None:
    """What waits goes up and down, and is often more at one look than at the last."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    shell = HttpShell(_application, Limits(body_s=0.3))
    client, end = socket.socketpair()
    client.setblocking(False)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with client:
        await loop.connect_accepted_socket(lambda: HttpConnection(shell, {}, gone.set), end)
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * ANSWERS)
        read = 0
        while reads and read < ANSWERS * BODY:
            got = len(await asyncio.wait_for(loop.sock_recv(client, 20_000), 10))
            assert got, f"cut off after {read} bytes"
            read += got
            await asyncio.sleep(0.005)
        if reads:
            client.close()
        await asyncio.wait_for(gone.wait(), 10)
