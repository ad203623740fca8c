"""The admin socket: who connects is known from the kernel, and so is what they may."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ghostwire.errors import UnavailableError
from ghostwire.server.rest.access import Caller

NAME: Final = "admin.sock"
_CREDENTIALS: Final = struct.Struct("3i")


def bind(directory: Path) -> socket.socket:
    """The listening socket `directory/admin.sock`, 0600.

    An old one is replaced: its server is gone, for this one holds the store. Raises `UnavailableError` where it cannot
    be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket's address holds 107 bytes; through its directory's descriptor any path fits.
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{handle}/{NAME}"
        (directory / NAME).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UnavailableError(f"cannot make the admin socket {directory / NAME}: {error.strerror}") from error
    finally:
        os.close(handle)
    return listening


class Admitted:
    """Who may use the socket: root, the server's own user, and those in the configuration."""

    __slots__ = ("_uids",)

    def __init__(self, uids: Iterable[int]) -> None:
        self._uids = {0, os.geteuid(), *uids}

    def caller(self, connection: socket.socket) -> Caller | None:
        """Who is at the other end, by the kernel's word; None where they may not connect."""
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)
        return Caller(f"admin:unix:{uid}", "admin", local=True) if uid in self._uids else None
