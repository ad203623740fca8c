"""Taking over: a new server gets the sockets of a running one, waits for its store, and stands in its place.

The running server offers its sockets to whoever connects as the same user. The rest is three words: `released`, when
its leader has closed the store; `standing`, when the new one takes connections; and the end of the connection before
that, upon which the running server goes on as if nothing had been.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ghostwire.errors import PermissionDeniedError, UnavailableError
from ghostwire.server.listen import local
from ghostwire.server.listen.endpoint import Endpoint, parse_listen

NAME: Final = "takeover.sock"
RELEASED: Final = b"released\n"
STANDING: Final = b"standing\n"
RELEASE_S: Final = 60.0
"""How long the running server may take to close its store."""
MOST: Final = 64
"""Sockets that are handed over."""


@dataclass(frozen=True, slots=True)
class Estate:
    """What a running server has handed over: its listening sockets, where they listen, and the line to it."""

    listen: Endpoint
    sockets: tuple[socket.socket, ...]
    line: socket.socket

    def await_release(self) -> None:
        """Wait until the store is free. Raises `UnavailableError` where it does not come to be."""
        self.line.settimeout(RELEASE_S)
        try:
            heard = self.line.recv(len(RELEASED), socket.MSG_WAITALL)
        except OSError as error:
            raise UnavailableError(f"the running server does not close its store: {error}") from error
        if heard != RELEASED:
            raise UnavailableError("the running server ended before it had handed over")

    def stand(self) -> None:
        """Connections are taken here from now on: the other one may let go of those that it has."""
        with contextlib.suppress(OSError), self.line:
            self.line.sendall(STANDING)


def offer(line: socket.socket, listen: Endpoint, sockets: Sequence[socket.socket]) -> None:
    """Hand over listening sockets."""
    socket.send_fds(line, [str(listen).encode()], [listening.fileno() for listening in sockets])


def ask(directory: Path) -> Estate | None:
    """Ask the server that runs in this folder for its sockets; None where none runs.

    Raises `UnavailableError` where it doesn't hand them over, `PermissionDeniedError` where another user's does.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(10.0)
        with local.reachable(directory, NAME) as path:
            line.connect(path)
        local.require_own(line)
        text, descriptors, _, _ = socket.recv_fds(line, 1024, MOST)
        sockets = tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
        if not sockets:
            raise UnavailableError("the running server is being taken over by another one already")
        return Estate(parse_listen(text.decode()), sockets, line)
    except (FileNotFoundError, ConnectionRefusedError):
        line.close()
        return None
    except OSError as error:
        line.close()
        raise UnavailableError(f"the running server hands nothing over: {error}") from error
    except BaseException:
        line.close()
        raise


class Door:
    """Where a server of one process is asked for its sockets; `on_heir` is called when they have been handed over."""

    def __init__(
        self, directory: Path, listen: Endpoint, sockets: Sequence[socket.socket], on_heir: Callable[[], None]
    ) -> None:
        self._listen, self._sockets, self._on_heir = listen, sockets, on_heir
        self._loop = asyncio.get_running_loop()
        self._line: socket.socket | None = None
        self._door = local.bind(directory, NAME)
        self._loop.add_reader(self._door, self._asked)

    def close(self) -> None:
        """Offer nothing any more."""
        self._loop.remove_reader(self._door)
        self._door.close()

    def release(self) -> None:
        """The store is free: whoever has asked may open it."""
        if self._line is not None:
            with contextlib.suppress(OSError), self._line:
                self._line.sendall(RELEASED)

    def _asked(self) -> None:
        line, _ = self._door.accept()
        try:
            local.require_own(line)
            offer(line, self._listen, self._sockets)
        except (PermissionDeniedError, OSError):
            line.close()
            return
        self._line = line
        self.close()
        self._on_heir()
