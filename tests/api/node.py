"""A node written from docs/protocol.md with public libraries alone: it imports nothing of the product."""

from __future__ import annotations

import hashlib
import os
import ssl
from types import TracebackType
from typing import Any, Self

import blake3
import msgspec
import websockets
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P = 2**255 - 19
LOW_ORDER = {
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
}
SINGLE = ("self", "filter", "dns", "relays", "network")


class Refused(Exception):
    """The coordinator said no; `args[0]` is its message."""


def check_key(key: bytes) -> bytes:
    """Section 3."""
    value = int.from_bytes(key, "little")
    if len(key) != 32 or value >= P or value in LOW_ORDER:
        raise ValueError("not a usable X25519 key")
    return key


def new_private() -> bytes:
    key = bytearray(os.urandom(32))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, key: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(check_key(key)))


def transcript(fields: tuple[bytes, ...]) -> bytes:
    """Section 5."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def prove(private: bytes, challenge_key: bytes, text: bytes) -> bytes:
    key = blake3.blake3(agree(private, challenge_key), derive_key_context="ghostwire v1 node proof").digest()
    return blake3.blake3(text, key=key).digest()


class Map:
    """Section 8."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.position: list[Any] | None = None
        self._coming: dict[str, bytes] = {}

    @property
    def digest(self) -> bytes:
        total = sum(
            int.from_bytes(blake3.blake3(label.encode() + b"\0" + part).digest()[:16], "big")
            for label, part in self.parts.items()
        )
        return (total % 2**128).to_bytes(16, "big")

    @property
    def peers(self) -> dict[int, Any]:
        found = {}
        for label, part in self.parts.items():
            kind, _, number = label.partition("/")
            if kind == "peer":
                found[int(number)] = msgspec.msgpack.decode(part)
        return found

    @property
    def own(self) -> Any:
        return msgspec.msgpack.decode(self.parts["self"])

    def take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "netmap.full":
            if message["page"] == 0:
                self._coming = {}
            self._coming.update(labelled(message["parts"]))
            if message.get("last"):
                self.parts, self._coming = self._coming, {}
                self.position = message["position"]
                if message.get("digest"):
                    assert message["digest"] == self.digest
        elif kind == "netmap.delta":
            for label, field in (("peer", "gone"), ("profile", "gone_profiles")):
                for number in message.get(field, ()):
                    self.parts.pop(f"{label}/{number}", None)
            self.parts.update(labelled(message["parts"]))
            self.parts.pop(f"peer/{self.own['id']}", None)
            self.position = message["position"]
        else:
            assert message["digest"] == self.digest
            self.position = message["position"]


def labelled(parts: dict[str, Any]) -> dict[str, bytes]:
    found = {name: parts[name] for name in SINGLE if parts.get(name) is not None}
    for label, field in (("peer", "peers"), ("profile", "profiles")):
        found |= {f"{label}/{number}": part for number, part in (parts.get(field) or {}).items()}
    return found


class Node:
    """One connection after another of one node."""

    def __init__(self, url: str, pin: str | None) -> None:
        self.url, self.pin = url, pin
        self.private = new_private()
        self.machine_key = public(new_private())
        self.token: str | None = None
        self.map = Map()
        self.number = 0

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        where = self.url.replace("https://", "wss://") + "/v1/session"
        self.socket = await websockets.connect(where, ssl=context, subprotocols=["ghostwire.v1"], compression=None)
        shown = self.socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        info = x509.load_der_x509_certificate(shown).public_key()
        self.spki = hashlib.sha256(info.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        assert self.pin is None or f"sha256:{self.spki.hex()}" == self.pin
        self.challenge = await self.receive()
        assert self.challenge["type"] == "challenge"
        check_key(self.challenge["key"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.socket.close()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    async def receive(self) -> dict[str, Any]:
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        assert len(data) <= 1_048_576
        message: dict[str, Any] = msgspec.msgpack.decode(data)
        if message["type"].startswith("netmap."):
            self.map.take(message)
        return message

    async def until(self, *kinds: str) -> dict[str, Any]:
        while (message := await self.receive())["type"] not in kinds:
            if message["type"] == "error":
                raise Refused(message)
        return message

    def proof(self, purpose: str, body: bytes, private: bytes, new_key: bytes = b"") -> dict[str, Any]:
        text = transcript(
            (
                purpose.encode(),
                self.challenge["network"].encode(),
                self.url.encode(),
                self.spki,
                self.challenge["key"],
                self.challenge["nonce"],
                public(self.private),
                new_key,
                blake3.blake3(body).digest(),
            )
        )
        mac = prove(private, self.challenge["key"], text)
        return {"mac": mac, "nonce": self.challenge["nonce"], "origin": self.url, "spki": self.spki}

    async def register(self, key: str | None, **facts: Any) -> dict[str, Any]:
        body = msgspec.msgpack.encode(
            {
                "node_key": public(self.private),
                "machine_key": self.machine_key,
                "facts": facts,
                "preauth_key": key,
            }
        )
        await self.send("register", body=body, proof=self.proof("register", body, self.private))
        return await self._welcomed()

    async def hello(self) -> dict[str, Any]:
        await self.send("hello", **self.hello_fields())
        return await self._welcomed()

    def hello_fields(self) -> dict[str, Any]:
        resume = self.map.position
        body = msgspec.msgpack.encode(
            {
                "node_key": public(self.private),
                "token": self.token,
                "resume": resume,
                "digest": self.map.digest if resume else b"",
            }
        )
        return {"body": body, "proof": self.proof("hello", body, self.private)}

    async def _welcomed(self) -> dict[str, Any]:
        welcome = await self.until("welcome")
        self.token, self.number = welcome["token"], welcome["node"]
        return welcome

    async def mapped(self) -> str:
        """Until the map stands; how it came."""
        while True:
            message = await self.receive()
            if message["type"] in ("netmap.delta", "netmap.unchanged") or message.get("last"):
                kind: str = message["type"]
                return kind

    async def rotate(self) -> None:
        """Section 9."""
        await self.send("challenge.request")
        self.challenge = await self.until("challenge")
        fresh = new_private()
        body = msgspec.msgpack.encode({"node_key": public(self.private), "new_key": public(fresh)})
        await self.send(
            "rotate_key",
            body=body,
            old_proof=self.proof("rotate-old", body, self.private, public(fresh)),
            new_proof=self.proof("rotate-new", body, fresh, public(fresh)),
        )
        self.token = (await self.until("rotated"))["token"]
        self.private = fresh
