"""Twin of `core_ext.columns`: parts decoded to dictionaries, columns to lists."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from ghostwire.errors import WireError
from ghostwire.wire.columns import AS_THEY_ARE, DIFFERENCES, KEY_BYTES, KEYS

WIDEST = 1 << 61
_HEAD = b"\xc4\x20"
_encoder = msgspec.msgpack.Encoder()
_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_numbers = msgspec.msgpack.Decoder(list[int])


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
