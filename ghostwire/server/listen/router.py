"""The first request head of a connection decides which protocol it is handed to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, cast

from ghostwire.errors import GhostwireError, WireError
from ghostwire.server.errors import status_of
from ghostwire.server.listen.acceptor import Accepted
from ghostwire.server.listen.admission import Admission
from ghostwire.server.listen.head import END, Head, parse, refusal, upgrade_answer
from ghostwire.server.listen.hosts import Doors
from ghostwire.server.options import Limits

HTTP_RETRY_S: Final = 5
PASSING: Final = frozenset({408, 503})
"""Refusals that say nothing of the client: the way to it may be slow, or the server full."""


class Arrival:
    """A node's connection as the bounds see it. `address` is where it comes from, behind any trusted proxy."""

    __slots__ = ("_admission", "_known", "_peer", "address")

    def __init__(self, admission: Admission, peer: str, address: str) -> None:
        self._admission, self._peer, self.address = admission, peer, address
        self._known = False

    def known(self) -> None:
        """Its session stands."""
        if not self._known:
            self._known = True
            self._admission.known(self._peer)

    def failed(self) -> None:
        """It was for nothing that its client may have."""
        self._admission.failed(self.address)

    def gone(self) -> None:
        """It has ended."""
        self.known()
        self._admission.gone()


class Met(NamedTuple):
    """A connection as it was accepted: from where, behind TLS or not, and when (UTC nanoseconds).

    `reached` is the address and the port that it has come to.
    """

    address: str
    secure: bool
    since: int
    reached: tuple[str, int]


MakeHttp = Callable[[Met, Callable[[], None]], asyncio.Protocol]
"""Makes the protocol of an HTTP connection; the callable is to be called once when the connection has ended."""


class Routes:
    """What the router needs: the bounds, the doors, and the makers of the protocols behind them."""

    __slots__ = ("admission", "doors", "http", "limits", "session")

    def __init__(
        self,
        limits: Limits,
        admission: Admission,
        doors: Doors,
        http: MakeHttp,
        session: Callable[[Arrival, bytes], asyncio.Protocol],
    ) -> None:
        self.limits, self.admission, self.doors = limits, admission, doors
        self.http = http
        self.session = session


class Router(Accepted):
    """One public connection, accepted at `since` (UTC nanoseconds), until its first request head is complete."""

    __slots__ = ("_address", "_data", "_loop", "_routes", "_secure", "_since", "_timer", "_transport")

    def __init__(self, routes: Routes, address: str, secure: bool, loop: asyncio.AbstractEventLoop, since: int) -> None:
        self._routes = routes
        self._since = since
        self._address = address
        self._secure = secure
        self._loop = loop
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands (behind TLS where there is any)."""
        # uvloop's transport behind TLS is one in all but its class.
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(self._routes.limits.head_s, self._late)

    def data_received(self, data: bytes) -> None:
        """Bytes of the head, perhaps in pieces."""
        seen = max(0, len(self._data) - len(END))
        self._data += data
        end = self._data.find(END, seen)
        if end < 0 and len(self._data) <= self._routes.limits.head_bytes:
            return
        if end < 0 or end > self._routes.limits.head_bytes:
            self._refuse(431, f"a request head of more than {self._routes.limits.head_bytes} bytes")
            return
        head = parse(self._data[: end + len(END)])
        if head is None:
            self._refuse(400, "no request of HTTP/1.1")
        elif head.opens_session:
            self._open_session(head, self._data[end + len(END) :])
        else:
            self._serve_http()

    def eof_received(self) -> bool:
        """Half a head is no request."""
        return False

    def abandon(self) -> None:
        """The connection never came to be: its TLS handshake failed."""
        if self._timer is None:
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went before it had asked for anything."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._routes.admission.known(self._address)
        self._routes.admission.gone()

    def _serve_http(self) -> None:
        admission, address = self._routes.admission, self._address
        if not admission.admit_http(address, shared=self._routes.doors.trusts(address)):
            self._refuse(503, "more HTTP connections than may stand: come back later", retry_after=HTTP_RETRY_S)
            return
        admission.known(address)
        transport = self._transport
        name = None if transport is None else transport.get_extra_info("sockname")
        met = Met(address, self._secure, self._since, ("", 0) if name is None else (name[0], name[1]))
        self._hand_over(self._routes.http(met, partial(admission.gone_http, address)), self._data)

    def _open_session(self, head: Head, rest: bytes) -> None:
        doors, peer = self._routes.doors, self._address
        try:
            doors.admit(head.headers, doors.scheme(peer, head.headers, "https" if self._secure else "http"))
            answer = upgrade_answer(head)
        except WireError as error:
            self._refuse(426, error.message)
            return
        except GhostwireError as error:
            self._refuse(status_of(error).http, error.message)
            return
        arrival = Arrival(self._routes.admission, peer, doors.client(peer, head.headers))
        if arrival.address != peer and self._routes.admission.bars(arrival.address):
            self._refuse(503, "too many connections from there were for nothing: come back later", HTTP_RETRY_S)
            return
        self._hand_over(self._routes.session(arrival, answer), rest)

    def _hand_over(self, protocol: asyncio.Protocol, data: bytes) -> None:
        transport, self._transport = self._transport, None
        assert transport is not None  # noqa: S101 - narrows the type only
        assert self._timer is not None  # noqa: S101 - narrows the type only
        self._timer.cancel()
        self._data = b""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if data:
            protocol.data_received(data)

    def _late(self) -> None:
        self._refuse(408, f"no request within {self._routes.limits.head_s:g} s")

    def _refuse(self, status: int, detail: str, retry_after: int | None = None) -> None:
        if status not in PASSING:
            self._routes.admission.failed(self._address)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(refusal(status, detail, retry_after))
            self._transport.close()
