"""The coordinator's end of one session: which frame may come when, and what it has proved. It knows no nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ghostwire.errors import AuthenticationError, UnavailableError, WireError
from ghostwire.model.time import Now
from ghostwire.wire import codec
from ghostwire.wire.keys import Agreement, public_key, validate_public_key
from ghostwire.wire.messages import (
    Challenge,
    ChallengeRequest,
    Endpoints,
    FromNode,
    Heartbeat,
    HeldHead,
    Hello,
    HelloBody,
    NodeBye,
    Proof,
    Query,
    Register,
    RegisterBody,
    Resync,
    RotateBody,
    RotateKey,
)
from ghostwire.wire.packing import NAME
from ghostwire.wire.proof import Purpose, Transcript, check

CHALLENGE_LIFE_S: Final = 60.0
CHALLENGE_AGAIN_S: Final = 1.0
OUTSTANDING: Final = 4
"""Challenges that one connection may hold at a time; the oldest lapses."""

_ORDINARY: Final = (Query, Heartbeat, Endpoints)
"""What sessions mostly say, and needs nothing but a session."""
Proved = RegisterBody | HelloBody | RotateBody
Heard = Heartbeat | Endpoints | Query | Resync | HeldHead | NodeBye


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What one coordinator process checks proofs against.

    `spki` is SHA-256 of its own public key info where it ends TLS itself, else empty. `origins` are the origins that
    clients may have dialled where it does not.
    """

    network: str
    private: Agreement
    public: bytes
    spki: bytes = b""
    origins: frozenset[str] = frozenset()

    @classmethod
    def open(cls, network: str, private: bytes, spki: bytes, origins: frozenset[str]) -> Gate:
        """A gate with the challenge key pair of `private`."""
        return cls(network=network, private=Agreement(private), public=public_key(private), spki=spki, origins=origins)

    def __repr__(self) -> str:
        return f"<Gate {self.network}>"

    def admit(self, purpose: Purpose, proof: Proof, body: bytes, node_key: bytes, new_key: bytes = b"") -> None:
        """Raise `AuthenticationError` unless the proof holds for this process. The nonce is the session's to check.

        A way that leads here wrongly says nothing of the node, whose peers must outlive it: `UnavailableError`.
        """
        if self.spki and proof.spki != self.spki:
            raise UnavailableError(
                "the connection's certificate is not this coordinator's: something ends TLS in between"
            )
        if not self.spki and proof.origin not in self.origins:
            raise UnavailableError(
                f"{proof.origin!r} is not an address of this coordinator: add it to server.public_urls"
            )
        check(
            Transcript(
                purpose=purpose,
                network=self.network,
                origin=proof.origin,
                spki=proof.spki,
                challenge_key=self.public,
                nonce=proof.nonce,
                node_key=node_key,
                new_key=new_key,
                body=body,
            ),
            self.private,
            proof.mac,
        )


class ServerSession:
    """One connection's protocol state: the challenges that are open, and the key that it speaks for.

    `packs` says that the node reads what is packed with this dictionary.
    """

    __slots__ = ("_challenges", "_entropy", "_gate", "node_key", "packs")

    def __init__(self, gate: Gate, entropy: Callable[[int], bytes]) -> None:
        self._gate = gate
        self._entropy = entropy
        self._challenges: dict[bytes, float] = {}
        self.node_key: bytes | None = None
        self.packs = False

    def challenge(self, now: Now) -> bytes:
        """The frame of a fresh challenge."""
        nonce = self._entropy(32)
        while len(self._challenges) >= OUTSTANDING:
            del self._challenges[next(iter(self._challenges))]
        self._challenges[nonce] = now.mono + CHALLENGE_LIFE_S
        return codec.encode(Challenge(key=self._gate.public, nonce=nonce, network=self._gate.network))

    def receive(self, frame: bytes | memoryview, now: Now) -> Proved | Heard | ChallengeRequest:
        """Read one frame and take the message in it. Raises `WireError` and what `take` does."""
        return self.take(codec.decode_from_node(frame), now)

    def take(self, message: FromNode, now: Now) -> Proved | Heard | ChallengeRequest:
        """Take one message; what comes back has been proved as far as its kind needs it, which costs some time.

        Raises `WireError` for messages that may not come now, `AuthenticationError` and `ValidationError` for proofs
        that do not hold, `UnavailableError` for those that came late or by a wrong way.
        """
        if self.node_key is not None and isinstance(message, _ORDINARY):
            return message
        if isinstance(message, ChallengeRequest):
            return message
        if isinstance(message, Register | Hello):
            if self.node_key is not None:
                raise WireError("this connection has its session already")
            self.packs = message.packs == NAME
            return self._register(message, now) if isinstance(message, Register) else self._hello(message, now)
        if isinstance(message, NodeBye) and self.node_key is None:
            return message
        if self.node_key is None:
            raise WireError("register or hello comes first")
        return self._rotate(message, now) if isinstance(message, RotateKey) else message

    def establish(self, node_key: bytes) -> None:
        """The coordinator opened the session for this key; open challenges lapse."""
        self.node_key = node_key
        self._challenges.clear()

    def _register(self, message: Register, now: Now) -> RegisterBody:
        body = codec.decode_register(message.body)
        validate_public_key(body.node_key)
        validate_public_key(body.machine_key)
        self._spend(message.proof.nonce, now)
        self._gate.admit("register", message.proof, message.body, body.node_key)
        return body

    def _hello(self, message: Hello, now: Now) -> HelloBody:
        body = codec.decode_hello(message.body)
        self._spend(message.proof.nonce, now)
        self._gate.admit("hello", message.proof, message.body, validate_public_key(body.node_key))
        return body

    def _rotate(self, message: RotateKey, now: Now) -> RotateBody:
        body = codec.decode_rotate(message.body)
        validate_public_key(body.new_key)
        if body.node_key != self.node_key:
            raise AuthenticationError("a session rotates its own key only")
        if body.new_key == body.node_key:
            raise WireError("the new key is the old one")
        if message.old_proof.nonce != message.new_proof.nonce:
            raise WireError("both proofs must answer one challenge")
        self._spend(message.old_proof.nonce, now)
        self._gate.admit("rotate-old", message.old_proof, message.body, body.node_key, body.new_key)
        self._gate.admit("rotate-new", message.new_proof, message.body, body.node_key, body.new_key)
        return body

    def _spend(self, nonce: bytes, now: Now) -> None:
        deadline = self._challenges.pop(nonce, None)
        if deadline is None or now.mono > deadline:
            raise UnavailableError(
                "the challenge is unknown, used or older than 60 s: ask for a fresh one", retry_after=CHALLENGE_AGAIN_S
            )
