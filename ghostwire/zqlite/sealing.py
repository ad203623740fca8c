"""Values of ENCRYPTED and COMPRESSED columns: sealed one by one on their way in, opened on their way out.

A sealed value is a BLOB: its kind (1 byte: 1 encrypted, 2 compressed, 4 by ChaCha20-Poly1305 and not AES-256-GCM, 8 a
dictionary), where encrypted the key version (4 bytes, big-endian), where compressed the dictionary's number (2 bytes),
where encrypted a random nonce of 12 bytes, then the value as msgpack, compressed first and encrypted second. One that
compression would make longer is left as it is.

The associated data are the database id, table id, column id, the row's key, the key version and the kind, each with its
length (as msgpack): a value that was moved elsewhere does not open, and neither does a plain one where an encrypted one
belongs. Column keys follow from random secrets, one for each version, which are kept in the file, wrapped together
under a key derived from the root key.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Any, Final, Literal

import apsw
import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ghostwire._native import token
from ghostwire.errors import DatabaseError, PermissionDeniedError
from ghostwire.zqlite.columns import SealedTable, decode_table
from ghostwire.zqlite.dictionaries import Codec
from ghostwire.zqlite.kinds import CHACHA, COMPRESSED, DICTIONARY, ENCRYPTED
from ghostwire.zqlite.nonces import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

META: Final = "columns"
SECRET_BYTES: Final = 32

_MAC: Final = b"ghostwire zqlite unique column"
_WRAP: Final = b"ghostwire zqlite column secrets"
_NONCE_BYTES: Final = 12
_ID_BYTES: Final = 16
_version = struct.Struct(">I")
_number = struct.Struct(">H")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Aead = AESGCM | ChaCha20Poly1305


def next_version(secret: bytes) -> bytes:
    """The secrets of a store's columns with a fresh one: from then on it is what seals."""
    return secret + secrets.token_bytes(SECRET_BYTES)


def wrap(secret: bytes, wrapping_key: bytes) -> bytes:
    """The secrets of a store's columns, closed under a key."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(wrapping_key).encrypt(nonce, secret, _WRAP)


def unwrap(wrapped: bytes, wrapping_key: bytes) -> bytes:
    """The reverse of `wrap`. Raises DatabaseError when it does not open."""
    try:
        return AESGCM(wrapping_key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _WRAP)
    except InvalidTag as error:
        raise DatabaseError("the secret of the store's columns does not open: the file was changed") from error


class Ring:
    """The keys of a store's ENCRYPTED columns. With `columns`, only those named `table.column` are handed out.

    `kept` are the store's own settings, of which it takes the uses that were reserved. `damaged` counts values that
    re-encryption had to leave as they are.
    """

    def __init__(
        self,
        identity: bytes,
        wrapping_key: bytes,
        wrapped: bytes,
        columns: Iterable[str] | None,
        *,
        cipher: Literal["aegis", "chacha20"] = "aegis",
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.ledger = Ledger(kept or {})
        self.damaged = 0
        self._wrapping_key = wrapping_key
        self._secret = unwrap(wrapped, wrapping_key)
        self._identity = identity
        self._aead = CHACHA if cipher == "chacha20" else 0
        self._allowed = None if columns is None else frozenset(columns)
        self._admitted: dict[bytes, bool] = {}
        self._ciphers: dict[tuple[bytes, int, int], Aead] = {}

    @property
    def version(self) -> int:
        """The key version that seals."""
        return len(self._secret) // SECRET_BYTES

    def rotated(self) -> tuple[bytes, bytes]:
        """The secrets with a fresh version, for `adopt`, and wrapped, for the file."""
        secret = next_version(self._secret)
        return secret, wrap(secret, self._wrapping_key)

    def adopt(self, secret: bytes) -> None:
        """Seal under these secrets from now on: they are on the disk."""
        self._secret = secret
        self.ledger.worn = False

    def register(self, connection: apsw.Connection) -> Codec:
        """Give a connection `zq_open(place, kind, sealed, key...)`, where a place is a table's id and a column's."""
        codec = Codec(connection, self.reveal)

        def unseal(*values: Any) -> Any:
            place, kind, sealed, *row = values
            if sealed is None:
                return None
            if kind & ENCRYPTED and self._allowed is not None:
                self.admit(connection, place)
            return self.unseal(codec, place, kind, sealed, row)

        connection.create_scalar_function("zq_open", unseal, flags=apsw.SQLITE_INNOCUOUS)
        return codec

    def register_writer(self, connection: apsw.Connection) -> Codec:
        """Give the one connection that writes `zq_seal` too, and what re-encryption needs: `zq_stale`, `zq_reseal`."""
        codec = self.register(connection)

        def seal(*values: Any) -> bytes | None:
            place, kind, value, *row = values
            if kind & ENCRYPTED and self._allowed is not None:
                self.admit(connection, place)
            return None if value is None else self.seal(codec, place, kind, value, row)

        def stale(*values: Any) -> int:
            place, kind, sealed = values
            return int(sealed is not None and self.stale(codec, place, kind, sealed))

        def reseal(*values: Any) -> bytes | None:
            place, kind, sealed, *row = values
            kept: bytes | None = sealed
            if sealed is None or not self.stale(codec, place, kind, sealed):
                return kept
            try:
                value = self.unseal(codec, place, kind, sealed, row)
            except DatabaseError:
                self.damaged += 1
                return kept
            return self.seal(codec, place, kind, value, row)

        def mac(*values: Any) -> bytes | None:
            place, kind, value = values
            if kind & ENCRYPTED and self._allowed is not None:
                self.admit(connection, place)
            return None if value is None else self.mac(place, value)

        for name, function in (("zq_seal", seal), ("zq_stale", stale), ("zq_reseal", reseal), ("zq_mac", mac)):
            connection.create_scalar_function(name, function, flags=apsw.SQLITE_INNOCUOUS)
        return codec

    def seal(self, codec: Codec, place: bytes, kind: int, value: Any, row: Sequence[Any]) -> bytes:
        """A sealed value."""
        data = _encode(value)
        number = 0
        if kind & COMPRESSED:
            number, frame = codec.pack(place[_ID_BYTES:], data)
            if len(frame) < len(data):
                data = frame
            else:
                kind ^= COMPRESSED
        return self._close(place, kind, number, data, row)

    def mac(self, place: bytes, value: Any) -> bytes:
        """A hash of a value under a key of its column: the same for the same value, whatever key seals by now."""
        key = token.keyed_blake3(self._secret[:SECRET_BYTES], _MAC + place)
        return token.keyed_blake3(key, _encode(value))

    def unseal(self, codec: Codec, place: bytes, kind: int, sealed: Any, row: Sequence[Any]) -> Any:
        """The value. Raises DatabaseError when it was changed or comes from elsewhere."""
        try:
            number, packed, data = self._disclose(place, kind, sealed, row)
            if packed:
                data = codec.unpack(place[_ID_BYTES:], number, data)
            return _decode(data)
        except (InvalidTag, zstandard.ZstdError, msgspec.DecodeError, struct.error, ValueError, IndexError) as error:
            raise DatabaseError("a sealed value does not open: it was changed, or moved from another place") from error

    def stale(self, codec: Codec, place: bytes, kind: int, sealed: Any) -> bool:
        """Whether a value is under an old version, or packed without a dictionary although there is one now."""
        if kind & ENCRYPTED and self.outdated(sealed):
            return True
        at = 1 + _version.size if kind & ENCRYPTED else 1
        if not isinstance(sealed, bytes) or len(sealed) < at + _number.size or not sealed[0] & COMPRESSED:
            return False
        (number,) = _number.unpack_from(sealed, at)
        return not number and codec.current(place[_ID_BYTES:]) != 0

    def outdated(self, sealed: Any) -> bool:
        """Whether this is encrypted, and not under the newest version."""
        newest = _version.pack(self.version)
        return isinstance(sealed, bytes) and sealed[:1] != b"\0" and sealed[1 : 1 + len(newest)] != newest

    def conceal(self, place: bytes, kind: int, number: int, dictionary: bytes) -> bytes:
        """A column's dictionary as its table holds it: that of an ENCRYPTED column encrypted."""
        if not kind & ENCRYPTED:
            return b"\0" + dictionary
        return self._close(_own(place[_ID_BYTES:]), ENCRYPTED | DICTIONARY, 0, dictionary, (number,))

    def reveal(self, column: bytes, number: int, data: bytes) -> bytes:
        """The reverse of `conceal`."""
        if data[:1] == b"\0":
            return data[1:]
        return self._disclose(_own(column), ENCRYPTED | DICTIONARY, data, (number,))[2]

    def admit(self, connection: apsw.Connection, place: bytes) -> None:
        """Raises PermissionDeniedError unless the store was opened with this column."""
        column = place[_ID_BYTES:]
        if self._allowed is None or self._admitted.get(column):
            return
        name = next((name for table in tables(connection) for id_, name in table.names() if id_ == column), "")
        if name not in self._allowed:
            raise PermissionDeniedError(f"this store was opened without the column {name}: add it to columns=")
        self._admitted[column] = True

    def _close(self, place: bytes, kind: int, number: int, data: bytes, row: Sequence[Any]) -> bytes:
        dictionary = _number.pack(number) if kind & COMPRESSED else b""
        if not kind & ENCRYPTED:
            return bytes((kind,)) + dictionary + data
        kind |= self._aead
        column, version = place[_ID_BYTES:], self.version
        self.ledger.spend((column, version))
        head = bytes((kind,)) + _version.pack(version) + dictionary
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._cipher(column, version, kind)
        return head + nonce + cipher.encrypt(nonce, data, self._context(place, row, head))

    def _disclose(self, place: bytes, kind: int, sealed: Any, row: Sequence[Any]) -> tuple[int, bool, bytes]:
        """The dictionary's number, whether it is packed, and the bytes. Raises ValueError for another kind of value."""
        if not isinstance(sealed, bytes) or (sealed[0] ^ kind) & ~(COMPRESSED | CHACHA):
            raise ValueError("another kind of value")
        told = sealed[0]
        packed = bool(told & COMPRESSED)
        if packed and not kind & COMPRESSED:
            raise ValueError("another kind of value")
        at = 1 + (_version.size if told & ENCRYPTED else 0)
        number = _number.unpack_from(sealed, at)[0] if packed else 0
        at += _number.size if packed else 0
        if not told & ENCRYPTED:
            return number, packed, sealed[at:]
        (version,) = _version.unpack_from(sealed, 1)
        if not 1 <= version <= self.version:
            raise ValueError("there is no such key")
        cipher = self._cipher(place[_ID_BYTES:], version, told)
        end = at + _NONCE_BYTES
        return number, packed, cipher.decrypt(sealed[at:end], sealed[end:], self._context(place, row, sealed[:at]))

    def _cipher(self, column: bytes, version: int, kind: int) -> Aead:
        aead = kind & CHACHA
        cipher = self._ciphers.get((column, version, aead))
        if cipher is None:
            secret = self._secret[(version - 1) * SECRET_BYTES : version * SECRET_BYTES]
            key = token.keyed_blake3(secret, column + bytes((aead,)))
            cipher = ChaCha20Poly1305(key) if aead else AESGCM(key)
            self._ciphers[column, version, aead] = cipher
        return cipher

    def _context(self, place: bytes, row: Sequence[Any], head: bytes) -> bytes:
        return _encode((self._identity, place[:_ID_BYTES], place[_ID_BYTES:], row, head))


def tables(connection: apsw.Connection) -> list[SealedTable]:
    """The tables with sealed columns."""
    there: list[Any] = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'zq_sealed'").fetchall()
    if not there:
        return []
    rows: list[Any] = connection.execute("SELECT layout FROM zq_sealed").fetchall()
    return [decode_table(layout) for (layout,) in rows]


def _own(column: bytes) -> bytes:
    """The place of what belongs to a column and to no table."""
    return bytes(_ID_BYTES) + column
