"""A moment as an endpoint: what lets whoever is told of a change know when it was due, without asking anyone."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

_PREFIX: Final = 0xFD67_7700_0000_0000 << 64
_MASK: Final = (1 << 64) - 1
_HEAD: Final = "[fd67:7700:"


def stamped(moment: float) -> str:
    """The endpoint that carries a monotonic moment, in seconds."""
    return f"[{IPv6Address(_PREFIX | round(moment * 1e9))}]:1"


def moment_of(endpoints: tuple[str, ...]) -> float | None:
    """The moment that endpoints carry; None where it was not this client that set them."""
    if len(endpoints) != 1 or not endpoints[0].startswith(_HEAD):
        return None
    return (int(IPv6Address(endpoints[0][1:-3])) & _MASK) / 1e9
