"""One simulated node: the agent's own wire code over a connection of its own, without tunnel and disk."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final, Protocol

import msgspec

from ghostwire._native import inbox
from ghostwire.agent.backoff import Backoff
from ghostwire.errors import WireError
from ghostwire.model.node import NodeFacts
from ghostwire.testing.load.counting import Counting
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.held import NodeMap
from ghostwire.testing.load.link import Link
from ghostwire.testing.load.stamp import stamped
from ghostwire.wire.client_session import ClientSession, Credentials, MapChanged
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import MAX_SERVER_FRAME, Refusal, ServerBye, Welcome

_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux, ip(7): not yet in Python's socket module."""


class Site(Protocol):
    """Where the nodes of one process live."""

    counting: Counting
    loop: asyncio.AbstractEventLoop
    request: bytes
    door: Door


class SimNode:
    """Joins when told, comes back by itself as an agent does, gives signs of life, counts what it is told."""

    __slots__ = (
        "_away",
        "_backoff",
        "_beat",
        "_dialling",
        "_due",
        "_link",
        "_netmap",
        "_retry",
        "_session",
        "_site",
        "_source",
        "_who",
        "inbox",
        "number",
    )

    def __init__(self, site: Site, number: int, source: str, preauth_key: str) -> None:
        self._site, self._source = site, source
        self.number = number
        self._who = Credentials(
            node_private=clamp(os.urandom(32)),
            machine_key=public_key(clamp(os.urandom(32))),
            facts=NodeFacts(hostname=f"sim-{number}"),
            preauth_key=preauth_key,
        )
        self._netmap = NodeMap()
        self._session: ClientSession | None = None
        self._link: Link | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._backoff = Backoff(os.urandom)
        self._beat: asyncio.TimerHandle | None = None
        self._retry: float | None = None
        self._due = 0.0
        self._away = False
        self.inbox = self._fresh_inbox()

    @property
    def stands(self) -> bool:
        """Whether it has its session and its map."""
        return self.inbox.live

    def told(self) -> int:
        """How many changes of its map reached it since it was last asked."""
        found, self._netmap.held.told = self._netmap.held.told, 0
        return found

    def join(self, due: float) -> None:
        """Register and take the first map; `due` is the scheduled moment."""
        self._due = due
        self._dial()

    def leave(self) -> None:
        """Close the connection and stay away."""
        self._away = True
        if self._link is not None:
            self._link.close()

    def come_back(self, _due: float) -> None:
        """Be there again."""
        self._away = False
        self._dial()

    def announce(self, due: float) -> None:
        """Change the node's endpoints to one that names the scheduled moment."""
        if self.stands and self._session is not None:
            self._session.endpoints((stamped(due),))
            self._transmit()

    def beat(self) -> None:
        """Give a sign of life with the digest of the map."""
        if self.stands and self._session is not None:
            self._session.heartbeat(None)
            self._transmit()

    # The connection's side.

    def opened(self, spki: bytes) -> None:
        """The connection stands: speak for the node."""
        self._session = ClientSession(self._who, self._netmap, self._site.door.origin, spki)

    def received(self, payload: bytes, at: float) -> None:
        """One message came. Raises `WireError`."""
        session = self._session
        if session is None:
            return
        heard = session.receive(payload)
        if isinstance(heard, MapChanged):
            self._moved(heard, at)
        elif isinstance(heard, Welcome):
            self._who = msgspec.structs.replace(self._who, token=heard.token)
            self._netmap.belong_to(heard.node)
        elif isinstance(heard, Refusal | ServerBye):
            self._retry = heard.retry_after
            if isinstance(heard, Refusal):
                self._site.counting.refusals[heard.code] += 1
        self._transmit()

    def turned_away(self, seconds: float | None) -> None:
        """The server takes no connection now."""
        self._retry = seconds
        self._site.counting.refusals["turned away"] += 1

    def broke(self, error: WireError) -> None:
        """The server broke the protocol: what is held may not be what it thinks."""
        self._netmap.position = None
        self._site.counting.fault(f"node {self.number}: {error}")

    def ended(self) -> None:
        """The connection is gone: come back as an agent does."""
        counting = self._site.counting
        if self.stands:
            counting.sessions -= 1
            counting.lost += not self._away
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        self._link = self._session = None
        self.inbox = self._fresh_inbox()
        if not self._away:
            self._site.loop.call_later(self._backoff.next(self._retry), self._dial)
        self._retry = None

    # Within.

    def _dial(self) -> None:
        self._dialling = self._site.loop.create_task(self._connect())

    async def _connect(self) -> None:
        site, door = self._site, self._site.door
        link = Link(self, site.request)
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # A port is chosen for the whole connection, not for the address: many nodes may share it.
            connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.bind((self._source, 0))
            await site.loop.sock_connect(connection, (door.host, door.port))
        except OSError as error:
            connection.close()
            self._not_connected(error)
            return
        self._link = link
        try:
            name = door.host if door.tls else None
            transport, _ = await site.loop.create_connection(
                lambda: link, sock=connection, ssl=door.context, server_hostname=name
            )
        except OSError as error:
            self._not_connected(error)
            return
        if transport.is_closing():
            # It broke at once, and the loop closes its number, which is soon another's: not to be closed again.
            connection.detach()

    def _not_connected(self, error: OSError) -> None:
        self._site.counting.refusals[f"connect: {error.strerror}"] += 1
        self.ended()

    def _transmit(self) -> None:
        session, link = self._session, self._link
        if session is not None and link is not None:
            while (payload := session.poll_transmit()) is not None:
                link.send(payload)

    def _moved(self, event: MapChanged, at: float) -> None:
        """A map came that was not just told to everyone: the first of a session, or one that was asked for."""
        if not self.stands:
            self._stand(event.how, at)
            return
        if event.how == "full" and self._netmap.replaced:
            self._site.counting.replaced_map(f"node {self.number} held {self._netmap.replaced}")
        if event.how != "unchanged":
            self._netmap.held.told += 1
            self._site.counting.broadcasts.count += 1

    def _fresh_inbox(self) -> inbox.Inbox:
        return inbox.Inbox(self._site.counting.broadcasts, self._netmap.held, MAX_SERVER_FRAME)

    def _stand(self, how: str, at: float) -> None:
        counting = self._site.counting
        self.inbox.live = True
        counting.sessions += 1
        counting.last_session = at
        self._backoff.reset()
        if self._who.preauth_key is not None:
            self._who = msgspec.structs.replace(self._who, preauth_key=None)
            counting.joined += 1
            counting.joins.add(at - self._due)
        else:
            counting.resumed[how] += 1
        assert self._session is not None  # noqa: S101 - narrows the type only
        assert self._session.welcome is not None  # noqa: S101 - narrows the type only
        period = self._session.welcome.heartbeat_s
        self._arm(period * int.from_bytes(os.urandom(2), "big") / 65536, period)

    def _arm(self, delay: float, period: float) -> None:
        self._beat = self._site.loop.call_later(delay, self._pulse, period)

    def _pulse(self, period: float) -> None:
        self.beat()
        self._arm(period, period)
