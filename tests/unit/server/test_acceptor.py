"""What becomes of connections that were accepted."""

from __future__ import annotations

import asyncio
import socket

from ghostwire.server.listen.acceptor import Accepted, Acceptor
from ghostwire.server.observer import Silent


async def test_one_that_ends_before_it_is_served_is_abandoned_and_others_are_taken() -> None:
    abandoned: asyncio.Queue[None] = asyncio.Queue()

    class Gone(Accepted):
        def abandon(self) -> None:
            abandoned.put_nowait(None)

    def make(connection: socket.socket) -> Accepted:
        connection.close()
        return Gone()

    listening = socket.create_server(("127.0.0.1", 0))
    acceptor = Acceptor(listening, make, Silent())
    for _ in range(2):
        with socket.create_connection(listening.getsockname()):
            await asyncio.wait_for(abandoned.get(), 10)
    await acceptor.close()
