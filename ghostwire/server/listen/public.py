"""The public TCP port."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Final

from ghostwire.errors import GhostwireError, PermissionDeniedError, UnavailableError, ValidationError
from ghostwire.server.listen.endpoint import Endpoint

_REFUSALS: Final[dict[int | None, tuple[type[GhostwireError], str]]] = {
    errno.EADDRINUSE: (UnavailableError, "another program listens there: end it, or take another port with --listen"),
    errno.EADDRNOTAVAIL: (ValidationError, "this machine has no such address: take one that it has with --listen"),
    errno.EACCES: (PermissionDeniedError, "this port takes root or CAP_NET_BIND_SERVICE: take another with --listen"),
}
"""What the system refuses, and what to do."""


def bind(endpoint: Endpoint) -> socket.socket:
    """A listening socket there; port 0 takes a free one. `::` also takes IPv4.

    Raises `ValidationError` for an address that this machine does not have, `UnavailableError` for a port in use,
    `PermissionDeniedError` for one that takes more rights.
    """
    return _listening(endpoint, joins=False, shares=False)


def bind_together(endpoint: Endpoint, count: int) -> tuple[socket.socket, ...]:
    """So many listening sockets at one port, over which the kernel spreads connections. Raises what `bind` does.

    The first takes the port for itself and only then shares it, so nobody listens there before; only sockets of this
    user may join.
    """
    first = _listening(endpoint, joins=False, shares=True)
    there = bound(first, endpoint)
    with contextlib.ExitStack() as unless_all:
        unless_all.enter_context(first)
        others = [unless_all.enter_context(_listening(there, joins=True, shares=True)) for _ in range(count - 1)]
        unless_all.pop_all()
    return (first, *others)


def _listening(endpoint: Endpoint, *, joins: bool, shares: bool) -> socket.socket:
    """A listening socket at a port of its own or, if it `joins`, beside others that share it."""
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
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, joins)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # a system without IPv4 in IPv6 still listens on IPv6
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(address)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        listening.listen(4096)
    except OSError as error:
        listening.close()
        refusal, reason = _REFUSALS.get(error.errno, (UnavailableError, error.strerror or "the system refuses"))
        raise refusal(f"cannot listen on {endpoint}: {reason}") from error
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
