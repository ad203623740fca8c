"""Values of ENCRYPTED and COMPRESSED columns: sealed one by one on their way in, opened on their way out.

A sealed value is a BLOB: its form (bit 0: encrypted, bit 1: compressed), and where encrypted the key version (4 bytes,
big-endian), 24 random bytes and the AES-256-GCM ciphertext. What is sealed is the msgpack form of the value, compressed
first. The random bytes are split as in XAES-256-GCM: twelve choose a key of the value's own (keyed BLAKE3 of the
column's key), twelve are the nonce, so that a column's key does not wear out. The associated data are the
length-prefixed database id, column id, key of the row, key version and form: a value moved elsewhere does not open.

Column keys come from one random secret, kept in the file wrapped under a key derived from the root key.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ghostwire._native import token
from ghostwire.errors import DatabaseError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterable

ENCRYPTED: Final = 1
COMPRESSED: Final = 2
META: Final = "columns"

_VERSION: Final = 1
_WRAP: Final = b"ghostwire zqlite column secret"
_MOST_BYTES: Final = 1 << 30
_version = struct.Struct(">I")


def new_secret(wrapping_key: bytes) -> bytes:
    """A fresh secret for a store's columns, wrapped."""
    return wrap(secrets.token_bytes(32), wrapping_key)


def wrap(secret: bytes, wrapping_key: bytes) -> bytes:
    """The secret of a store's columns, closed under a key."""
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(wrapping_key).encrypt(nonce, secret, _WRAP)


def unwrap(wrapped: bytes, wrapping_key: bytes) -> bytes:
    """The reverse of `wrap`. Raises DatabaseError when it does not open."""
    try:
        return AESGCM(wrapping_key).decrypt(wrapped[:12], wrapped[12:], _WRAP)
    except InvalidTag as error:
        raise DatabaseError("the secret of the store's columns does not open: the file was changed") from error


class Ring:
    """The keys of a store's ENCRYPTED columns. With `columns`, only those named `table.column` are handed out."""

    def __init__(self, identity: bytes, wrapping_key: bytes, wrapped: bytes, columns: Iterable[str] | None) -> None:
        self._secret = unwrap(wrapped, wrapping_key)
        self._identity = identity
        self._allowed = None if columns is None else frozenset(columns)
        self._keys: dict[tuple[bytes, int], bytes] = {}
        self._names: dict[bytes, str] = {}

    def register(self, connection: apsw.Connection) -> None:
        """Give a connection `zq_seal(column id, form, value, key...)` and `zq_open(column id, sealed, key...)`."""

        def seal(*values: Any) -> bytes | None:
            column, form, value, *row = values
            self._check(connection, column, form)
            return self.seal(column, form, value, row)

        def unseal(*values: Any) -> Any:
            column, sealed, *row = values
            if sealed is None:
                return None
            self._check(connection, column, sealed[0])
            return self.unseal(column, sealed, row)

        connection.create_scalar_function("zq_seal", seal, flags=apsw.SQLITE_INNOCUOUS)
        connection.create_scalar_function("zq_open", unseal, flags=apsw.SQLITE_INNOCUOUS)

    def seal(self, column: bytes, form: int, value: Any, row: list[Any]) -> bytes | None:
        """A sealed value; NULL stays NULL."""
        if value is None:
            return None
        data = msgspec.msgpack.encode(value)
        if form & COMPRESSED:
            data = zstandard.ZstdCompressor(level=3).compress(data)
        if not form & ENCRYPTED:
            return bytes((form,)) + data
        own, nonce = secrets.token_bytes(12), secrets.token_bytes(12)
        cipher = AESGCM(token.keyed_blake3(self._key(column, _VERSION), own))
        head = bytes((form,)) + _version.pack(_VERSION)
        return head + own + nonce + cipher.encrypt(nonce, data, self._context(column, row, head))

    def unseal(self, column: bytes, sealed: bytes, row: list[Any]) -> Any:
        """The value. Raises DatabaseError when it was changed or comes from elsewhere."""
        form, data = sealed[0], sealed[1:]
        try:
            if form & ENCRYPTED:
                (version,) = _version.unpack(sealed[1:5])
                cipher = AESGCM(token.keyed_blake3(self._key(column, version), sealed[5:17]))
                data = cipher.decrypt(sealed[17:29], sealed[29:], self._context(column, row, sealed[:5]))
            if form & COMPRESSED:
                data = zstandard.ZstdDecompressor().decompress(data, max_output_size=_MOST_BYTES)
            return msgspec.msgpack.decode(data)
        except (InvalidTag, zstandard.ZstdError, msgspec.DecodeError, struct.error, ValueError) as error:
            raise DatabaseError("a sealed value does not open: it was changed, or moved from another place") from error

    def _key(self, column: bytes, version: int) -> bytes:
        key = self._keys.get((column, version))
        if key is None:
            key = token.keyed_blake3(self._secret, column + _version.pack(version))
            self._keys[column, version] = key
        return key

    def _context(self, column: bytes, row: list[Any], head: bytes) -> bytes:
        return msgspec.msgpack.encode([self._identity, column, row, head])

    def _check(self, connection: apsw.Connection, column: bytes, form: int) -> None:
        if self._allowed is None or not form & ENCRYPTED:
            return
        name = self._names.get(column)
        if name is None:
            rows: Any = connection.execute("SELECT value FROM zq_meta WHERE key = ?", (meta_key(column),)).fetchall()
            name = self._names[column] = rows[0][0] if rows else ""
        if name not in self._allowed:
            raise PermissionDeniedError(f"this store was opened without the column {name}: add it to columns=")


def meta_key(column: bytes) -> str:
    """Where the store's own table keeps the name of a sealed column."""
    return f"column {column.hex()}"
