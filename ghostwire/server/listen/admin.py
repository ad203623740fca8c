"""The admin socket: who connects is known from the kernel, and so is what they may."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Final

from ghostwire.server.listen import local
from ghostwire.server.rest.access import Caller

NAME: Final = "admin.sock"


class Admitted:
    """Who may use the socket: root, the server's own user, and those in the configuration."""

    __slots__ = ("_uids",)

    def __init__(self, uids: Iterable[int]) -> None:
        self._uids = {0, os.geteuid(), *uids}

    def caller(self, connection: socket.socket) -> Caller | None:
        """Who is at the other end, by the kernel's word; None where they may not connect."""
        uid = local.peer(connection).uid
        return Caller(f"admin:unix:{uid}", "admin", local=True) if uid in self._uids else None
