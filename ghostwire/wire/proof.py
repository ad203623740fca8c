"""Proof that a node holds its private key, bound to the connection that it is made on.

    mac = BLAKE3.keyed(derive_key("ghostwire v1 node proof", X25519(node, E)), transcript)

The transcript is a sequence of fields, each preceded by its length as four bytes, big-endian: purpose, network id,
origin as dialled, SHA-256 of the server's SPKI as seen (empty without TLS), E, nonce, node key, new key or empty,
BLAKE3 of the body's bytes.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ghostwire._native import token
from ghostwire.errors import AuthenticationError
from ghostwire.wire.keys import Agreement, equal, shared_secret

Purpose = Literal["register", "hello", "rotate-old", "rotate-new"]
_CONTEXT: Final = "ghostwire v1 node proof"


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What both sides must agree on before a proof means anything."""

    purpose: Purpose
    network: str
    origin: str
    spki: bytes
    challenge_key: bytes
    nonce: bytes
    node_key: bytes
    new_key: bytes = b""
    body: bytes

    def encode(self) -> bytes:
        """The bytes that the proof covers."""
        fields = (
            self.purpose.encode(),
            self.network.encode(),
            self.origin.encode(),
            self.spki,
            self.challenge_key,
            self.nonce,
            self.node_key,
            self.new_key,
            token.blake3(self.body),
        )
        return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def prove(transcript: Transcript, private: bytes) -> bytes:
    """The node's side: `private` is the node key's private half (for `rotate-new`, the new key's)."""
    secret = shared_secret(private, transcript.challenge_key)
    return token.keyed_blake3(token.derive_key(_CONTEXT, secret), transcript.encode())


def check(transcript: Transcript, challenge: Agreement, mac: bytes) -> None:
    """The coordinator's side. Raises `AuthenticationError` or, for unusable keys, `ValidationError`."""
    key = transcript.new_key if transcript.purpose == "rotate-new" else transcript.node_key
    secret = challenge.secret(key)
    if not equal(token.keyed_blake3(token.derive_key(_CONTEXT, secret), transcript.encode()), mac):
        raise AuthenticationError(
            "the proof does not hold: the node does not own that key, or the connection is not the one it thinks"
        )
