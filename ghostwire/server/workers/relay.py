"""HTTP that reaches a worker's port, carried to the leader over its own socket, bytes as they are.

What the leader must know of the client's connection goes first: it believes that from its own workers alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from ghostwire.errors import GhostwireError
from ghostwire.server.listen import local
from ghostwire.server.listen.acceptor import Accepted
from ghostwire.server.listen.head import refusal
from ghostwire.server.listen.http import HttpConnection, HttpShell
from ghostwire.server.listen.router import Met
from ghostwire.server.listen.unread import Unread
from ghostwire.server.rest.access import CONNECTED

SOCKET: Final = "relay.sock"
_LENGTH: Final = 2


class Outward(asyncio.Protocol):
    """The client's end, in the worker: what it sends goes to the leader, as fast as that takes it.

    A client that reads next to nothing of its answers for `unread_s` is cut off.
    """

    def __init__(self, directory: Path, unread_s: float, met: Met, gone: Callable[[], None]) -> None:
        self._directory, self._unread_s, self._met, self._gone = directory, unread_s, met, gone
        self._unread: Unread | None = None
        self._client: asyncio.Transport | None = None
        self._leader: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client's connection is handed over."""
        self._client = cast("asyncio.Transport", transport)
        self._unread = Unread(self._client, self._unread_s)
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._leader is not None:
            self._leader.write(data)
        else:
            self._early.append(data)
            if self._client is not None:
                self._client.pause_reading()

    def pause_writing(self) -> None:
        """The client does not take what the leader answers."""
        if self._leader is not None:
            self._leader.pause_reading()
        self._watch()

    def resume_writing(self) -> None:
        """The client has read all."""
        if self._unread is not None:
            self._unread.stop()
        if self._leader is not None:
            self._leader.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._client = None
        if self._unread is not None:
            self._unread.stop()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._leader is not None:
            self._leader.close()
        self._gone()

    async def _dial(self) -> None:
        try:
            await local.dial(self._directory, SOCKET, lambda: Inward(self))
        except (GhostwireError, OSError):
            self.refuse()

    # The other end's side.

    def reached(self, leader: asyncio.Transport) -> None:
        """The leader is there: tell it whom this is about, and what came meanwhile."""
        self._leader = leader
        preface = msgspec.msgpack.encode(self._met)
        leader.write(b"".join((len(preface).to_bytes(_LENGTH, "big"), preface, *self._early)))
        self._early.clear()
        if self._client is None:
            leader.close()
        else:
            self._client.resume_reading()

    def answer(self, data: bytes) -> None:
        """Bytes from the leader."""
        if self._client is not None:
            self._client.write(data)

    def hold(self, wait: bool) -> None:
        """The leader takes no more bytes just now, or takes them again."""
        if self._client is not None:
            (self._client.pause_reading if wait else self._client.resume_reading)()

    def left(self) -> None:
        """The leader has closed."""
        self._leader = None
        if self._client is not None:
            self._client.close()
            self._watch()

    def refuse(self) -> None:
        """There is no leader."""
        if self._client is not None:
            self._client.write(refusal(503, "the coordinator is starting again: come back in a moment"))
            self._client.close()

    def _watch(self) -> None:
        if self._unread is not None:
            self._unread.watch()


class Inward(asyncio.Protocol):
    """The leader's end of a relayed connection, as the worker has it."""

    def __init__(self, outward: Outward) -> None:
        self._outward = outward

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The leader has been reached."""
        self._outward.reached(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        """Bytes of answers."""
        self._outward.answer(data)

    def pause_writing(self) -> None:
        """The leader reads slowly."""
        self._outward.hold(True)

    def resume_writing(self) -> None:
        """It reads again."""
        self._outward.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The leader has closed."""
        self._outward.left()


class Relayed(HttpConnection):
    """One relayed connection, in the leader: HTTP by the client whom the worker has met."""

    def __init__(self, shell: HttpShell, met: Met) -> None:
        super().__init__(shell, {CONNECTED: met.since}, _nothing)
        self._met = met

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker has said who the client is."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.client, self.server = (self._met.address, 0), self._met.reached
        self.scheme = "https" if self._met.secure else "http"

    def _watch(self) -> None:
        """The worker sees to who reads nothing: it takes answers in lumps, so here a slow client looks like none."""


class Preface(Accepted):
    """A connection from a worker, until it has said whom it is about."""

    def __init__(self, shell: HttpShell) -> None:
        self._shell = shell
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker has connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of what it says."""
        self._data += data
        end = _LENGTH + int.from_bytes(self._data[:_LENGTH], "big")
        if len(self._data) < max(end, _LENGTH):
            return
        transport = self._transport
        assert transport is not None  # noqa: S101 - bytes come on a connection
        try:
            met = msgspec.msgpack.decode(self._data[_LENGTH:end], type=Met)
        except msgspec.MsgspecError:
            transport.abort()
            return
        protocol = Relayed(self._shell, met)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if rest := self._data[end:]:
            protocol.data_received(rest)


def _nothing() -> None:
    return
