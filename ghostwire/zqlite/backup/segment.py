"""The file of a segment: encrypted chunks, then the manifest, its signature, and where it starts.

    8 bytes  "GWSEG" and the format's number
    chunks   AES-256-GCM over 64 KiB each (the last one is shorter or as long), nonce = number (11 bytes) and last flag
    manifest msgpack
    3,373    composite signature over the manifest
    12       length of the manifest (4 bytes, big-endian), "GWSEGEND"

The nonce names the chunk's place and whether more follow, so none can be moved, dropped or added; the manifest's hashes
say the same to whoever has no key.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ghostwire._native import token
from ghostwire.errors import AuthenticationError, DatabaseError, NotFoundError, PermissionDeniedError
from ghostwire.zqlite import composite
from ghostwire.zqlite.backup import manifest as manifests
from ghostwire.zqlite.backup.manifest import Manifest
from ghostwire.zqlite.composite import SigningKey, VerifyingKey
from ghostwire.zqlite.seal import FILE_KEY_BYTES, Identity

SUFFIX: Final = ".gws"
CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16

_MAGIC: Final = b"GWSEG\0\0\x01"
_END: Final = b"GWSEGEND"
_LENGTH: Final = struct.Struct(">I")
_TRAILER: Final = composite.SIGNATURE_BYTES + _LENGTH.size + len(_END)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment whose manifest's signature holds. `digest` is what its follower names it by."""

    path: Path
    manifest: Manifest
    digest: bytes


class ChunkWriter:
    """Encrypts a stream into a file, 64 KiB at a time."""

    def __init__(self, stream: BinaryIO, key: bytes) -> None:
        self.hashes: list[bytes] = []
        self.size = 0
        self._stream = stream
        self._cipher = AESGCM(key)
        self._pending = bytearray()
        stream.write(_MAGIC)

    def write(self, data: bytes) -> None:
        """Take some of the stream. A full chunk waits until more follows, for the last one is marked."""
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:
            self._put(bytes(self._pending[:CHUNK_BYTES]), last=False)
            del self._pending[:CHUNK_BYTES]

    def finish(self) -> None:
        """Write the last chunk."""
        self._put(bytes(self._pending), last=True)

    def _put(self, plain: bytes, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(len(self.hashes), last), plain, None)
        self.hashes.append(token.blake3(sealed))
        self.size += len(plain)
        self._stream.write(sealed)


def write_manifest(stream: BinaryIO, manifest: Manifest, signer: SigningKey) -> bytes:
    """End a segment; the manifest's digest."""
    data = manifests.encode(manifest)
    stream.write(data + signer.sign(data, manifests.CTX) + _LENGTH.pack(len(data)) + _END)
    return manifests.digest(data)


def read(path: Path, signer: VerifyingKey) -> Segment:
    """The segment in a file, by the signer's public key, which never comes from the backup itself.

    Raises NotFoundError when there is none, DatabaseError for a file that is cut short or no segment,
    AuthenticationError when the signature does not hold.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            data, signature = _tail(stream, size, path)
    except OSError as error:
        raise NotFoundError(f"cannot read the backup {path}: {error.strerror}") from error
    try:
        signer.verify(signature, data, manifests.CTX)
    except AuthenticationError:
        raise AuthenticationError(
            f"the signature of {path.name} does not hold: the backup was changed, or another key signed it (--signer)"
        ) from None
    manifest = manifests.decode(data)
    count = max(1, -(-manifest.packed_bytes // CHUNK_BYTES))
    body = manifest.packed_bytes + count * TAG_BYTES
    if len(manifest.chunks) != count or size != len(_MAGIC) + body + len(data) + _TRAILER:
        raise DatabaseError(f"{path.name} has not the length that its manifest says: bytes are missing or were added")
    return Segment(path, manifest, manifests.digest(data))


def file_key(segment: Segment, identity: Identity) -> bytes:
    """The key of the segment's chunks. Raises PermissionDeniedError when it is not sealed to `identity`."""
    manifest = segment.manifest
    mine = identity.public.fingerprint
    for sealed in manifest.recipients:
        if sealed.recipient == mine:
            key = identity.open(sealed.key, manifest.scope)
            if len(key) != FILE_KEY_BYTES:
                raise DatabaseError(f"the file key of {segment.path.name} has {len(key)} bytes: make a new backup")
            return key
    names = ", ".join(sealed.recipient.hex()[:16] for sealed in manifest.recipients)
    raise PermissionDeniedError(
        f"{segment.path.name} is not for the recipient {mine.hex()[:16]}: it opens with the private key of {names}"
    )


def chunks(segment: Segment, key: bytes) -> Iterator[bytes]:
    """What the chunks hold, each checked against the manifest before it is opened. Raises DatabaseError."""
    manifest, name = segment.manifest, segment.path.name
    cipher = AESGCM(key)
    last = len(manifest.chunks) - 1
    with segment.path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise DatabaseError(f"{name} is no backup of this format: its first bytes were changed")
        for number, expected in enumerate(manifest.chunks):
            plain = CHUNK_BYTES if number < last else manifest.packed_bytes - last * CHUNK_BYTES
            sealed = stream.read(plain + TAG_BYTES)
            if token.blake3(sealed) != expected:
                raise DatabaseError(f"chunk {number} of {name} is not the one that was signed: the backup was changed")
            try:
                yield cipher.decrypt(_nonce(number, number == last), sealed, None)
            except InvalidTag:
                raise DatabaseError(f"chunk {number} of {name} does not open: its key is not the file's") from None


def _tail(stream: BinaryIO, size: int, path: Path) -> tuple[bytes, bytes]:
    """The manifest's bytes and the signature."""
    if size < len(_MAGIC) + TAG_BYTES + _TRAILER:
        raise DatabaseError(f"{path.name} is cut short ({size} bytes) or no backup")
    stream.seek(size - _TRAILER)
    trailer = stream.read(_TRAILER)
    if trailer[-len(_END) :] != _END:
        raise DatabaseError(f"{path.name} is cut short or no backup: its last bytes are not a segment's")
    (length,) = _LENGTH.unpack(trailer[composite.SIGNATURE_BYTES : -len(_END)])
    if length > size - _TRAILER - len(_MAGIC):
        raise DatabaseError(f"{path.name} is cut short: its manifest does not fit")
    stream.seek(size - _TRAILER - length)
    return stream.read(length), trailer[: composite.SIGNATURE_BYTES]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))
