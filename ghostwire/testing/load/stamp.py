"""A moment as an endpoint: what lets whoever is told of a change know when it was due, without asking anyone."""

from __future__ import annotations

from socket import AF_INET6, inet_ntop, inet_pton
from typing import Final

_PREFIX: Final = bytes.fromhex("fd67770000000000")
_HEAD: Final = "[fd67:7700:"
_TAIL: Final = "]:1"


def stamped(moment: float) -> str:
    """The endpoint that carries a monotonic moment, in seconds."""
    return f"[{inet_ntop(AF_INET6, _PREFIX + round(moment * 1e9).to_bytes(8, 'big'))}{_TAIL}"


def moment_of(endpoints: tuple[str, ...]) -> float | None:
    """The moment that endpoints carry; None where it was not this client that set them."""
    if len(endpoints) != 1 or not endpoints[0].startswith(_HEAD):
        return None
    return int.from_bytes(inet_pton(AF_INET6, endpoints[0][1 : -len(_TAIL)])[8:], "big") / 1e9
