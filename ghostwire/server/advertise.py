"""The URL that new machines are told to dial, and the names that a self-signed certificate carries."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

import psutil

from ghostwire.server.listen.endpoint import DEFAULT_PORTS, Endpoint, bracketed, host_of

_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that are never assigned (RFC 5737, RFC 3849): a UDP socket connected to one sends nothing."""


class Advertised(NamedTuple):
    """An origin, and what is doubtful about it."""

    url: str
    warning: str | None = None


def advertise(
    listening: Endpoint,
    scheme: str,
    public: Iterable[str],
    default_route: Callable[[], str | None],
    addresses: Callable[[], list[str]],
) -> Advertised:
    """Choose the URL for new machines.

    The first of `public`, else a definite listening address, else the default route's source address, else the first
    address that is not loopback, else loopback with a warning.
    """
    for origin in public:
        return Advertised(origin)
    if not listening.is_any:
        return Advertised(_origin(scheme, listening.host, listening.port))
    found = default_route() or next(iter(addresses()), None)
    if found is not None:
        return Advertised(_origin(scheme, found, listening.port))
    return Advertised(
        _origin(scheme, "127.0.0.1", listening.port),
        "no address but loopback was found: other machines need --url (server.public_urls)",
    )


def default_route_source() -> str | None:
    """The address that packets to the internet would leave from; None without a default route."""
    for family, probe in _PROBES:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect((probe, 9))
            except OSError:
                continue
            address: str = sock.getsockname()[0]
            if not ipaddress.ip_address(address).is_loopback:
                return address
    return None


def local_addresses() -> list[str]:
    """Addresses of this machine that others may reach: not loopback, not link-local; IPv4 first."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for assigned in psutil.net_if_addrs().values():
        for entry in assigned:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                address = ipaddress.ip_address(entry.address.partition("%")[0])
                if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                    found.append(address)
    return [str(address) for address in sorted(found, key=lambda address: (address.version, found.index(address)))]


def certificate_names(listening: Endpoint, public: Iterable[str], addresses: Iterable[str]) -> list[str]:
    """What a self-signed certificate names: the hosts of the public URLs, where it listens, this machine."""
    names = [host_of(origin) for origin in public]
    names += ["localhost", "127.0.0.1", "::1"]
    names += addresses if listening.is_any else [listening.host]
    return list(dict.fromkeys(name for name in names if name))


def _origin(scheme: str, host: str, port: int) -> str:
    suffix = "" if DEFAULT_PORTS[scheme] == port else f":{port}"
    return f"{scheme}://{bracketed(host)}{suffix}"
