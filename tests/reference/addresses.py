"""Twin of `core_ext.addresses`: by the standard library's addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address


def text4(address: int) -> str:
    return str(IPv4Address(address))


def text6(high: int, low: int) -> str:
    return str(IPv6Address(high << 64 | low))


def is_endpoint4(text: str) -> bool:
    host, _, port = text.partition(":")
    try:
        address = IPv4Address(host)
    except ValueError:
        return False
    number = int(port) if port.isascii() and port.isdigit() else 0
    usable = not address.is_unspecified and not address.is_multicast and 0 < number < 65536
    return usable and text == f"{address}:{number}"
