"""Sealing to recipients: the published answers of ML-KEM-768 and X-Wing, and what a sealed key is bound to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from ghostwire.errors import PermissionDeniedError, ValidationError
from ghostwire.zqlite import seal
from ghostwire.zqlite.seal import Identity, Recipient, Scope

VECTORS = Path(cryptography_vectors.__path__[0])
SCOPE = Scope(b"n" * 16, 1, 5, 9)
X_WING = 0x647A
KDFS = {1: hpke.KDF.HKDF_SHA256, 17: hpke.KDF.SHAKE256}


def test_published_answers_of_ml_kem_768() -> None:
    known: list[dict[str, bytes]] = []
    for line in (VECTORS / "asymmetric" / "MLKEM" / "kat_MLKEM_768.rsp").read_text().splitlines():
        field, _, value = (part.strip() for part in line.partition("="))
        if field == "count":
            known.append({})
        elif field:
            known[-1][field] = bytes.fromhex(value)
    assert len(known) == 1000
    for vector in known:
        key = MLKEM768PrivateKey.from_seed_bytes(vector["d"] + vector["z"])
        assert key.public_key().public_bytes_raw() == vector["pk"]
        assert key.decapsulate(vector["ct"]) == vector["ss"]
        assert key.decapsulate(vector["ct_n"]) == vector["ss_n"]


def published() -> list[dict[str, Any]]:
    vectors = json.loads((VECTORS / "HPKE" / "hpke-pq-test-vectors.json").read_text())
    return [vector for vector in vectors if vector["kem_id"] == X_WING]


def test_published_answers_of_x_wing() -> None:
    assert {vector["kdf_id"] for vector in published()} == set(KDFS)
    for vector in published():
        identity = Identity(bytes.fromhex(vector["skRm"]))
        assert identity.public.data.hex() == vector["pkRm"]
        assert vector["aead_id"] == 3
        suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, KDFS[vector["kdf_id"]], hpke.AEAD.CHACHA20_POLY1305)
        first = vector["encryptions"][0]
        opened = openssl.hpke._decrypt_with_aad(
            suite,
            bytes.fromhex(vector["enc"] + first["ct"]),
            identity._key,
            info=bytes.fromhex(vector["info"]),
            aad=bytes.fromhex(first["aad"]),
        )
        assert opened.hex() == first["pt"]


def test_a_seed_is_stretched_as_x_wing_says() -> None:
    seed = bytes(range(32))
    stretched = hashlib.shake_256(seed).digest(96)
    lattice = MLKEM768PrivateKey.from_seed_bytes(stretched[:64]).public_key().public_bytes_raw()
    assert Identity(seed).public.data[:1184] == lattice


def test_sealed_to_one_recipient_and_one_scope() -> None:
    mine, other = Identity(bytes(32)), Identity(bytes(range(32)))
    file_key = bytes(range(100, 132))
    sealed = mine.public.seal(file_key, SCOPE)
    assert mine.open(sealed, SCOPE) == file_key
    assert sealed != mine.public.seal(file_key, SCOPE)
    with pytest.raises(PermissionDeniedError, match="another recipient"):
        other.open(sealed, SCOPE)
    for scope in (Scope(b"m" * 16, 1, 5, 9), Scope(b"n" * 16, 2, 5, 9), Scope(b"n" * 16, 1, 4, 9)):
        with pytest.raises(PermissionDeniedError):
            mine.open(sealed, scope)
    with pytest.raises(PermissionDeniedError):
        mine.open(sealed, dataclasses.replace(SCOPE, last=10))
    for at in (0, 600, 1100, len(sealed) - 1):
        spoilt = bytearray(sealed)
        spoilt[at] ^= 1
        with pytest.raises(PermissionDeniedError):
            mine.open(bytes(spoilt), SCOPE)
    with pytest.raises(PermissionDeniedError):
        mine.open(sealed[:100], SCOPE)


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="1216 bytes"):
        Recipient(b"short")
    with pytest.raises(ValidationError, match="no recipient"):
        Recipient(b"\xff" * seal.PUBLIC_BYTES)
    with pytest.raises(ValidationError, match="32 bytes"):
        Identity(b"short")
