"""Addresses to listen on and origins by which clients dial."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from ghostwire.errors import ValidationError

DEFAULT_PORTS = {"https": 443, "http": 80}


class Endpoint(NamedTuple):
    """Where the server listens. `host` is an address without brackets, or a name."""

    host: str
    port: int

    @property
    def is_any(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self.host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """The host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def parse_listen(text: str) -> Endpoint:
    """Read `ADDRESS:PORT`; IPv6 addresses stand in brackets. Raises `ValidationError`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValidationError(f"{text!r} is no address to listen on: put an IPv6 address in brackets, as in [::]:8443")
    if not host.isascii():
        raise ValidationError(
            f"{text!r} is no address to listen on: write the host in ASCII letters, {_in_ascii(host)}"
        )
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValidationError(f"{text!r} is no address to listen on: expected ADDRESS:PORT, as in 0.0.0.0:8443")
    return Endpoint(host, int(port))


def parse_origin(url: str) -> str:
    """The origin of a URL by which clients dial, as `scheme://host[:port]` in lower case.

    Raises `ValidationError` for what no client could dial.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValidationError(f"{url!r} is no URL that clients can dial: expected https://HOST[:PORT]")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValidationError(f"{url!r} must be an origin alone, without path, query or user")
    if not parts.hostname.isascii():
        raise ValidationError(
            f"{url!r} must have its host in ASCII letters, as clients dial it: {_in_ascii(parts.hostname)}"
        )
    suffix = "" if port is None or port == DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{bracketed(parts.hostname)}{suffix}"


def _in_ascii(hostname: str) -> str:
    try:
        return hostname.encode("idna").decode()
    except UnicodeError:
        return "xn--..."


def host_of(origin: str) -> str:
    """The host of an origin, without brackets."""
    return urlsplit(origin).hostname or ""
