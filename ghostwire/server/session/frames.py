"""WebSocket frames (RFC 6455) as a server reads and writes them: no extensions, binary messages only."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ghostwire._native import frames

Reader = frames.Reader
frame = frames.frame


class Opcode(IntEnum):
    """What a frame is (section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


MAX_CONTROL: Final = 125
"""Bytes that the payload of a control frame may have (section 5.5)."""


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; a reason that is too long for one is cut at a character."""
    text = reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore").encode()
    return frame(code.to_bytes(2, "big") + text, Opcode.CLOSE)
