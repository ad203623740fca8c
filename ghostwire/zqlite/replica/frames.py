"""What a primary and its replicas say to each other: MessagePack, each message behind its length (4 bytes, big-endian).

replica                                   primary
  hello{store, epoch, seq, hash}    ->
                                    <-    start{store, epoch, meta, ...} and its parts   or   refused{code, message}
                                    <-    rows{records, groups, meta} ... tick{epoch, seq, ts}
  ack{seq} once they are on disk    ->
  hand_over{}                       ->
                                    <-    handed_over{epoch, seq}   or   refused

The records are those that `Store.changes` gives: a feed to another process on the same machine carries the same.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final, TypeVar

import msgspec

from ghostwire.errors import UnavailableError, WireError

VERSION: Final = 1
MOST_BYTES: Final = 1 << 30
"""SQLite's own bound on one row."""
HELLO_BYTES: Final = 4096
_LENGTH: Final = struct.Struct(">I")


class _Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    pass


class Hello(_Message, frozen=True, tag="hello"):
    """Where the replica's log ends; `store` is empty in one that holds nothing yet."""

    version: int
    store: bytes = b""
    epoch: int = 0
    seq: int = 0
    hash: bytes = b""


class Ack(_Message, frozen=True, tag="ack"):
    """All rows up to `seq` are on the replica's disk."""

    seq: int


class HandOver(_Message, frozen=True, tag="hand_over"):
    """The replica wants to be the primary."""


class Refused(_Message, frozen=True, tag="refused"):
    """The primary will not: a code of the error tree and a message."""

    code: str
    message: str


class Start(_Message, frozen=True, tag="start"):
    """Rows follow behind `seq`. `meta`: the store's settings, its secrets in the clear.

    Where `parts` is not 0, so many snapshot parts come first, which stand for the log up to `seq`; `layouts` are the
    catalogue of that log.
    """

    store: bytes
    epoch: int
    meta: dict[str, Any]
    seq: int
    ts: int
    hash: bytes
    parts: int = 0
    layouts: tuple[tuple[int, int, bytes | None], ...] = ()

    def __repr__(self) -> str:
        return f"<Start behind row {self.seq}>"


class Part(_Message, frozen=True, tag="part"):
    """One part of the snapshot."""

    data: bytes


class Rows(_Message, frozen=True, tag="rows"):
    """Rows of the log in order, and the signatures of the commits that end among them; `meta` where it has changed."""

    records: tuple[tuple[int, int, int, str, str, bytes, bytes, bytes], ...]
    groups: tuple[tuple[int, bytes], ...]
    meta: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Rows: {len(self.records)}>"


class Tick(_Message, frozen=True, tag="tick"):
    """The primary lives: its epoch and newest row, and its clock (UTC nanoseconds)."""

    epoch: int
    seq: int
    ts: int


class HandedOver(_Message, frozen=True, tag="handed_over"):
    """The primary writes nothing any more; `epoch` is the replica's to open once it has the rows up to `seq`."""

    epoch: int
    seq: int


T = TypeVar("T")

FromReplica = Hello | Ack | HandOver
FromPrimary = Refused | Start | Part | Rows | Tick | HandedOver

_encode = msgspec.msgpack.Encoder().encode
_from_replica: msgspec.msgpack.Decoder[FromReplica] = msgspec.msgpack.Decoder(FromReplica)
_from_primary: msgspec.msgpack.Decoder[FromPrimary] = msgspec.msgpack.Decoder(FromPrimary)


def send(writer: asyncio.StreamWriter, message: FromReplica | FromPrimary) -> None:
    """Queue a message."""
    data = _encode(message)
    writer.write(_LENGTH.pack(len(data)) + data)


async def from_replica(reader: asyncio.StreamReader) -> FromReplica:
    """The next message of a replica. Raises UnavailableError when it has gone, WireError for what is none."""
    return _decode(_from_replica, await _receive(reader, HELLO_BYTES))


async def from_primary(reader: asyncio.StreamReader) -> FromPrimary:
    """The next message of a primary. Raises UnavailableError when it has gone, WireError for what is none."""
    return _decode(_from_primary, await _receive(reader, MOST_BYTES))


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"a message of the other end is not what the link's protocol says: {error}") from error


async def _receive(reader: asyncio.StreamReader, limit: int) -> bytes:
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > limit:
            raise WireError(f"a message of {length} bytes: at most {limit} are taken")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise UnavailableError("the other end of the link has gone") from error
