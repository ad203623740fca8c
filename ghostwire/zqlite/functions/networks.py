"""IP networks in SQL, exact for IPv4 and IPv6.

`cidr_contains(network, address)` is 1 or 0: whether `address` (an address or a smaller network) lies in `network`.
`cidr_first(network)` and `cidr_last(network)` are its ends as sortable BLOBs (the family's version in the first byte),
so that an index on them finds what contains an address. Anything that is no network raises ValidationError.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

import apsw

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=65536)
def parse(text: str) -> Network:
    """A network or address in text form. Raises ValidationError for what is neither, or has bits behind its prefix."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValidationError(f"{text!r} is not an IP network or address: {error}") from None


def cidr_contains(*values: Any) -> int | None:
    """Whether the first network holds the second; NULL when either is NULL."""
    network, address = values
    if network is None or address is None:
        return None
    outer, inner = parse(_text(network)), parse(_text(address))
    return int(outer.version == inner.version and inner.subnet_of(outer))  # type: ignore[arg-type]


def cidr_first(*values: Any) -> bytes | None:
    """The lowest address of a network, sortable among all others."""
    return None if values[0] is None else _key(parse(_text(values[0])), last=False)


def cidr_last(*values: Any) -> bytes | None:
    """The highest address of a network, sortable among all others."""
    return None if values[0] is None else _key(parse(_text(values[0])), last=True)


def register(connection: apsw.Connection) -> None:
    """Give a connection these functions."""
    table: dict[str, tuple[Callable[..., Any], int]] = {
        "cidr_contains": (cidr_contains, 2),
        "cidr_first": (cidr_first, 1),
        "cidr_last": (cidr_last, 1),
    }
    for name, (function, count) in table.items():
        connection.create_scalar_function(name, function, count, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)


def _key(network: Network, *, last: bool) -> bytes:
    address = network.broadcast_address if last else network.network_address
    return bytes((network.version,)) + address.packed


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValidationError(f"an IP network is text, not {type(value).__name__}")
    return value
