"""What a message of the server is, told by its first bytes: a client of thousands need not read all of them whole.

The server writes a message's type first. Its first byte is the size of its map, which is not looked at.
"""

from __future__ import annotations

from typing import Final

DELTA: Final = b"\xa4type\xacnetmap.delta"
"""What follows the first byte of a change of a map."""
_ANSWER: Final = b"\xa4type\xa6answer"


def is_answer(payload: bytes) -> bool:
    """Whether it is the answer to a query."""
    return payload.startswith(_ANSWER, 1)
