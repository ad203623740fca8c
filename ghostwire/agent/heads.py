"""The signed heads that a node holds for its coordinator: what shows that a log was cut, or an old copy put back.

One is held for each key that signed, the newest; of the newest few keys. That an older key's head stays lets a
coordinator whose key has changed still be told.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ghostwire.wire.messages import LogHead
from ghostwire.zqlite import SignedHead, VerifyingKey, heads

SIGNERS: Final = 4
_decoder = msgspec.msgpack.Decoder(dict[bytes, bytes])


def held(kept: bytes) -> list[bytes]:
    """The heads in what is kept, oldest signer first."""
    return list(_decoder.decode(kept).values()) if kept else []


def hold(kept: bytes, told: LogHead) -> bytes:
    """What is to be kept once `told` was heard.

    Raises AuthenticationError when its signature does not hold, ValidationError when it is no head.
    """
    signed, key = SignedHead.from_bytes(told.signed), VerifyingKey.from_bytes(told.key)
    heads.check(signed, signed.store, (key,))
    signer = key.fingerprint
    by_signer = _decoder.decode(kept) if kept else {}
    before = by_signer.pop(signer, None)
    if before is not None and _age(SignedHead.from_bytes(before)) >= _age(signed):
        return kept
    by_signer[signer] = told.signed
    while len(by_signer) > SIGNERS:
        del by_signer[next(iter(by_signer))]
    return msgspec.msgpack.encode(by_signer)


def _age(signed: SignedHead) -> tuple[int, int]:
    return signed.epoch, signed.head.seq
