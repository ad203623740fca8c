"""`zstd(data [, level])` packs text or a BLOB; `unzstd(packed)` gives its bytes back, `unzstd_text` its text."""

from __future__ import annotations

import threading
from typing import Any, Final

import apsw
import zstandard

from ghostwire.errors import ValidationError

MOST_BYTES: Final = 64 * 1024 * 1024
"""What one value may unpack to: a few bytes of a crafted frame could claim gigabytes."""

_LEVELS: Final = range(1, 20)
_local = threading.local()


def zstd(*values: Any) -> bytes | None:
    """A frame that holds its own length; NULL of NULL. Raises ValidationError for numbers and unknown levels."""
    data, level = values if len(values) == 2 else (values[0], 3)
    if data is None:
        return None
    if isinstance(data, str):
        data = data.encode()
    if not isinstance(data, bytes) or level not in _LEVELS:
        raise ValidationError("zstd(data, level) takes text or a BLOB, and a level from 1 to 19")
    packers: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("packers", {})
    packer = packers.get(level)
    if packer is None:
        packer = packers[level] = zstandard.ZstdCompressor(level=level)
    return packer.compress(data)


def unzstd(*values: Any) -> bytes | None:
    """The bytes in a frame; NULL of NULL. Raises ValidationError for what is no frame, or a bigger one than 64 MiB."""
    (data,) = values
    if data is None:
        return None
    if not isinstance(data, bytes):
        raise ValidationError("unzstd() takes a BLOB")
    unpacker: zstandard.ZstdDecompressor = _local.__dict__.setdefault("unpacker", zstandard.ZstdDecompressor())
    try:
        if not 0 <= zstandard.frame_content_size(data) <= MOST_BYTES:
            raise ValidationError(f"unzstd() unpacks up to {MOST_BYTES} bytes whose number the frame tells")
        return unpacker.decompress(data)
    except zstandard.ZstdError as error:
        raise ValidationError(f"unzstd() found no zstd frame: {error}") from error


def unzstd_text(*values: Any) -> str | None:
    """The text in a frame; NULL of NULL. Raises ValidationError for bytes that are not UTF-8."""
    data = unzstd(*values)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError as error:
        raise ValidationError(f"unzstd_text() found bytes that are no text: {error}") from error


def register(connection: apsw.Connection) -> None:
    """Give a connection these functions."""
    for name, function, count in (
        ("zstd", zstd, 1),
        ("zstd", zstd, 2),
        ("unzstd", unzstd, 1),
        ("unzstd_text", unzstd_text, 1),
    ):
        connection.create_scalar_function(name, function, count, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)
