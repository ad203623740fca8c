"""The slow twin of rust_ext.blocks: the format read and written value by value, and the cache as a list."""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

Value = int | float | str | bytes

_WORD = (1 << 64) - 1
_KINDS = {"i": 1, "f": 2, "t": 3, "b": 4}
_CIPHERS: dict[int, type[AESGCM] | type[ChaCha20Poly1305]] = {1: AESGCM, 2: ChaCha20Poly1305}


class Bytes:
    """Takes bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def signed(self) -> int:
        value = self.varint()
        return value >> 1 if value % 2 == 0 else -(value >> 1) - 1


def open_block(
    sealed: bytes, database: bytes, secret: bytes, series: bytes, number: int
) -> tuple[str, list[list[Value]]]:
    """Kinds and columns of a sealed block."""
    key = blake3(sealed[1:5] + series, key=secret).digest()
    context = _context(sealed[0], sealed[1:5], database, series, number)
    packed = _CIPHERS[sealed[0]](key).decrypt(sealed[5:17], sealed[17:], context)
    length = int.from_bytes(packed[:4], "little")
    body = Bytes(zstandard.ZstdDecompressor().decompress(packed[4:], max_output_size=max(length, 1)))
    version, count, rows = struct.unpack("<BBI", body.take(6))
    assert version in (1, 2)
    names = {code: name for name, code in _KINDS.items()}
    kinds = "".join(names[code] for code in body.take(count))
    columns = [_READ[kind](body, rows) for kind in kinds]
    assert body.at == length == len(body.data)
    return kinds, columns


def seal_block(
    kinds: str, columns: Sequence[Sequence[Any]], database: bytes, secret: bytes, series: bytes, number: int
) -> bytes:
    """A block in the plainest form of each column, under key version 1 and a nonce of zeros."""
    body = struct.pack("<BBI", 1, len(kinds), len(columns[0])) + bytes(_KINDS[kind] for kind in kinds)
    body += b"".join(_WRITE[kind](list(values)) for kind, values in zip(kinds, columns, strict=True))
    packed = len(body).to_bytes(4, "little") + zstandard.ZstdCompressor().compress(body)
    version = struct.pack("<I", 1)
    cipher = AESGCM(blake3(version + series, key=secret).digest())
    return (
        b"\x01"
        + version
        + bytes(12)
        + cipher.encrypt(bytes(12), packed, _context(1, version, database, series, number))
    )


def _context(cipher: int, version: bytes, *place: Any) -> bytes:
    database, series, number = place
    parts = [database, series, number.to_bytes(8, "little"), version]
    return bytes((cipher,)) + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _wrap(value: int) -> int:
    value &= _WORD
    return value - (1 << 64) if value >> 63 else value


def _read_integers(body: Bytes, rows: int) -> list[Any]:
    if rows == 0:
        return []
    origin, scale = body.signed(), body.varint()
    (form,) = body.take(1)
    if form == 0:
        values = list(_read_groups(body, rows))
    elif form == 3:
        values = []
        while len(values) < rows:
            value = body.signed()
            values += [value] * body.varint()
    else:
        values = [body.signed()]
        step = body.signed() if form == 2 else 0
        if form == 2 and rows > 1:
            values.append(_wrap(values[-1] + step))
        for change in _read_groups(body, rows - form):
            step = step + change if form == 2 else change
            values.append(_wrap(values[-1] + step))
    return [_wrap(value * scale + origin) for value in values]


def _read_groups(body: Bytes, count: int) -> Iterator[int]:
    while count > 0:
        (head,) = body.take(1)
        here, width = min(count, 128), head & 0x7F
        if head >> 7:
            common = body.signed()
            others = list(_read_bits(body, here, 1))
            values = _read_distances(body, sum(others), width)
            yield from (next(values) if other else common for other in others)
        else:
            yield from _read_distances(body, here, width)
        count -= here


def _read_distances(body: Bytes, count: int, width: int) -> Iterator[int]:
    least = body.signed()
    return iter([_wrap(least + distance) for distance in _read_bits(body, count, width)])


def _read_bits(body: Bytes, count: int, width: int) -> Iterator[int]:
    word = int.from_bytes(body.take(math.ceil(count * width / 8)), "little")
    return iter([word >> (at * width) & ((1 << width) - 1) for at in range(count)])


def _read_reals(body: Bytes, rows: int) -> list[Any]:
    if rows == 0:
        return []
    (form,) = body.take(1)
    if form == 1:
        planes = body.take(rows * 8)
        before, values = 0, []
        for at in range(rows):
            before ^= int.from_bytes(planes[at::rows], "little")
            values.append(struct.unpack("<d", before.to_bytes(8, "little"))[0])
        return values
    (places,) = body.take(1)
    others, at = {}, 0
    for _ in range(body.varint()):
        at += body.varint()
        (others[at],) = struct.unpack("<d", body.take(8))
        at += 1
    values = [float(value) / 10.0**places for value in _read_integers(body, rows)]
    return [others.get(row, value) for row, value in enumerate(values)]


def _read_bytes(body: Bytes, rows: int) -> list[Any]:
    words = [body.take(length) for length in [body.varint() for _ in range(body.varint())]]
    return [words[code] for code in _read_integers(body, rows)]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _signed(value: int) -> bytes:
    return _varint(value * 2 if value >= 0 else -value * 2 - 1)


def _write_integers(values: list[int]) -> bytes:
    if not values:
        return b""
    runs = b"".join(_signed(value) + _varint(1) for value in values)
    return _signed(0) + _varint(1) + b"\x03" + runs


def _write_reals(values: list[float]) -> bytes:
    if not values:
        return b""
    words = [int.from_bytes(struct.pack("<d", value), "little") for value in values]
    mixed = [word ^ before for word, before in zip(words, [0, *words], strict=False)]
    return b"\x01" + b"".join(bytes(word >> (8 * plane) & 0xFF for word in mixed) for plane in range(8))


def _write_bytes(values: list[bytes]) -> bytes:
    words = list(dict.fromkeys(values))
    codes = [words.index(value) for value in values]
    return (
        _varint(len(words)) + b"".join(_varint(len(word)) for word in words) + b"".join(words) + _write_integers(codes)
    )


_READ: dict[str, Callable[[Bytes, int], list[Any]]] = {
    "i": _read_integers,
    "f": _read_reals,
    "t": lambda body, rows: [word.decode() for word in _read_bytes(body, rows)],
    "b": _read_bytes,
}
_WRITE: dict[str, Callable[[list[Any]], bytes]] = {
    "i": _write_integers,
    "f": _write_reals,
    "t": lambda values: _write_bytes([value.encode() for value in values]),
    "b": _write_bytes,
}


class Sieve:
    """Which blocks a cache of one shard holds: newest first, with the bit that says whether each was read."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.queue: list[list[Any]] = []
        self.hand: Any = None
        self.hits = self.misses = self.evictions = 0

    def fetch(self, number: int, weight: int) -> bool:
        """Whether it was there; it is now, unless it is more than the budget."""
        for entry in self.queue:
            if entry[0] == number:
                entry[2] = True
                self.hits += 1
                return True
        self.misses += 1
        if weight <= self.budget:
            while sum(entry[1] for entry in self.queue) + weight > self.budget:
                self._evict()
            self.queue.insert(0, [number, weight, False])
        return False

    def forget(self, number: int) -> None:
        for at, entry in enumerate(self.queue):
            if entry[0] == number:
                self._remove(at)
                return

    def _evict(self) -> None:
        at = next((at for at, entry in enumerate(self.queue) if entry is self.hand), len(self.queue) - 1)
        while self.queue[at][2]:
            self.queue[at][2] = False
            at = at - 1 if at else len(self.queue) - 1
        self.hand = self.queue[at]
        self._remove(at)
        self.evictions += 1

    def _remove(self, at: int) -> None:
        if self.queue[at] is self.hand:
            self.hand = self.queue[at - 1] if at else None
        del self.queue[at]


class Lru:
    """The baseline: what was not read for longest goes first."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held: dict[int, int] = {}
        self.weight = self.hits = self.misses = 0

    def fetch(self, number: int, weight: int) -> bool:
        held = self.held.pop(number, None)
        if held is not None:
            self.held[number] = held
            self.hits += 1
            return True
        self.misses += 1
        if weight <= self.budget:
            while self.weight + weight > self.budget:
                self.weight -= self.held.pop(next(iter(self.held)))
            self.held[number] = weight
            self.weight += weight
        return False
