"""The public TCP port."""

from __future__ import annotations

import contextlib
import socket

from ghostwire.errors import UnavailableError, ValidationError
from ghostwire.server.listen.endpoint import Endpoint


def bind(endpoint: Endpoint, *, shared: bool = False) -> socket.socket:
    """A listening socket there; port 0 takes a free one. `::` also takes IPv4.

    The kernel spreads connections over `shared` sockets of one user at one port.

    Raises `ValidationError` for an address that this machine does not have, `UnavailableError` for a port in use.
    """
    try:
        found = socket.getaddrinfo(
            endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ValidationError(f"cannot listen on {endpoint}: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # a system without IPv4 in IPv6 still listens on IPv6
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(address)
        listening.listen(4096)
    except OSError as error:
        listening.close()
        raise UnavailableError(f"cannot listen on {endpoint}: {error.strerror}") from error
    return listening


def bound(listening: socket.socket, endpoint: Endpoint) -> Endpoint:
    """Where it really listens: with the port that was taken."""
    return Endpoint(endpoint.host, listening.getsockname()[1])


def peer_address(connection: socket.socket) -> str:
    """The address at the other end; IPv4 in IPv6 is shown as IPv4."""
    try:
        address: str = connection.getpeername()[0]
    except OSError:
        return ""
    return address.removeprefix("::ffff:").partition("%")[0]
