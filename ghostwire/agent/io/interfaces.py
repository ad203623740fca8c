"""Where this machine may be reached: the addresses of its interfaces that are up."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import Final

import psutil

MOST: Final = 32
"""Endpoints that the protocol takes."""


def endpoints(port: int, except_device: str, except_addresses: Collection[str], loopback: bool) -> tuple[str, ...]:
    """`address:port` of every interface that is up, best first: IPv4 before IPv6, private ranges before others.

    Left out: the mesh's own device and addresses, link-local ones (they need a zone that means nothing elsewhere).
    Loopback addresses come last, and only with `loopback` or where there is nothing else.
    """
    states = psutil.net_if_stats()
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for device, addresses in psutil.net_if_addrs().items():
        if device == except_device or device not in states or not states[device].isup:
            continue
        for entry in addresses:
            if entry.family not in (socket.AF_INET, socket.AF_INET6) or entry.address in except_addresses:
                continue
            address = ipaddress.ip_address(entry.address.partition("%")[0])
            if not (address.is_link_local or address.is_multicast or address.is_unspecified):
                found.append(address)
    kept = sorted(set(found), key=lambda one: (one.is_loopback, one.version, not one.is_private, int(one)))
    if not loopback and any(not one.is_loopback for one in kept):
        kept = [one for one in kept if not one.is_loopback]
    return tuple(f"[{one}]:{port}" if one.version == 6 else f"{one}:{port}" for one in kept)[:MOST]
