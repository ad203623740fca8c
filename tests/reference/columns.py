"""Twin of `core_ext.columns`: parts decoded to dictionaries, columns to lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

import msgspec

from ghostwire.errors import WireError
from ghostwire.wire.columns import AS_THEY_ARE, DIFFERENCES, KEY_BYTES, KEYS

WIDEST = 1 << 61
_HEAD = b"\xc4\x20"
_encoder = msgspec.msgpack.Encoder()
_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_numbers = msgspec.msgpack.Decoder(list[int], strict=True)
_values = msgspec.msgpack.Decoder(list[msgspec.Raw])


def gather(parts: Iterable[bytes]) -> tuple[list[tuple[str, ...]], bytes, dict[str, tuple[int, bytes]]] | None:
    shapes: dict[tuple[str, ...], int] = {}
    peers: list[int] = []
    columns: dict[str, list[bytes]] = {}
    for part in parts:
        try:
            fields = _fields.decode(part)
        except msgspec.MsgspecError as error:
            raise WireError("a part is no MessagePack map with text for keys") from error
        peers.append(shapes.setdefault(tuple(fields), len(shapes)))
        for key, value in fields.items():
            columns.setdefault(key, []).append(bytes(value))
        if len(shapes) > 256 or len(columns) > 256:
            return None
    return list(shapes), bytes(peers), {key: _column(values) for key, values in columns.items()}


def _column(values: list[bytes]) -> tuple[int, bytes]:
    if all(len(value) == KEY_BYTES + len(_HEAD) and value.startswith(_HEAD) for value in values):
        return KEYS, b"".join(value[len(_HEAD) :] for value in values)
    plain = _encoder.encode([msgspec.Raw(value) for value in values])
    try:
        numbers = _numbers.decode(plain)
    except msgspec.MsgspecError:
        return AS_THEY_ARE, plain
    if _encoder.encode(numbers) != plain or any(not -WIDEST <= number < WIDEST for number in numbers):
        return AS_THEY_ARE, plain
    return DIFFERENCES, _encoder.encode([after - before for before, after in pairwise([0, *numbers])])


def scatter(
    shapes: Sequence[tuple[str, ...]], peers: bytes, columns: Mapping[str, tuple[int, bytes]], most: int
) -> dict[int, bytes]:
    try:
        return _scatter(shapes, peers, {key: _values_of(*column) for key, column in columns.items()}, most)
    except (StopIteration, IndexError, KeyError, msgspec.MsgspecError) as error:
        raise WireError("a page of columns is not what its shapes say") from error


def _scatter(
    shapes: Sequence[tuple[str, ...]], peers: bytes, columns: dict[str, Iterator[bytes]], most: int
) -> dict[int, bytes]:
    found = {}
    size = 0
    for number in peers:
        fields = {key: msgspec.Raw(next(columns[key])) for key in shapes[number]}
        part = _encoder.encode(fields)
        size += len(part)
        if size > most or len(fields) < len(shapes[number]):
            raise WireError("too much, or a key twice")
        identity = _numbers.decode(_encoder.encode([fields["id"]]))[0]
        if bytes(fields["id"])[0] in (0xCA, 0xCB):
            raise WireError("no id")
        found[identity] = part
    if any(next(values, None) is not None for values in columns.values()):
        raise WireError("more values than peers")
    return found


def _values_of(kind: int, data: bytes) -> Iterator[bytes]:
    if kind == KEYS:
        if len(data) % KEY_BYTES:
            raise WireError("a key ends too early")
        return (_HEAD + data[at : at + KEY_BYTES] for at in range(0, len(data), KEY_BYTES))
    if kind == DIFFERENCES:
        numbers = list(accumulate(_numbers.decode(data)))
        if any(not -(1 << 63) <= number < 1 << 64 for number in numbers):
            raise WireError("a number of more than 64 bits")
        return map(_encoder.encode, numbers)
    if kind == AS_THEY_ARE:
        return map(bytes, _values.decode(data))
    raise WireError("no such kind")
