"""HTTP connections: uvicorn's protocol on a connection that was accepted here, with bounds of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ghostwire.server.listen.acceptor import Accepted
from ghostwire.server.listen.head import refusal
from ghostwire.server.listen.unread import Unread
from ghostwire.server.options import Limits

KEEP_ALIVE_S: Final = 30


class HttpShell:
    """What all HTTP connections of one server share: the application and its bounds."""

    def __init__(self, application: Any, limits: Limits) -> None:
        self.limits = limits
        self.state = ServerState()
        self.config = Config(
            application,
            lifespan="off",
            ws="none",
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self.config.load()

    async def drain(self, seconds: float) -> None:
        """Let running requests finish, for at most so long, and close every connection."""
        for connection in list(self.state.connections):
            connection.shutdown()
        if self.state.tasks:
            await asyncio.wait(list(self.state.tasks), timeout=seconds)
        for task in list(self.state.tasks):
            task.cancel()
        for connection in list(self.state.connections):
            connection.transport.close()


class HttpConnection(HttpToolsProtocol, Accepted):
    """One HTTP connection. `grant` goes into the scope of its requests: what its listener, not the client, vouches for.

    A request head is bounded in size and time; a body is bounded in time here and in size by the application. Whoever
    leaves answers unread is cut off, in the time that a body may take.
    """

    def __init__(self, shell: HttpShell, grant: dict[str, Any], gone: Callable[[], None]) -> None:
        super().__init__(shell.config, shell.state, grant)
        self._limits = shell.limits
        self._gone = gone
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: Unread | None = None
        self._answering: RequestResponseCycle | None = None

    def abandon(self) -> None:
        """The connection never came to be."""
        self._gone()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection stands."""
        self._unread = Unread(transport, self._limits.body_s)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.head_s, self._late)
        before = self._head_bytes
        super().data_received(data)
        if self._head_bytes and self._head_bytes == before:
            # No header was completed by these bytes: they belong to one that may grow without end.
            self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(431)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._cancel()
        if self._unread is not None:
            self._unread.stop()
        if self._answering is not None and not self._answering.response_complete:
            # The base knows of the last request alone, of those that came one behind the other.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self._gone()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has read all."""
        if self._unread is not None:
            self._unread.stop()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """An answer is written, as far as the client reads it."""
        super().on_response_complete()
        self._watch()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 1

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the body's time begins."""
        self._head_bytes = 0
        self._cancel()
        self._deadline = self.loop.call_later(self._limits.body_s, self._late)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._cancel()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _watch(self) -> None:
        if self._unread is not None:
            self._unread.watch()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(431)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(refusal(status))
            self.transport.close()
