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


async def test_a_fault_at_one_connection_is_told_and_others_are_taken() -> None:
    faults: list[BaseException | None] = []
    taken: asyncio.Queue[None] = asyncio.Queue()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context.get("exception")))

    class Taken(Accepted):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            taken.put_nowait(None)
            transport.close()

    def make(connection: socket.socket) -> Accepted:
        if not faults:
            raise LookupError("a fault")
        return Taken()

    listening = socket.create_server(("127.0.0.1", 0))
    acceptor = Acceptor(listening, make, Silent())
    with socket.create_connection(listening.getsockname()) as first:
        first.settimeout(10)
        assert await asyncio.to_thread(first.recv, 1) == b""
    with socket.create_connection(listening.getsockname()):
        await asyncio.wait_for(taken.get(), 10)
    assert [type(fault) for fault in faults] == [LookupError]
    await acceptor.close()
