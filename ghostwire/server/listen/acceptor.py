"""Accepts connections on one socket, as many as may stand, and gives each its protocol."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from ghostwire.server.observer import Observer

OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
A_TURN: Final = 8
"""Connections that one turn of the event loop takes: those that stand are answered before more are met."""
PAUSE_S: Final = 0.1
"""How long to wait for a descriptor when there is none."""


class Accepted(asyncio.Protocol):
    """The protocol of an accepted connection."""

    __slots__ = ()

    def abandon(self) -> None:
        """The connection failed before `connection_made`: its TLS handshake did."""


Make = Callable[[socket.socket], Accepted | None]
"""Makes the protocol of an accepted connection; None refuses it."""


class Acceptor:
    """One listening socket."""

    def __init__(
        self,
        listening: socket.socket,
        make: Make,
        observer: Observer,
        context: ssl.SSLContext | None = None,
        handshake_s: float = 10.0,
    ) -> None:
        listening.setblocking(False)
        self._socket = listening
        self._make, self._observer = make, observer
        self._context, self._handshake_s = context, handshake_s
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pausing: asyncio.TimerHandle | None = None
        self._resume()

    async def close(self) -> None:
        """Take no more connections; those that stand are their protocols' own."""
        if self._pausing is not None:
            self._pausing.cancel()
        self._loop.remove_reader(self._socket)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.close()

    def _resume(self) -> None:
        self._pausing = None
        self._loop.add_reader(self._socket, self._accept)

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket)
        self._pausing = self._loop.call_later(PAUSE_S, self._resume)

    def _accept(self) -> None:
        """Connections wait."""
        for _ in range(A_TURN):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._observer.event("error", "listen.out_of_files", error=error.strerror or "")
                # Whatever it was, it was about one connection or will pass: keep accepting.
                self._pause()
                return
            protocol = self._protocol(connection)
            if protocol is None:
                connection.close()
                continue
            task = self._loop.create_task(self._serve(connection, protocol))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _protocol(self, connection: socket.socket) -> Accepted | None:
        try:
            return self._make(connection)
        except Exception as error:
            # A fault at one connection is told, and does not end the port.
            self._loop.call_exception_handler({"message": "a connection could not be taken", "exception": error})
            return None

    async def _serve(self, connection: socket.socket, protocol: Accepted) -> None:
        timeout = self._handshake_s if self._context is not None else None
        try:
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=timeout
            )
        except (OSError, ssl.SSLError, TimeoutError, asyncio.CancelledError) as error:
            protocol.abandon()
            connection.close()
            self._observer.event("debug", "listen.handshake_failed", error=f"{type(error).__name__}: {error}")
            if isinstance(error, asyncio.CancelledError):
                raise
