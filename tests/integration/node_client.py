"""A node over a real WebSocket: the product's own client session, without an agent around it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ghostwire.model.node import NodeFacts
from ghostwire.wire.client_session import ClientSession, Credentials, Event
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import SUBPROTOCOL, LogHead, Refusal, ServerBye, Welcome
from ghostwire.wire.netmap import NetMap

E = TypeVar("E")
PATIENCE_S = 10.0


def credentials(name: str, key: str | None = None, **changes: Any) -> Credentials:
    """Fresh keys of a machine that calls itself `name`."""
    values: dict[str, Any] = {
        "node_private": clamp(os.urandom(32)),
        "machine_key": public_key(clamp(os.urandom(32))),
        "facts": NodeFacts(hostname=name),
        "preauth_key": key,
    }
    return Credentials(**values | changes)


def spki_of(certificate: bytes) -> bytes:
    """SHA-256 of the public key info of a DER certificate."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


class NodeClient:
    """One connection. `async with NodeClient(url, credentials) as node: await node.joined()`."""

    def __init__(self, url: str, who: Credentials, netmap: NetMap | None = None, pin: str | None = None) -> None:
        self.url, self.pin = url, pin
        self.netmap = netmap if netmap is not None else NetMap()
        self.credentials = who
        self.session: ClientSession
        self.events: list[Event] = []
        self.heads: list[LogHead] = []

    async def __aenter__(self) -> Self:
        context = None
        if self.url.startswith("https"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        target = "ws" + self.url.removeprefix("http") + "/v1/session"
        self.socket = await websockets.connect(target, ssl=context, subprotocols=[SUBPROTOCOL], compression=None)
        spki = b""
        if context is not None:
            seen = self.socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            spki = spki_of(seen)
            assert self.pin in (None, f"sha256:{spki.hex()}")
        self.session = ClientSession(self.credentials, self.netmap, self.url, spki)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.socket.close()

    async def flush(self) -> None:
        """Send what the session wants sent."""
        while (frame := self.session.poll_transmit()) is not None:
            await self.socket.send(frame)

    async def step(self) -> Event | None:
        """Take one frame from the server; the heads of its log come when they come, and are put aside."""
        while True:
            frame = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
            event = self.session.receive(frame)
            await self.flush()
            if not isinstance(event, LogHead):
                break
            self.heads.append(event)
        if event is not None:
            self.events.append(event)
        return event

    def refusals(self) -> list[Refusal]:
        """What was refused so far."""
        return [event for event in self.events if isinstance(event, Refusal)]

    def again(self, token: str | None = None) -> Credentials:
        """What the same node shows when it comes back: never a pre-auth key."""
        return msgspec.structs.replace(self.session.credentials, preauth_key=None, token=token)

    async def until(self, kind: type[E]) -> E:
        """Take frames until one of this kind of event; a refusal on the way fails."""
        while True:
            event = await self.step()
            if isinstance(event, kind):
                return event
            if isinstance(event, Refusal) and kind is not ServerBye:
                raise AssertionError(f"refused: {event}")

    async def joined(self) -> Welcome:
        """Until the session stands and the map has come."""
        welcome = await self.until(Welcome)
        while self.netmap.position is None:
            await self.step()
        return welcome

    async def until_peers(self, *names: str) -> None:
        """Until the map holds exactly these peers."""
        while sorted(peer.name for peer in self.netmap.all_peers()) != sorted(names):
            await self.step()
