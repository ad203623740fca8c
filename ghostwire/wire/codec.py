"""Messages to and from the bytes of one WebSocket frame."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ghostwire.errors import WireError
from ghostwire.wire.messages import (
    MAX_CLIENT_FRAME,
    MAX_SERVER_FRAME,
    FromNode,
    FromServer,
    HelloBody,
    RegisterBody,
    RotateBody,
)

_encoder = msgspec.msgpack.Encoder()
_from_node: msgspec.msgpack.Decoder[FromNode] = msgspec.msgpack.Decoder(FromNode)
_from_server: msgspec.msgpack.Decoder[FromServer] = msgspec.msgpack.Decoder(FromServer)
_register = msgspec.msgpack.Decoder(RegisterBody)
_hello = msgspec.msgpack.Decoder(HelloBody)
_rotate = msgspec.msgpack.Decoder(RotateBody)

T = TypeVar("T")


def encode(message: msgspec.Struct) -> bytes:
    """The bytes of a message or of a part."""
    return _encoder.encode(message)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | memoryview, limit: int, what: str) -> T:
    if len(data) > limit:
        raise WireError(f"{what} of {len(data)} bytes: at most {limit} are taken")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"{what} is not what the protocol says: {error}") from error


def decode_from_node(data: bytes | memoryview) -> FromNode:
    """Read a frame that a node sent. Raises `WireError`."""
    return _decode(_from_node, data, MAX_CLIENT_FRAME, "a frame")


def decode_from_server(data: bytes | memoryview) -> FromServer:
    """Read a frame that a coordinator sent. Raises `WireError`."""
    return _decode(_from_server, data, MAX_SERVER_FRAME, "a frame")


def decode_register(data: bytes) -> RegisterBody:
    """Read the body of `register`. Raises `WireError`."""
    return _decode(_register, data, MAX_CLIENT_FRAME, "the body of register")


def decode_hello(data: bytes) -> HelloBody:
    """Read the body of `hello`. Raises `WireError`."""
    return _decode(_hello, data, MAX_CLIENT_FRAME, "the body of hello")


def decode_rotate(data: bytes) -> RotateBody:
    """Read the body of `rotate_key`. Raises `WireError`."""
    return _decode(_rotate, data, MAX_CLIENT_FRAME, "the body of rotate_key")
