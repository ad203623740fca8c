"""Unix sockets in the server's folder: 0600, and who is at the other end by the kernel's word."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ghostwire.errors import PermissionDeniedError, UnavailableError

_CREDENTIALS: Final = struct.Struct("3i")


class Peer(NamedTuple):
    """The process at the other end, as it was when it connected (or began to listen)."""

    pid: int
    uid: int


def bind(directory: Path, name: str) -> socket.socket:
    """The listening socket `directory/name`, 0600.

    An old one is replaced: its server is gone, for this one holds the store. Raises `UnavailableError` where it cannot
    be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(directory, name) as path:
            (directory / name).unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                listening.bind(path)
            finally:
                os.umask(before)
            listening.listen(1024)
    except OSError as error:
        listening.close()
        raise UnavailableError(f"cannot make the socket {directory / name}: {error.strerror}") from error
    return listening


async def dial(directory: Path, name: str, protocol: Callable[[], asyncio.Protocol]) -> None:
    """Connect a protocol to `directory/name`, whose other end is this very user's.

    Raises `UnavailableError` where nobody listens, `PermissionDeniedError` where somebody else does, `OSError` where
    the connection breaks at once.
    """
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        with reachable(directory, name) as path:
            await loop.sock_connect(connection, path)
        require_own(connection)
    except OSError as error:
        connection.close()
        raise UnavailableError(f"nobody listens at {directory / name}: {error.strerror}", retry_after=1.0) from error
    except BaseException:
        connection.close()
        raise
    transport, _ = await loop.create_unix_connection(protocol, sock=connection)
    if transport.is_closing():
        # It broke at once, and the loop closes its number, which is soon another connection's: not to be closed again.
        connection.detach()


def peer(connection: socket.socket) -> Peer:
    """Who is at the other end."""
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid)


def require_own(connection: socket.socket) -> Peer:
    """Who is at the other end. Raises `PermissionDeniedError` unless it is this very user."""
    found = peer(connection)
    if found.uid != os.geteuid():
        raise PermissionDeniedError(f"uid {found.uid} is at the other end, not uid {os.geteuid()}")
    return found


@contextmanager
def reachable(directory: Path, name: str) -> Iterator[str]:
    """A path to the socket that is short enough: an address holds 107 bytes, and a descriptor's folder always fits."""
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{name}"
    finally:
        os.close(handle)
