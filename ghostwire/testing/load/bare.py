"""The least that a server can cost: uvloop, a WebSocket, one fixed answer. `python -m ghostwire.testing.load.bare`.

It prints its port and serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop

from ghostwire.server.session.frames import Opcode, Reader, frame
from ghostwire.wire import codec
from ghostwire.wire.messages import MAX_CLIENT_FRAME, Answer

ANSWER: Final = frame(codec.encode(Answer(id=1, peers=(bytes(130),))))
"""As long as the answer with one peer."""
UPGRADE: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Bare(asyncio.Protocol):
    """Upgrades anyone, answers any message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        self._reader: Reader | None = None

    def data_received(self, data: bytes) -> None:
        """The upgrade's request, in one piece from this package's clients; then frames."""
        if self._reader is None:
            self._reader = Reader(MAX_CLIENT_FRAME)
            self._transport.write(UPGRADE)
            return
        self._reader.feed(data)
        while (found := self._reader.poll()) is not None:
            if found[0] == Opcode.BINARY:
                self._transport.write(ANSWER)


async def serve() -> None:
    """Serve until the standard input closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
