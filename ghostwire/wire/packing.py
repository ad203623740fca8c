"""Packing: zstd frames in the node protocol, small ones with a dictionary that both sides know.

The dictionary is what messages are made of: the words of parts and messages as they stand in them. It is named by its
digest, so a later one can be told from this one, and whoever doesn't have it is sent plain messages.
"""

from __future__ import annotations

from typing import Final

import zstandard

from ghostwire._native import token
from ghostwire.errors import WireError

LEVEL: Final = 1
"""Of columns. Higher levels take several times as long, and save a hundredth."""
MESSAGE_LEVEL: Final = -1
"""Of messages: half the time of level 1, and nothing is lost, because the dictionary says most of what repeats."""
MARK: Final = 0xC1
"""The first byte of a packed message: no MessagePack value begins with it."""


def _text(*words: str) -> bytes:
    """Short strings as MessagePack."""
    return b"".join(bytes([0xA0 | len(word)]) + word.encode() for word in words)


DICTIONARY: Final = b"".join(
    (
        _text("display_name", "domain", "nameservers", "search", "regions", "max_age_s"),
        _text("heartbeat_s", "key_rotation_s"),
        _text("classes", "same_owner", "prefixes", "destinations", "ports", "protocols", "deny", "until", "rule"),
        _text("rules", "ends", "nodes", "key_expiry", "dns", "relays", "network", "self", "filter"),
        b"\x82" + _text("type", "netmap.unchanged", "position"),
        b"\x84" + _text("type", "netmap.full", "page") + b"\x00" + _text("parts") + b"\x82" + _text("peers"),
        _text("profiles", "last") + b"\xc3" + _text("digest") + b"\xc4\x10",
        b"\x84" + _text("type", "netmap.delta", "position"),
        _text("parts") + b"\x81" + _text("profiles") + b"\x81\x01\xc4\x18\x82" + _text("id", "display_name"),
        _text("gone") + b"\x91" + _text("gone_profiles") + b"\x91",
        b"\x83" + _text("type", "netmap.delta", "position") + b"\x94\xc4\x10",
        _text("parts") + b"\x81" + _text("peers") + b"\x81\xcd\x01\x00\xc4\xb0",
        b"\x89" + _text("id") + b"\xcd\x01\x00" + _text("name") + b"\xa6node-1" + _text("key") + b"\xc4\x20",
        _text("ipv4") + b"\xaa100.64.0.1" + _text("ipv6") + b"\xb3fd7a:115c:a1e0:1::1" + _text("class") + b"\x01",
        _text("owner") + b"\x01" + _text("tags") + b"\x91\xa5tag:w" + _text("online") + b"\xc3",
        _text("endpoints") + b"\x91\xb0192.0.2.10:51820" + _text("routes") + b"\x91\xab10.0.0.0/16",
        _text("node_type") + b"\xa4exit\xa5relay",
    )
)
NAME: Final = bytes(token.blake3(DICTIONARY)[:8])
"""What the dictionary is called: the first bytes of its BLAKE3 hash."""

_known = zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_packer = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
_unpacker = zstandard.ZstdDecompressor()
_known_packer = zstandard.ZstdCompressor(level=MESSAGE_LEVEL, dict_data=_known, write_content_size=True)
_known_unpacker = zstandard.ZstdDecompressor(dict_data=_known)


def pack(data: bytes) -> bytes:
    """A zstd frame, without the dictionary."""
    return _packer.compress(data)


def unpack(data: bytes, most: int) -> bytes:
    """What is in a zstd frame. Raises `WireError` for what is none, or says that it holds more than `most` bytes."""
    return _unpack(_unpacker, data, most)


def pack_message(message: bytes) -> bytes:
    """A message with the dictionary; as it is where that is not shorter."""
    packed = bytes([MARK]) + _known_packer.compress(message)
    return packed if len(packed) < len(message) else message


def unpack_message(data: bytes | memoryview, most: int) -> bytes | memoryview:
    """The message itself. Raises `WireError` as `unpack` does."""
    if len(data) == 0 or data[0] != MARK:
        return data
    return _unpack(_known_unpacker, bytes(data[1:]), most)


def _unpack(unpacker: zstandard.ZstdDecompressor, data: bytes, most: int) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= most:
            raise WireError(f"what is packed must say its size, of at most {most} bytes")
        return unpacker.decompress(data, allow_extra_data=False) if size else b""
    except zstandard.ZstdError as error:
        raise WireError(f"what is packed cannot be unpacked: {error}") from error
