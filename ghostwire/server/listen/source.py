"""Whom the bounds on one address count together."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv6Address


def source_of(address: str) -> str | bytes:
    """An address as the bounds know it. IPv6 addresses of one /64 are one: each customer has all of one."""
    if ":" in address:
        with suppress(ValueError):
            return IPv6Address(address).packed[:8]
    return address
