"""Signed heads: what the log ended with, told to the outside, so that a log that was cut or rewritten shows.

The signature is composite, under a key for this one use, over the store's id, its epoch, and the newest row's number,
time and hash. A head is made beside the commits, never within one: what follows the newest head can be cut unseen.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

import msgspec

from ghostwire.errors import DatabaseError, GhostwireError, NotFoundError, ValidationError
from ghostwire.zqlite import signing
from ghostwire.zqlite.changelog import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ghostwire.zqlite.composite import SigningKey, VerifyingKey
    from ghostwire.zqlite.store import Store

USE: Final = signing.HEADS
EVERY_S: Final = 10.0
EVERY_ROWS: Final = 1000

_CTX: Final = b"ghostwire zqlite head"
_LABEL: Final = b"ghostwire zqlite head 1\0"
_LOOK_S: Final = 1.0
_MOST_BYTES: Final = 64 * 1024
_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Told = tuple[bytes, _Number, _Number, _Number, bytes, bytes, bytes]
_numbers = struct.Struct(">QQQ").pack


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head with who vouches for it: `signer` is the fingerprint of the key."""

    store: bytes
    epoch: int
    head: Head
    signer: bytes
    signature: bytes

    def check(self, key: VerifyingKey, store: bytes) -> Head:
        """The head, once it is known to be genuine and of this store.

        Raises ValidationError for a head of another store, AuthenticationError when the signature does not hold.
        """
        if self.store != store:
            raise ValidationError(f"this head is of store {self.store.hex()}, not of {store.hex()}: give its own")
        key.verify(self.signature, _message(self.store, self.epoch, self.head), _CTX)
        return self.head

    def to_text(self) -> str:
        """One JSON object, all bytes as hexadecimal digits."""
        return json.dumps(
            {
                "store": self.store.hex(),
                "epoch": self.epoch,
                "seq": self.head.seq,
                "ts": self.head.ts,
                "hash": self.head.hash.hex(),
                "signer": self.signer.hex(),
                "signature": self.signature.hex(),
            }
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The reverse of `to_text`. Raises ValidationError for what is no signed head."""
        try:
            told = json.loads(text)
            epoch, seq, ts = (told[name] for name in ("epoch", "seq", "ts"))
            if not all(type(number) is int and 0 <= number < 1 << 63 for number in (epoch, seq, ts)):
                raise ValueError("a number is out of range")
            store, digest, signer, signature = (
                bytes.fromhex(told[name]) for name in ("store", "hash", "signer", "signature")
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValidationError(f"this is no signed head: {error}") from error
        return cls(store, epoch, Head(seq, ts, digest), signer, signature)

    def to_bytes(self) -> bytes:
        """MessagePack: an array of store, epoch, seq, ts, hash, signer and signature."""
        head = self.head
        return msgspec.msgpack.encode(
            (self.store, self.epoch, head.seq, head.ts, head.hash, self.signer, self.signature)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The reverse of `to_bytes`. Raises ValidationError for what is no signed head."""
        try:
            store, epoch, seq, ts, digest, signer, signature = msgspec.msgpack.decode(data, type=_Told)
        except msgspec.DecodeError as error:
            raise ValidationError(f"this is no signed head: {error}") from error
        return cls(store, epoch, Head(seq, ts, digest), signer, signature)

    def save(self, path: Path) -> None:
        """Put it in a file, whole or not at all."""
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with draft.open("x") as stream:
                stream.write(self.to_text() + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise DatabaseError(f"cannot write the head {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """A head from a file. Raises NotFoundError when there is none, ValidationError when it is no head."""
        try:
            with path.open("rb") as stream:
                text = stream.read(_MOST_BYTES).decode()
        except OSError as error:
            raise NotFoundError(f"cannot read the head {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValidationError(f"{path} is no signed head") from error
        return cls.from_text(text)


def check(signed: SignedHead, store: bytes, keys: Sequence[VerifyingKey]) -> Head:
    """The head, once one of the store's keys is known to have signed it. Raises what `SignedHead.check` raises."""
    by_name = {key.fingerprint: key for key in keys}
    return signed.check(by_name.get(signed.signer, keys[0]), store)


def sign(store: bytes, epoch: int, head: Head, key: SigningKey) -> SignedHead:
    """Vouch for a head."""
    signature = key.sign(_message(store, epoch, head), _CTX)
    return SignedHead(store, epoch, head, key.public.fingerprint, signature)


def admit(signed: SignedHead, store: bytes, epoch: int, keys: Sequence[VerifyingKey]) -> Head:
    """The head to hold a log of this store and `epoch` against.

    Raises what `check` raises, and DatabaseError when the head is of a later epoch: then this is the older copy.
    """
    head = check(signed, store, keys)
    if signed.epoch > epoch:
        raise DatabaseError(
            f"the head is of epoch {signed.epoch}, the store of epoch {epoch}: another copy was restored or promoted "
            "after this one, use that"
        )
    return head


async def keep(
    db: Store,
    path: Path,
    failed: Callable[[GhostwireError], None],
    made: Callable[[SignedHead], None] = lambda signed: None,
    every: float = EVERY_S,
    rows: int = EVERY_ROWS,
) -> None:
    """Keep the newest head in a file, until cancelled or until the store is fenced.

    It is signed every `every` seconds while there are new rows, sooner after `rows` of them; looked at once a second.
    `made` is handed each, `failed` what went wrong; then it is tried again `every` seconds later.
    """
    loop = asyncio.get_running_loop()
    last, due = -1, loop.time()
    while db.fenced is None:
        try:
            seq = await db.run(lambda reader: reader.value("SELECT max(seq) FROM change")) or 0
            if seq != last and (loop.time() >= due or (last >= 0 and seq - last >= rows)):
                signed = await db.sign_head(path)
                last, due = signed.head.seq, loop.time() + every
                made(signed)
            pause = min(_LOOK_S, every)
        except GhostwireError as error:
            failed(error)
            pause = every
        await asyncio.sleep(pause)


def _message(store: bytes, epoch: int, head: Head) -> bytes:
    return b"".join((_LABEL, store, _numbers(epoch, head.seq, head.ts), head.hash))
