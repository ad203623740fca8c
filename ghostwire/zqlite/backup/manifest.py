"""What a segment says of itself, signed: whose it is, which rows it holds, what it follows, and every chunk's hash."""

from __future__ import annotations

from typing import Final

import msgspec

from ghostwire._native import token
from ghostwire.errors import DatabaseError
from ghostwire.zqlite.changelog import Head
from ghostwire.zqlite.seal import Scope

VERSION: Final = 1
USE: Final = "backups"
CTX: Final = b"ghostwire zqlite backup"


class Sealed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The segment's file key, sealed to the recipient of this fingerprint."""

    recipient: bytes
    key: bytes


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows behind `since` up to `seq` of the log of `network` (the store's id), made at `made_at` (UTC nanoseconds).

    `previous` is the hash of the manifest that this one follows, empty in a full backup; `packed_bytes` is the length
    of what the chunks hold.
    """

    version: int
    network: bytes
    epoch: int
    since: int
    since_hash: bytes
    seq: int
    ts: int
    hash: bytes
    previous: bytes
    made_at: int
    packed_bytes: int
    chunks: tuple[bytes, ...]
    recipients: tuple[Sealed, ...]

    @property
    def head(self) -> Head:
        """The newest row that it holds."""
        return Head(self.seq, self.ts, self.hash)

    @property
    def scope(self) -> Scope:
        """What its file key is bound to."""
        return Scope(self.network, self.epoch, self.since, self.seq)


def encode(manifest: Manifest) -> bytes:
    """The bytes that are signed."""
    return msgspec.msgpack.encode(manifest)


def decode(data: bytes) -> Manifest:
    """The reverse of `encode`. Raises DatabaseError for another form."""
    try:
        manifest = msgspec.msgpack.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise DatabaseError(
            f"the backup's manifest is of another form ({error}): use the release that made it"
        ) from error
    if manifest.version != VERSION:
        raise DatabaseError(f"the backup has format {manifest.version}; this release reads {VERSION}: upgrade it")
    return manifest


def digest(data: bytes) -> bytes:
    """What the next manifest names this one by."""
    return token.blake3(data)
