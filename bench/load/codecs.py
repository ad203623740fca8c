"""One WebSocket codec as a server in a process of its own: `python -m bench.load.codecs KIND`.

KIND is `own` (what node sessions run on), `picows` (with a small read buffer) or `websockets`. Each message goes back
as it came. The server prints its port and serves until its standard input closes; each line that it reads there it
answers with the bytes of memory that it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from typing import cast

import picows
import psutil
import uvloop
from websockets.asyncio.server import Server as WebsocketsServer
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ghostwire.server.listen.head import END, parse, upgrade_answer
from ghostwire.server.session.transport import SessionTransport
from ghostwire.wire.messages import MAX_CLIENT_FRAME, SUBPROTOCOL

HOST = "127.0.0.1"


class Own(asyncio.Protocol):
    """The upgrade, then a session's transport whose owner sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        head = parse(data.partition(END)[0])
        assert head is not None
        session = SessionTransport(Echo(), MAX_CLIENT_FRAME, asyncio.get_running_loop(), upgrade_answer(head))
        cast("Echo", session.receiver).session = session
        self._transport.set_protocol(session)
        session.connection_made(self._transport)


class Echo:
    session: SessionTransport

    def opened(self) -> None:
        return

    def message(self, data: bytes) -> None:
        self.session.send(data)

    def control(self) -> None:
        return

    def drained(self) -> None:
        return

    def closed(self) -> None:
        return


class PicowsEcho(picows.WSListener):  # type: ignore[misc]
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            transport.send(picows.WSMsgType.BINARY, frame.get_payload_as_bytes())


async def own() -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(Own, HOST, 0)


async def with_picows() -> asyncio.Server:
    server: asyncio.Server = await picows.ws_create_server(
        lambda _: picows.WSUpgradeResponseWithListener(
            picows.WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": SUBPROTOCOL}), PicowsEcho()
        ),
        HOST,
        0,
        read_buffer_init_size=1024,
    )
    return server


async def with_websockets() -> WebsocketsServer:
    async def echo(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    return await serve_websockets(
        echo, HOST, 0, compression=None, ping_interval=None, subprotocols=[Subprotocol(SUBPROTOCOL)]
    )


KINDS = {"own": own, "picows": with_picows, "websockets": with_websockets}


async def main(kind: str) -> None:
    server = await KINDS[kind]()
    print(next(iter(server.sockets)).getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        gc.collect()
        print(psutil.Process().memory_info().rss, flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
