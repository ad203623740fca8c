"""Which Host and Origin a request may name, and from whom forwarded headers count.

A page of a foreign site that a browser was made to resolve to this server (DNS rebinding) names a foreign host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from ghostwire.errors import PermissionDeniedError, ValidationError
from ghostwire.server.listen.endpoint import host_of

Headers = Sequence[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Doors:
    """The names under which this server answers, and the proxies that it believes."""

    __slots__ = ("_hosts", "_origins", "_proxies")

    def __init__(self, origins: Iterable[str], proxies: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        self._hosts = frozenset(host_of(origin) for origin in self._origins) | {"localhost"}
        self._proxies = tuple(_network(proxy) for proxy in proxies)

    def admit(self, headers: Headers, scheme: str) -> None:
        """Raise `PermissionDeniedError` for a foreign Host or Origin, `ValidationError` where Host is not one."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1:
            raise ValidationError("a request names exactly one Host")
        host = hosts[0].decode("latin-1").lower()
        if not self._known(_hostname(host)):
            raise PermissionDeniedError(f"this server does not answer to {host[:80]!r}: add it to server.public_urls")
        for name, value in headers:
            if name == b"origin":
                origin = value.decode("latin-1").lower()
                if origin not in self._origins and origin != f"{scheme}://{host}":
                    raise PermissionDeniedError("the request comes from a page of another origin")

    def client(self, peer: str, headers: Headers) -> str:
        """The address that the request comes from: the nearest that is not one of the trusted proxies."""
        if not self.trusts(peer):
            return peer
        listed = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        for hop in reversed([part.strip() for part in listed.split(",") if part.strip()]):
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return peer
            peer = hop
            if not self.trusts(hop):
                break
        return peer

    def scheme(self, peer: str, headers: Headers, scheme: str) -> str:
        """The scheme that the client used: what a trusted proxy says, else what is seen here."""
        if self.trusts(peer):
            said = [value for name, value in headers if name == b"x-forwarded-proto"]
            if said and said[-1].lower() in (b"http", b"https"):
                return said[-1].lower().decode()
        return scheme

    def trusts(self, peer: str) -> bool:
        """Whether the peer is one of the trusted proxies."""
        if not self._proxies:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)

    def _known(self, hostname: str) -> bool:
        if hostname in self._hosts:
            return True
        try:
            ipaddress.ip_address(hostname)
        except ValueError:
            return False
        return True


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValidationError(f"{text!r} is no address or prefix of a proxy: {error}") from error
