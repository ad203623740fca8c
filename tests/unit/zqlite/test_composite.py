"""Composite signatures: the published answers of both halves, and that neither half nor another use is enough."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from ghostwire.errors import AuthenticationError, ValidationError
from ghostwire.zqlite import composite
from ghostwire.zqlite.composite import SigningKey, VerifyingKey

SEED = bytes(range(64))
CTX = b"a use"


def vectors(name: str) -> list[dict[str, bytes]]:
    """The groups of a `.rsp` file."""
    found: list[dict[str, bytes]] = []
    for line in Path(cryptography_vectors.__path__[0], "asymmetric", "MLDSA", name).read_text().splitlines():
        field, _, value = (part.strip() for part in line.partition("="))
        if field == "count":
            found.append({})
        elif field:
            found[-1][field] = bytes.fromhex(value) if field not in ("mlen", "smlen", "ctxlen") else value.encode()
    return found


def test_published_answers_of_ml_dsa_65() -> None:
    known = vectors("kat_MLDSA_65_det_pure.rsp")
    assert len(known) == 100
    for vector in known:
        key = MLDSA65PrivateKey.from_seed_bytes(vector["xi"])
        assert key.public_key().public_bytes_raw() == vector["pk"]
        signature = vector["sm"][:3309]
        MLDSA65PublicKey.from_public_bytes(vector["pk"]).verify(signature, vector["msg"], vector["ctx"])


def test_both_halves_sign_the_representative() -> None:
    key = SigningKey(SEED)
    signature = key.sign(b"message", CTX)
    assert len(signature) == composite.SIGNATURE_BYTES
    told = (
        b"CompositeAlgorithmSignatures2025"
        b"COMPSIG-MLDSA65-Ed25519-SHA512" + bytes((len(CTX),)) + CTX + hashlib.sha512(b"message").digest()
    )
    MLDSA65PrivateKey.from_seed_bytes(SEED[:32]).public_key().verify(
        signature[:3309], told, b"COMPSIG-MLDSA65-Ed25519-SHA512"
    )
    again = VerifyingKey.from_bytes(key.public.data)
    assert again.fingerprint == key.public.fingerprint
    again.verify(signature, b"message", CTX)


@pytest.mark.parametrize("at", [0, 1000, 3308, 3309, 3372])
def test_each_half_counts(at: int) -> None:
    key = SigningKey(SEED)
    signature = bytearray(key.sign(b"message", CTX))
    signature[at] ^= 1
    with pytest.raises(AuthenticationError, match="does not hold"):
        key.public.verify(bytes(signature), b"message", CTX)


def test_halves_of_two_signatures_do_not_join() -> None:
    key, other = SigningKey(SEED), SigningKey(bytes(64))
    mine, theirs = key.sign(b"message", CTX), other.sign(b"message", CTX)
    for mixed in (mine[:3309] + theirs[3309:], theirs[:3309] + mine[3309:]):
        with pytest.raises(AuthenticationError):
            key.public.verify(mixed, b"message", CTX)


def test_another_message_use_key_or_length_is_refused() -> None:
    key = SigningKey(SEED)
    signature = key.sign(b"message", CTX)
    for message, ctx in ((b"massage", CTX), (b"message", b""), (b"message", b"another use")):
        with pytest.raises(AuthenticationError):
            key.public.verify(signature, message, ctx)
    with pytest.raises(AuthenticationError):
        SigningKey(bytes(64)).public.verify(signature, b"message", CTX)
    with pytest.raises(AuthenticationError, match="3373 bytes"):
        key.public.verify(signature[:-1], b"message", CTX)
    with pytest.raises(ValidationError, match="1984 bytes"):
        VerifyingKey.from_bytes(b"short")
    with pytest.raises(ValidationError, match="64 bytes"):
        SigningKey(b"short")
    with pytest.raises(ValidationError, match="255 at most"):
        key.sign(b"message", bytes(256))


def test_the_published_answer() -> None:
    known = json.loads((Path(__file__).parents[2] / "data" / "composite_mldsa65_ed25519.json").read_text())
    private, message, signature = (base64.b64decode(known[name]) for name in ("private", "message", "signature"))
    key = SigningKey(private)
    key.public.verify(signature, message, b"")
    key.public.verify(key.sign(message, b""), message, b"")
    with pytest.raises(AuthenticationError):
        key.public.verify(signature, message, CTX)
