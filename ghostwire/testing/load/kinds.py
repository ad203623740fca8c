"""What a message of the server is, told by its first bytes: a client of thousands need not read all of them whole.

The server writes a message's type first. Its first byte is the size of its map, which is not looked at.
"""

from __future__ import annotations

from typing import Final

_DELTA: Final = b"\xa4type\xacnetmap.delta"
_ANSWER: Final = b"\xa4type\xa6answer"


def is_delta(payload: bytes) -> bool:
    """Whether it is a change of a map."""
    return payload.startswith(_DELTA, 1)


def is_answer(payload: bytes) -> bool:
    """Whether it is the answer to a query."""
    return payload.startswith(_ANSWER, 1)
