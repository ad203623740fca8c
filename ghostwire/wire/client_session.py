"""A node's end of one session: it answers challenges, holds the map, and says what happened. No socket, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

from ghostwire.errors import WireError
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.model.position import Position
from ghostwire.wire import codec
from ghostwire.wire.keys import public_key
from ghostwire.wire.messages import (
    MAX_SERVER_FRAME,
    Answer,
    Challenge,
    ChallengeRequest,
    Endpoints,
    FromServer,
    Heartbeat,
    HeartbeatAck,
    HeldHead,
    Hello,
    HelloBody,
    LogHead,
    MapColumns,
    MapDelta,
    MapFull,
    MapUnchanged,
    NodeBye,
    Pending,
    Proof,
    Query,
    Refusal,
    Register,
    RegisterBody,
    Resync,
    RotateBody,
    Rotated,
    RotateKey,
    RotateOrder,
    ServerBye,
    Welcome,
)
from ghostwire.wire.packed_map import plain_page
from ghostwire.wire.packing import NAME, unpack_message
from ghostwire.wire.proof import Purpose, Transcript, prove


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a node shows of itself. With `preauth_key` or `join` it registers; else it comes back by `hello`."""

    node_private: bytes
    machine_key: bytes
    facts: NodeFacts
    token: str | None = None
    preauth_key: str | None = None
    join: bool = False

    def __repr__(self) -> str:
        return "<Credentials redacted>"


class MapChanged(msgspec.Struct, frozen=True):
    """The map moved to a new position. `how` it came."""

    how: Literal["full", "delta", "unchanged"]


Event = Welcome | Pending | Refusal | MapChanged | HeartbeatAck | Answer | RotateOrder | Rotated | LogHead | ServerBye


class Holder(Protocol):
    """What holds the map that a session brings: a `NetMap`, or what stands for one. Each raises `WireError`."""

    position: Position | None

    @property
    def digest(self) -> bytes:
        """16 bytes over every part."""

    def apply_page(self, page: MapFull) -> bool:
        """Take one page of a full map; True when the new map stands."""

    def apply_delta(self, delta: MapDelta) -> None:
        """Take a change of the map that stands."""


class ClientSession:
    """One connection's protocol state. `netmap` outlives it: hand the same one to the next session to resume.

    `origin` is the origin as dialled, `spki` SHA-256 of the public key info of the certificate that was seen.
    Call `receive` with each frame and send whatever `poll_transmit` gives.
    """

    def __init__(self, credentials: Credentials, netmap: Holder, origin: str, spki: bytes = b"") -> None:
        self.credentials = credentials
        self.netmap = netmap
        self.welcome: Welcome | None = None
        self._origin = origin
        self._spki = spki
        self._challenge: Challenge | None = None
        self._new_private: bytes | None = None
        self._outgoing: deque[bytes] = deque()
        self._query = 0

    def poll_transmit(self) -> bytes | None:
        """The next frame to send, or None."""
        return self._outgoing.popleft() if self._outgoing else None

    def receive(self, frame: bytes | memoryview) -> Event | None:
        """Take one frame; what happened, if the caller should know. Raises `WireError`."""
        message: FromServer = codec.decode_from_server(unpack_message(frame, MAX_SERVER_FRAME))
        if isinstance(message, Challenge):
            self._answer(message)
            return None
        if isinstance(message, Welcome):
            self.welcome = message
            return message
        if isinstance(message, MapColumns):
            message = plain_page(message)
        if isinstance(message, MapFull):
            return MapChanged("full") if self.netmap.apply_page(message) else None
        if isinstance(message, MapDelta):
            self.netmap.apply_delta(message)
            return MapChanged("delta")
        if isinstance(message, MapUnchanged):
            return self._unchanged(message)
        if isinstance(message, Rotated):
            return self._rotated(message)
        if isinstance(message, HeartbeatAck) and message.position is not None and self.netmap.position is not None:
            self.netmap.position = message.position
        return message

    def heartbeat(
        self,
        metrics: NodeMetrics | None,
        hits: Mapping[int, int] = MappingProxyType({}),
        flows: Mapping[int, Flow] = MappingProxyType({}),
    ) -> None:
        """Queue a sign of life; with it, what the filter's rules did and peers exchanged since the last report."""
        held = self.netmap
        self._send(
            Heartbeat(position=held.position, digest=held.digest, metrics=metrics, hits=dict(hits), flows=dict(flows))
        )

    def endpoints(self, endpoints: tuple[str, ...]) -> None:
        """Queue where the tunnel may be reached."""
        self._send(Endpoints(endpoints=endpoints))

    def query(self, *, node: int | None = None, name: str | None = None, address: str | None = None) -> int:
        """Queue a query; the number that its `Answer` will carry."""
        self._query += 1
        self._send(Query(id=self._query, node=node, name=name, address=address))
        return self._query

    def return_head(self, signed: bytes) -> None:
        """Queue a signed head that was held since an earlier session."""
        self._send(HeldHead(signed=signed))

    def resync(self) -> None:
        """Queue a request for the whole map."""
        self._send(Resync())

    def rotate(self, new_private: bytes) -> None:
        """Begin to swap the node key: asks for a challenge, and answers it under both keys."""
        self._new_private = new_private
        self._send(ChallengeRequest())

    def bye(self, *, logout: bool = False) -> None:
        """Queue the end of the session."""
        self._send(NodeBye(logout=logout))

    def _send(self, message: msgspec.Struct) -> None:
        self._outgoing.append(codec.encode(message))

    def _unchanged(self, message: MapUnchanged) -> MapChanged:
        if self.netmap.position is None:
            raise WireError("the coordinator calls a map unchanged that this node does not hold")
        self.netmap.position = message.position
        return MapChanged("unchanged")

    def _rotated(self, message: Rotated) -> Rotated:
        if self._new_private is None:
            raise WireError("a key was rotated that nobody asked to rotate")
        self.credentials = msgspec.structs.replace(
            self.credentials, node_private=self._new_private, token=message.token
        )
        self._new_private = None
        return message

    def _answer(self, challenge: Challenge) -> None:
        own = self.credentials
        key = public_key(own.node_private)
        if self.welcome is not None:
            if self._new_private is not None:
                self._answer_rotation(challenge, key, self._new_private)
            return
        if own.preauth_key is not None or own.join:
            body = codec.encode(
                RegisterBody(preauth_key=own.preauth_key, node_key=key, machine_key=own.machine_key, facts=own.facts)
            )
            proof = self._prove(challenge, "register", key, body, own.node_private)
            self._send(Register(body=body, proof=proof, packs=NAME))
        else:
            resume = self.netmap.position
            hello = HelloBody(
                node_key=key, token=own.token, resume=resume, digest=self.netmap.digest if resume else b""
            )
            body = codec.encode(hello)
            proof = self._prove(challenge, "hello", key, body, own.node_private)
            self._send(Hello(body=body, proof=proof, packs=NAME))

    def _answer_rotation(self, challenge: Challenge, key: bytes, new_private: bytes) -> None:
        new_key = public_key(new_private)
        body = codec.encode(RotateBody(node_key=key, new_key=new_key))
        self._send(
            RotateKey(
                body=body,
                old_proof=self._prove(challenge, "rotate-old", key, body, self.credentials.node_private, new_key),
                new_proof=self._prove(challenge, "rotate-new", key, body, new_private, new_key),
            )
        )

    def _prove(
        self, challenge: Challenge, purpose: Purpose, key: bytes, body: bytes, private: bytes, new_key: bytes = b""
    ) -> Proof:
        transcript = Transcript(
            purpose=purpose,
            network=challenge.network,
            origin=self._origin,
            spki=self._spki,
            challenge_key=challenge.key,
            nonce=challenge.nonce,
            node_key=key,
            new_key=new_key,
            body=body,
        )
        return Proof(mac=prove(transcript, private), nonce=challenge.nonce, origin=self._origin, spki=self._spki)
